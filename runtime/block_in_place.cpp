#include <magpie/runtime/block_in_place.hpp>

#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/stop_scope.hpp>
#include <magpie/runtime/task_root.hpp>
#include <magpie/runtime/worker.hpp>

#include <condition_variable>
#include <mutex>
#include <new>
#include <utility>

namespace magpie::detail {

/// Where the stand-in says that it has left.
struct handed_on::meeting {
  std::mutex mutex;
  std::condition_variable left;
  bool has_left = false;
};

namespace {

/// Whether somebody else may run the worker's loop.
bool may_be_handed_on(context& here) noexcept {
  scheduler& home = *here.home;
  return home.world() == nullptr && home.settings().flavour != flavour::current_thread &&
         here.running_here() != nullptr && !here.running_here()->root().pinned();
}

}  // namespace

handed_on::handed_on() noexcept : blocking_job(&stand_in) {
  context* const here = current_context;
  if (here == nullptr || !may_be_handed_on(*here)) return;
  meeting_ = new (std::nothrow) meeting;
  if (meeting_ == nullptr) return;
  leave(*here);
  // The pool's mutex hands everything that the worker has to the stand-in.
  if (here->home->blocking().submit(*this)) come_back();
}

handed_on::~handed_on() {
  if (worker_ != nullptr) {
    if (!worker_->home->blocking().withdraw(*this)) {
      // Relaxed would do for the flag: the wake-up that follows publishes it, and the mutex hands
      // the worker back.
      wanted_.store(true, order::release);
      static_cast<worker*>(worker_)->wake();
      std::unique_lock lock(meeting_->mutex);
      meeting_->left.wait(lock, [this] { return meeting_->has_left; });
    }
    come_back();
  }
  delete meeting_;
}

void handed_on::leave(context& here) noexcept {
  worker_ = &here;
  execution_ = std::exchange(static_cast<execution&>(here), {});
  running_ = here.running_here();
  here.run_in(nullptr);
  here.note.clear();
  current_context = nullptr;
}

void handed_on::come_back() noexcept {
  context& here = *std::exchange(worker_, nullptr);
  static_cast<execution&>(here) = execution_;
  here.run_in(running_);
  here.note.begin(here.running_here()->root());
  current_context = &here;
  static_cast<worker&>(here).note_thread();
}

void handed_on::stand_in(blocking_job& job) noexcept {
  auto& self = static_cast<handed_on&>(job);
  static_cast<worker*>(self.worker_)->stand_in(self.wanted_);
  meeting& with = *self.meeting_;
  const std::lock_guard lock(with.mutex);  // the other goes on only after we let go
  with.has_left = true;
  with.left.notify_one();
}

}  // namespace magpie::detail
