/// What a `runtime` owns.  Private header, shared with `run`.
#pragma once

#include <magpie/runtime/dump_signal.hpp>
#include <magpie/runtime/root_group.hpp>
#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/scheduler.hpp>

#include <chrono>

namespace magpie {

struct runtime::core {
  explicit core(scheduler* owned) noexcept;
  ~core();

  bool drain(std::chrono::nanoseconds patience) noexcept;
  bool end(bool clean) noexcept;
  void report_live() noexcept;

  scheduler* home;
  root_group roots;
  detail::dump_signal dumps;
};

}  // namespace magpie
