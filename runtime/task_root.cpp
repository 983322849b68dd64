#include <magpie/runtime/task_root.hpp>

#include <magpie/runtime/error_trace.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task_local.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

namespace magpie {

static_assert(options::workers_max <= task_root::workers_max);

/// What does not fit into the root itself.
struct task_root::extra {
  detail::local_node* locals = nullptr;
  const char* literal = nullptr;
  std::uint64_t born_ns = 0;
  std::uint8_t size = 0;  ///< Of the copied name.
  char copy[task_name::size_max] = {};
};

/// Frees what hangs on the root.
void task_root::let_go() noexcept {
  if (trace != nullptr) frame_free(trace, sizeof(error_trace));
  detail::local_node* const held = locals();
  extra* const more = attached_kind() == details ? static_cast<extra*>(attached_) : nullptr;
  attach(nothing, nullptr);  // destructors of values look for others
  if (more != nullptr) {
    more->~extra();
    frame_free(more, sizeof(extra));
  }
  detail::local_node::release(held);
}

void task_root::post(runnable& work) noexcept {
  if (pinned()) [[unlikely]] {
    home->post_to(pinned_to(), work);
  } else {
    home->post(work);
  }
}

/// The extra of this root, made when there is none; null when there is no memory for it.
task_root::extra* task_root::own_extra() noexcept {
  if (attached_kind() == details) return static_cast<extra*>(attached_);
  void* const memory = frame_allocate(sizeof(extra));
  if (memory == nullptr) return nullptr;
  auto* const made = ::new (memory) extra;
  if (attached_kind() == literal) made->literal = static_cast<const char*>(attached_);
  if (attached_kind() == values) made->locals = locals();
  attach(details, made);
  return made;
}

std::string_view task_root::name() const noexcept {
  switch (attached_kind()) {
    case literal:
      return static_cast<const char*>(attached_);
    case details: {
      const auto& more = *static_cast<const extra*>(attached_);
      return more.literal != nullptr ? more.literal : std::string_view(more.copy, more.size);
    }
    default:
      return {};
  }
}

void task_root::set_name(const task_name& name) noexcept {
  if (name.text().empty()) return;
  if (name.is_literal() && attached_kind() == nothing) {
    attach(literal, const_cast<char*>(name.text().data()));  // never written through
    return;
  }
  extra* const more = own_extra();
  if (more == nullptr) return;
  if (name.is_literal()) {
    more->literal = name.text().data();
  } else {
    more->size = static_cast<std::uint8_t>(std::min(name.text().size(), task_name::size_max));
    std::memcpy(more->copy, name.text().data(), more->size);
  }
}

detail::local_node* task_root::locals() const noexcept {
  switch (attached_kind()) {
    case values:
      return static_cast<detail::local_node*>(attached_);
    case details:
      return static_cast<const extra*>(attached_)->locals;
    default:
      return nullptr;
  }
}

void task_root::set_locals(detail::local_node* held) noexcept {
  extra* const more = attached_kind() == nothing ? nullptr : own_extra();
  if (more != nullptr) {
    more->locals = held;
    return;
  }
  attach(values, held);  // without memory for an extra the values stay and a name goes
}

std::uint64_t task_root::born_ns() const noexcept {
  return attached_kind() == details ? static_cast<const extra*>(attached_)->born_ns : 0;
}

void task_root::set_born(std::uint64_t now_ns) noexcept {
  if (extra* const more = own_extra()) more->born_ns = now_ns;
}

namespace detail {

constinit atomic<bool> tasks_tracked{false};

void track(task_root& root, stop_scope& scope) noexcept {
  if (!root.home->settings().track_tasks) return;
  root.set_born(root.home->now_ns());
  scope.link();
}

std::uint64_t take_id(scheduler& home) noexcept { return home.take_ids(1); }

std::uint64_t take_ids(context& here) noexcept {
  here.next_id = here.home->take_ids(task_root::ids_per_block);
  here.ids_end = here.next_id + task_root::ids_per_block;
  return here.next_id++;
}

task_label::task_label(const task_root& root) noexcept : task_label(root.id(), root.name()) {}

task_label::task_label(std::uint64_t task, std::string_view name) noexcept {
  const auto id = static_cast<unsigned long long>(task);
  const auto size = static_cast<int>(std::min(name.size(), task_name::size_max));
  if (name.empty()) {
    std::snprintf(text, sizeof text, "%llu", id);
  } else {
    // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): the size goes along
    std::snprintf(text, sizeof text, "%llu (%.*s)", id, size, name.data());
  }
}

}  // namespace detail
}  // namespace magpie
