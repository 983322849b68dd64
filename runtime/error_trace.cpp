#include <magpie/runtime/error_trace.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/task_root.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace magpie {

std::string format_trace(const error_trace* trace) {
  std::string text;
  if (trace == nullptr) return text;
  const std::size_t kept = std::min<std::size_t>(trace->count, error_trace::places_max);
  for (std::size_t i = 0; i < kept; ++i) {
    text += i == 0 ? "  raised at " : "  through   ";
    text += trace->places[i].file_name();
    text += ':';
    text += std::to_string(trace->places[i].line());
    text += '\n';
  }
  if (trace->count > kept) text += "  … and " + std::to_string(trace->count - kept) + " more\n";
  return text;
}

namespace detail {

error_trace* trace_for(task_root& root, std::error_code error, bool first) noexcept {
  if (root.trace == nullptr) {
    void* memory = frame_allocate(sizeof(error_trace));
    if (memory == nullptr) return nullptr;
    root.trace = ::new (memory) error_trace;
  }
  if (first) {
    root.trace->error = error;
    root.trace->count = 0;
  }
  return root.trace;
}

}  // namespace detail
}  // namespace magpie
