#include <magpie/runtime/running_note.hpp>

#include <magpie/runtime/task_root.hpp>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace magpie::detail {

void running_note::copy_name(const task_root& root) noexcept {
  std::uint64_t copy[words] = {};
  const std::string_view name = root.name();
  std::memcpy(copy, name.data(), std::min(name.size(), task_name::size_max));
  for (std::size_t i = 0; i < words; ++i) name_[i].store(copy[i], order::relaxed);
}

running_note::reading running_note::read() const noexcept {
  reading seen;
  const std::uint64_t tag = tag_.load(order::relaxed);
  seen.task = task_root::id_of(tag);
  seen.place = std::bit_cast<std::source_location>(place_.load(order::relaxed));
  if (!task_root::may_have_name(tag)) return seen;
  std::uint64_t copy[words];
  for (std::size_t i = 0; i < words; ++i) copy[i] = name_[i].load(order::relaxed);
  std::memcpy(seen.name, copy, sizeof seen.name - 1);
  return seen;
}

}  // namespace magpie::detail
