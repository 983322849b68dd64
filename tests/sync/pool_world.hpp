/// What the tests of pools share: objects that are counted, and managers that fail when told to.
#pragma once

#include <magpie/runtime/fail.hpp>
#include <magpie/sync/pool.hpp>
#include <magpie/tests/sync/world.hpp>

#include <utility>
#include <vector>

namespace magpie::tests {

/// What became of the objects of a pool, and what is to happen to the next.
struct workshop {
  atomic<int> alive{0};
  int made = 0;
  int fail_creates = 0;  ///< So many fail.
  bool unfit = false;    ///< What is recycled is not fit.
  clock::duration create_takes{};
  clock::duration recycle_takes{};
  std::vector<int> recycled;  ///< By number.
  std::vector<std::pair<int, sync::pool_end>> retired;
};

/// An object with a number; the one that is moved from is nobody.
class tool {
 public:
  tool(workshop& in, int name) noexcept : number(name), in_(&in) {
    in.alive.fetch_add(1, order::relaxed);
  }
  tool(tool&& other) noexcept
      : number(other.number), broken(other.broken), in_(std::exchange(other.in_, nullptr)) {}
  tool& operator=(tool&&) = delete;
  ~tool() {
    if (in_ != nullptr) in_->alive.fetch_sub(1, order::relaxed);
  }

  int number;
  bool broken = false;

 private:
  workshop* in_;
};

/// Makes and checks by tasks that wait, as long as the workshop says.
struct slow_tools {
  explicit slow_tools(workshop& of) noexcept : in(&of) {}

  task<tool> create() {
    workshop& here = *in;
    co_await sleep_for(here.create_takes);
    if (here.fail_creates > 0) {
      --here.fail_creates;
      co_await fail(some_error());
    }
    co_return tool(here, ++here.made);
  }
  task<> recycle(tool& one) {
    workshop& here = *in;
    here.recycled.push_back(one.number);
    co_await sleep_for(here.recycle_takes);
    if (here.unfit || one.broken) co_await fail(some_error());
  }
  void retired(tool& one, sync::pool_end how) noexcept {
    in->retired.emplace_back(one.number, how);
  }

  workshop* in;
};

/// Checks at once, and looks at what comes back.
struct quick_tools {
  explicit quick_tools(workshop& of) noexcept : in(&of) {}

  task<tool> create() {
    workshop& here = *in;
    if (here.fail_creates > 0) {
      --here.fail_creates;
      co_await fail(some_error());
    }
    co_return tool(here, ++here.made);
  }
  bool recycle(tool& one, const sync::pool_object_metrics&) {
    in->recycled.push_back(one.number);
    return !in->unfit;
  }
  static bool is_broken(tool& one) noexcept { return one.broken; }

  workshop* in;
};

/// Gets one, writes its number down, keeps it for a while.
template <class Pool>
task<> borrows(Pool& from, std::vector<int>& log, clock::duration keeps = 0ms) {
  const auto one = co_await from.get();
  log.push_back(one->number);
  co_await sleep_for(keeps);
}

using slow_pool = sync::pool<slow_tools>;
using quick_pool = sync::pool<quick_tools>;

}  // namespace magpie::tests
