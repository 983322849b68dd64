/// What a `runtime` owns.  Private header, shared with `run`.
#pragma once

#include <magpie/runtime/dump_signal.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/shutdown_latch.hpp>

#include <chrono>

namespace magpie {

struct runtime::core {
  /// Takes both over.
  core(scheduler* owned, detail::runtime_link* link) noexcept;
  ~core();

  bool drain(std::chrono::nanoseconds patience) noexcept;
  bool end(bool clean) noexcept;
  void report_live() noexcept;
  static void* end_in_background(void* raw) noexcept;

  scheduler* home;
  root_group roots;
  detail::dump_signal dumps;
};

}  // namespace magpie
