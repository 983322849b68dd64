/// Model: a job that a blocking pool has taken runs or is withdrawn, once; jobs that were submitted
/// one after the other get the threads that there may be; a stop is not missed while a job is
/// handed over; and a pool without a thread takes nothing.
#include <magpie/tests/model/blocking_protocol.hpp>

namespace magpie::pools {
namespace {

using model::scenario;

/// Two jobs, one after the other, by a thread that then closes the pool; threads come and go.
struct two_jobs : scenario<two_jobs, 3> {
  pool under_test;
  model::bed ended[2];
  plain<int> runs[2] = {{0}, {0}};

  void thread(unsigned index) {
    if (index != 0) {
      under_test.thread_main(static_cast<int>(index) - 1, [this](int which) {
        runs[which] = runs[which] + 1;
        ended[which].wake();
      });
      return;
    }
    for (int i = 0; i != 2; ++i) {
      MAGPIE_ASSERT(under_test.submit(i));
      ended[i].sleep();
    }
    under_test.close();
  }
  void after() { MAGPIE_ASSERT(runs[0] == 1 && runs[1] == 1 && under_test.threads == 0); }
};

/// The second job waits for the third: two threads are needed, and may be made, once each; so none
/// leaves for having been idle.
struct dependent_jobs : scenario<dependent_jobs, 3> {
  pool under_test;
  model::bed third;
  model::bed ended[3];

  void before() { under_test.may_time_out = false; }
  void thread(unsigned index) {
    if (index != 0) {
      under_test.thread_main(static_cast<int>(index) - 1, [this](int which) {
        if (which == 1) third.sleep();
        if (which == 2) third.wake();
        ended[which].wake();
      });
      return;
    }
    for (int i = 0; i != 3; ++i) MAGPIE_ASSERT(under_test.submit(i));
    for (model::bed& one : ended) one.sleep();
    under_test.close();
  }
};

/// Twice two jobs that wait for each other: the second time both threads are there and idle, and
/// each has to be called.
struct idle_threads : scenario<idle_threads, 3> {
  pool under_test;
  model::bed second[2];
  model::bed ended[4];

  void before() { under_test.may_time_out = false; }
  void thread(unsigned index) {
    if (index != 0) {
      under_test.thread_main(static_cast<int>(index) - 1, [this](int which) {
        if (which % 2 == 0) second[which / 2].sleep();
        if (which % 2 == 1) second[which / 2].wake();
        ended[which].wake();
      });
      return;
    }
    for (int i = 0; i != 4; ++i) {
      MAGPIE_ASSERT(under_test.submit(i));
      if (i % 2 == 0) continue;
      ended[i - 1].sleep();
      ended[i].sleep();
    }
    under_test.close();
  }
};

/// A stop of the second job, at any moment; only one thread can be made.
struct stops : scenario<stops, 3> {
  pool under_test;
  model::bed ended[2];
  plain<int> runs{0};
  plain<bool> taken{false};
  plain<bool> withdrawn{false};

  void before() { under_test.may_make = 1; }
  void thread(unsigned index) {
    if (index == 0) {
      MAGPIE_ASSERT(under_test.submit(0));
      taken = under_test.submit(1);
      if (!taken) ended[1].wake();
      ended[0].sleep();
      ended[1].sleep();
      under_test.close();
    } else if (index == 1) {
      withdrawn = under_test.stop(1);
      if (withdrawn) ended[1].wake();
    } else {
      under_test.thread_main(static_cast<int>(index) - 2, [this](int which) {
        if (which == 1) runs = runs + 1;
        ended[which].wake();
      });
    }
  }
  void after() { MAGPIE_ASSERT(static_cast<int>(runs) + (withdrawn ? 1 : 0) == (taken ? 1 : 0)); }
};

/// No thread can be made: nothing is taken.
struct without_threads : scenario<without_threads, 2> {
  pool under_test;

  void before() { under_test.may_make = 0; }
  void thread(unsigned index) {
    if (index != 0) return;
    MAGPIE_ASSERT(!under_test.submit(0));
    under_test.close();
  }
};

}  // namespace
}  // namespace magpie::pools

int main(int argc, char** argv) {
  using namespace magpie::pools;
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "blocking_pool",
       .scenarios = {entry<without_threads>("without_threads", 1), entry<two_jobs>("two_jobs", 2),
                     entry<dependent_jobs>("dependent_jobs", 1),
                     entry<idle_threads>("idle_threads", 1), entry<stops>("stops", 1)},
       .files = {"tests/model/blocking_protocol.hpp"},
       .logic_mutants = {"enters_before_the_lock", "forgets_promises", "lists_without_threads",
                         "calls_nobody", "withdraws_what_runs", "stays_idle", "does_not_look_again",
                         "calls_once", "calls_no_other"},
       .random_schedules = 20'000},
      argc, argv);
}
