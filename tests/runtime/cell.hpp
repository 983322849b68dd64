/// What the tests of the coroutine core, the scheduler and the verbs share: runtimes of the matrix
/// cell or of the simulation, and objects that count their lives.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/tests/support/matrix.hpp>
#include <magpie/util/errc.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <system_error>
#include <utility>

namespace magpie::tests {

using namespace std::chrono_literals;

/// Whether a leak detector is at work: then tests that leak on purpose are left out.
inline constexpr bool leaks_are_reported =
#if defined(__SANITIZE_ADDRESS__)
    true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    true;
#else
    false;
#endif
#else
    false;
#endif

inline bool in_simulation() { return matrix_reactor() == "sim"; }

inline bool cell_is_there() { return matrix_reactor() != "uring" || kernel_has_uring(); }

/// Leaves a test whose cell needs an io_uring that the kernel refuses.
#define MAGPIE_NEED_CELL() \
  if (!::magpie::tests::cell_is_there()) GTEST_SKIP() << "no io_uring here"

/// Leaves a test that needs threads, or the kernel's descriptors, in a simulated cell.
#define MAGPIE_NEED_KERNEL() \
  MAGPIE_NEED_CELL();        \
  if (::magpie::tests::in_simulation()) GTEST_SKIP() << "not in a simulation"

/// Leaves a test of simulated parts alone, which is long and the same in every cell, in the others.
#define MAGPIE_NEED_SIMULATION() \
  if (!::magpie::tests::in_simulation()) GTEST_SKIP() << "run in the simulated cells"

/// Leaves a long test that no cell changes in all of them but one.
#define MAGPIE_NEED_ONE_CELL()                                                     \
  if (!::magpie::tests::in_simulation() || ::magpie::tests::matrix_workers() != 2) \
  GTEST_SKIP() << "run in one cell"

inline options cell_options() {
  options chosen;
  chosen.workers = matrix_workers();
  chosen.reactor = in_simulation()               ? reactor_kind::sim
                   : matrix_reactor() == "epoll" ? reactor_kind::epoll
                                                 : reactor_kind::uring;
  chosen.log = false;
  return chosen;
}

inline options simulation(std::uint64_t seed = 1) {
  options chosen;
  chosen.workers = matrix_workers();
  chosen.reactor = reactor_kind::sim;
  chosen.seed = seed;
  chosen.log = false;
  return chosen;
}

/// Runs `t` on a runtime of its own and shuts that down; nothing may be left.
template <class T>
result<T> run_on(const options& wanted, task<T> t) {
  runtime on(wanted);
  auto outcome = on.block_on(std::move(t));
  EXPECT_TRUE(on.shutdown(30s));
  return outcome;
}

template <class T>
result<T> run_in_cell(task<T> t) {
  return run_on(cell_options(), std::move(t));
}

template <class T>
result<T> run_in_simulation(task<T> t, std::uint64_t seed = 1) {
  return run_on(simulation(seed), std::move(t));
}

/// The error of an outcome, or none.
template <class T>
std::error_code error_of(const result<T>& outcome) {
  return outcome ? std::error_code() : outcome.error();
}

inline std::error_code some_error() { return std::make_error_code(std::errc::io_error); }

/// Counts how many of it are alive; locals of this type show that frames are destroyed.
class counted {
 public:
  explicit counted(atomic<int>& alive) noexcept : alive_(&alive) {
    alive_->fetch_add(1, order::relaxed);
  }
  counted(const counted& other) noexcept : counted(*other.alive_) {}
  counted& operator=(const counted&) = delete;
  ~counted() { alive_->fetch_sub(1, order::relaxed); }

 private:
  atomic<int>* alive_;
};

}  // namespace magpie::tests
