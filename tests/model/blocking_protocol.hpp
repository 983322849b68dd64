/// The list, the threads and the stops of a blocking pool, for blocking_pool_model.cpp; apart from
/// it so that mutants hit the protocol and not the scaffolding.
///
/// A transcription of blocking_pool.cpp: `submit`, `withdraw` and `thread_main`, with a spin lock
/// for the mutex, and a condition variable whose waits may end for no reason other than time.
/// Threads of the scenario are those of the pool: each sleeps until it is made.
#pragma once

#include <magpie/tests/model/model.hpp>

#include <magpie/util/spin_lock.hpp>

namespace magpie::pools {

using model::logic;

struct pool {
  static constexpr int threads_max = 2;
  static constexpr int jobs_max = 4;

  enum state : int { fresh, queued, running, ran, withdrawn, refused };

  spin_lock lock;
  plain<int> list[jobs_max] = {{0}, {0}, {0}, {0}};
  plain<int> listed{0};
  plain<int> threads{0};
  plain<int> idle{0};
  plain<bool> calling{false};
  plain<bool> closing{false};
  plain<int> may_make{threads_max};  ///< Threads that can be made before the system refuses.
  plain<bool> may_time_out{true};
  plain<int> job[jobs_max] = {{fresh}, {fresh}, {fresh}, {fresh}};
  plain<bool> entered[jobs_max] = {{false}, {false}, {false}, {false}};
  plain<bool> stopped[jobs_max] = {{false}, {false}, {false}, {false}};
  spin_lock scope;  ///< For the word of a stop scope.

  plain<int> made{0};
  model::bed begins[threads_max];
  plain<bool> waits[threads_max] = {{false}, {false}};
  model::bed called[threads_max];
  model::bed gone;

  bool enter(int which) {
    scope.lock();
    const bool refused = stopped[which];
    if (!refused) entered[which] = true;
    scope.unlock();
    return !refused;
  }

  /// True: the job was taken.
  bool submit(int which) {
    bool wanted = true;
    if (logic("enters_before_the_lock")) wanted = enter(which);
    lock.lock();
    if (!logic("enters_before_the_lock")) wanted = enter(which);
    const bool short_of_threads = logic("forgets_promises") ? idle == 0 : listed >= idle;
    if (wanted && short_of_threads && threads < threads_max) {
      if (may_make > 0) {
        may_make = may_make - 1;
        threads = threads + 1;
        begins[made].wake();
        made = made + 1;
      } else if (threads == 0 && !logic("lists_without_threads")) {
        wanted = false;
      }
    }
    if (wanted) {
      job[which] = queued;
      list[listed] = which;
      listed = listed + 1;
      if (!logic("calls_nobody")) call_next();
    } else {
      job[which] = refused;
    }
    lock.unlock();
    return wanted;
  }

  bool withdraw(int which) {
    lock.lock();
    const bool is_listed = job[which] == queued || logic("withdraws_what_runs");
    if (is_listed) {
      int at = 0;
      while (at < listed && list[at] != which) ++at;
      if (at < listed) remove(at);
      job[which] = withdrawn;
    }
    MAGPIE_ASSERT(is_listed || job[which] == running || job[which] == ran ||
                  job[which] == refused);  // a stop that finds nothing is no lost stop
    lock.unlock();
    return is_listed;
  }

  /// The stop of a job's scope: true if it took the job back.
  bool stop(int which) {
    scope.lock();
    stopped[which] = true;
    const bool pending = entered[which];
    scope.unlock();
    return pending && withdraw(which);
  }

  void close() {
    lock.lock();
    MAGPIE_ASSERT(listed == 0);
    closing = true;
    for (int i = 0; i != threads_max; ++i) notify_one();
    const bool empty = threads == 0;
    for (int i = made; i != threads_max; ++i) begins[i].wake();  // the scenario's, never made
    lock.unlock();
    if (!empty) gone.sleep();
  }

  /// `run(which)` is called without the lock.
  template <class Run>
  void thread_main(int self, Run run) {
    begins[self].sleep();
    lock.lock();
    if (self >= made) {
      lock.unlock();
      return;
    }
    for (;;) {
      if (listed == 0) {
        if (closing) break;
        idle = idle + 1;
        const bool late = wait_once(self);
        if (!logic("stays_idle")) idle = idle - 1;
        if (!logic("calls_once")) calling = false;
        if (late && (listed == 0 || logic("does_not_look_again"))) break;
        continue;
      }
      const int which = list[0];
      remove(0);
      MAGPIE_ASSERT(job[which] == queued);
      job[which] = running;
      if (!logic("calls_no_other")) call_next();
      lock.unlock();
      run(which);
      lock.lock();
      MAGPIE_ASSERT(job[which] == running);
      job[which] = ran;
    }
    threads = threads - 1;
    if (threads == 0 && closing) gone.wake();
    lock.unlock();
  }

 private:
  void remove(int at) {
    for (int i = at; i + 1 < listed; ++i) list[i] = list[i + 1];
    listed = listed - 1;
  }

  void notify_one() {
    for (int i = 0; i != threads_max; ++i) {
      if (!waits[i]) continue;
      waits[i] = false;
      called[i].wake();
      return;
    }
  }

  void call_next() {
    if (calling || idle == 0 || listed == 0) return;
    calling = true;
    notify_one();
  }

  /// The condition variable's: true when only time has passed.
  bool wait_once(int self) {
    waits[self] = true;
    lock.unlock();
    const bool late = may_time_out && rl::rand(2) != 0;
    if (!late) called[self].sleep();
    lock.lock();
    if (!late) return false;
    if (!waits[self]) called[self].sleep();  // called at the same time: the call is spent
    waits[self] = false;
    return true;
  }
};

}  // namespace magpie::pools
