#include <magpie/runtime/runtime_list.hpp>

#include <magpie/runtime/root_group.hpp>

namespace magpie::detail {

/// Debuggers find the runtimes by this name.
constinit root_group* first_runtime = nullptr;

namespace {

constinit std::mutex looking_mutex;

}  // namespace

std::mutex& runtime_list::looking() noexcept { return looking_mutex; }

void runtime_list::add(root_group& made) noexcept {
  const std::lock_guard guard(looking_mutex);
  made.next_runtime_ = first_runtime;
  first_runtime = &made;
}

void runtime_list::remove(root_group& ending) noexcept {
  const std::lock_guard guard(looking_mutex);
  root_group** at = &first_runtime;
  while (*at != &ending) at = &(*at)->next_runtime_;
  *at = ending.next_runtime_;
}

root_group* runtime_list::first() noexcept { return first_runtime; }

root_group* runtime_list::after(const root_group& before) noexcept { return before.next_runtime_; }

}  // namespace magpie::detail
