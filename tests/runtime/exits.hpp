/// Programs that end by `run`, each in a child process of its own.
#pragma once

#include <magpie/runtime/run.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <chrono>
#include <cstdlib>
#include <utility>

namespace magpie::tests {

using testing::ExitedWithCode;

/// For what needs real signals.
class exits_over_kernel : public testing::Test {
 protected:
  void SetUp() override {
    MAGPIE_NEED_KERNEL();
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

/// Runs `t` to its end and leaves the process with its code.
template <class T>
[[noreturn]] void leave_with(task<T> t, std::chrono::nanoseconds patience = 10s) {
  options chosen = cell_options();
  chosen.log = true;
  chosen.drain_deadline = patience;
  std::exit(run(std::move(t), chosen));
}

}  // namespace magpie::tests
