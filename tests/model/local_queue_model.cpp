/// Model: every task pushed to a local queue is run exactly once, whoever takes it, and a push and
/// a look from outside never miss each other.  Indices start next to their wrap.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/local_queue.hpp>
#include <magpie/tests/model/work.hpp>

namespace {

using magpie::model::scenario;
using magpie::model::take;
using magpie::model::taking_sink;
using magpie::model::task;

using queue = magpie::basic_local_queue<4>;
constexpr std::uint32_t near_wrap = 0xffff'fffe;

template <int Count>
struct tasks {
  task all[Count];

  tasks() {
    for (task& t : all) {
      t.prepare();
    }
  }
  void check() const {
    for (const task& t : all) {
      MAGPIE_ASSERT(t.ran_once());
    }
  }
};

void drain(queue& q) {
  while (magpie::runnable* t = q.pop()) {
    take(t);
  }
}

void steal_and_drain(queue& victim, queue& mine) {
  if (magpie::runnable* t = victim.steal_into(mine)) {
    take(t);
    mine.check_invariants();
  }
  drain(mine);
}

/// The owner pushes and pops while one thief steals.
struct one_thief : scenario<one_thief, 2> {
  queue victim{true, near_wrap};
  queue mine{true, near_wrap - 1};
  tasks<4> work;

  void thread(unsigned index) {
    if (index == 1) {
      steal_and_drain(victim, mine);
      return;
    }
    victim.push(work.all[0], taking_sink());
    victim.push(work.all[1], taking_sink());
    if (magpie::runnable* t = victim.pop()) {
      take(t);
    }
    victim.push(work.all[2], taking_sink());
    victim.push(work.all[3], taking_sink());
    victim.check_invariants();
    drain(victim);
  }
  void after() {
    MAGPIE_ASSERT(victim.empty() && mine.empty() && victim.size() == 0);
    MAGPIE_ASSERT(victim.free_slots() == 4);
    work.check();
  }
};

/// Two thieves are after the same tasks, and the owner fills the slots that they leave.
struct two_thieves : scenario<two_thieves, 3> {
  queue victim{true, near_wrap};
  queue mine[2] = {queue{true}, queue{true}};
  tasks<5> work;

  void before() {
    for (int i = 0; i != 4; ++i) {
      victim.push(work.all[i], taking_sink());
    }
  }
  void thread(unsigned index) {
    if (index != 0) {
      steal_and_drain(victim, mine[index - 1]);
      return;
    }
    if (magpie::runnable* t = victim.pop()) {
      take(t);
    }
    victim.push(work.all[4], taking_sink());
    drain(victim);
  }
  void after() { work.check(); }
};

/// The owner runs over: half goes to the sink, unless a thief is at work.
struct overflowing : scenario<overflowing, 2> {
  queue victim{true, near_wrap};
  queue mine{true};
  tasks<7> work;

  void before() {
    for (int i = 0; i != 4; ++i) {
      victim.push(work.all[i], taking_sink());
    }
  }
  void thread(unsigned index) {
    if (index == 1) {
      steal_and_drain(victim, mine);
      steal_and_drain(victim, mine);
      return;
    }
    for (int i = 4; i != 7; ++i) {
      victim.push(work.all[i], taking_sink());
      victim.check_invariants();
    }
    drain(victim);
  }
  void after() { work.check(); }
};

/// A thief is stolen from, and steals into the slots that this frees.
struct chain_of_thieves : scenario<chain_of_thieves, 2> {
  queue a{true, near_wrap};
  queue b{true, near_wrap};
  queue c{true};
  tasks<7> work;

  void before() {
    for (int i = 0; i != 4; ++i) {
      b.push(work.all[i], taking_sink());
    }
    for (int i = 4; i != 7; ++i) {
      a.push(work.all[i], taking_sink());
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      drain(b);
      steal_and_drain(a, b);
    } else {
      steal_and_drain(b, c);
    }
  }
  void after() {
    drain(a);
    work.check();
  }
};

/// The smallest ring overflows into a thief that lags behind.
struct smallest : scenario<smallest, 2> {
  using small_queue = magpie::basic_local_queue<2>;
  small_queue victim{true, near_wrap};
  small_queue mine{true};
  tasks<4> work;

  void thread(unsigned index) {
    if (index == 1) {
      for (int i = 0; i != 2; ++i) {
        if (magpie::runnable* t = victim.steal_into(mine)) {
          take(t);
        }
      }
      MAGPIE_ASSERT(mine.empty());
      return;
    }
    for (task& t : work.all) {
      victim.push(t, taking_sink());
    }
    while (magpie::runnable* t = victim.pop()) {
      take(t);
    }
  }
  void after() { work.check(); }
};

/// A batch goes into slots that a thief has freed; what does not fit goes to the sink.
struct batch : scenario<batch, 2> {
  queue victim{true, near_wrap};
  queue mine{true};
  tasks<6> work;

  void before() {
    for (int i = 0; i != 3; ++i) {
      victim.push(work.all[i], taking_sink());
    }
  }
  void thread(unsigned index) {
    if (index == 1) {
      steal_and_drain(victim, mine);
      steal_and_drain(victim, mine);
      return;
    }
    work.all[3].next = &work.all[4];
    work.all[4].next = &work.all[5];
    victim.push_batch(&work.all[3], &work.all[5], 3, taking_sink());
    victim.check_invariants();
    MAGPIE_ASSERT(victim.free_slots() <= 4);
    drain(victim);
  }
  void after() { work.check(); }
};

/// Somebody looks in from outside: more than there is may not be reported.
struct looking : scenario<looking, 2> {
  queue q{true, near_wrap};
  tasks<2> work;

  void thread(unsigned index) {
    if (index == 0) {
      q.push(work.all[0], taking_sink());
      take(q.pop());
      q.push(work.all[1], taking_sink());
      take(q.pop());
    } else {
      MAGPIE_ASSERT(q.size() <= 2);
      MAGPIE_ASSERT(q.size() <= 2);
    }
  }
  void after() {
    MAGPIE_ASSERT(q.empty() && q.size() == 0);
    work.check();
  }
};

/// The same while a thief is at work.
struct looking_at_theft : scenario<looking_at_theft, 3> {
  queue q{true, near_wrap};
  queue mine{true};
  tasks<2> work;

  void thread(unsigned index) {
    if (index == 0) {
      q.push(work.all[0], taking_sink());
      q.push(work.all[1], taking_sink());
    } else if (index == 1) {
      steal_and_drain(q, mine);
    } else {
      MAGPIE_ASSERT(q.size() <= 2);
    }
  }
  void after() {
    drain(q);
    work.check();
  }
};

/// The handshake with parking: of a push followed by a look at a word, and a change of that word
/// followed by a look at the queue, one sees the other.
struct handshake : scenario<handshake, 2> {
  queue q{true, near_wrap};
  magpie::atomic<int> word{0};
  tasks<2> work;
  magpie::plain<bool> pusher_saw{false};
  magpie::plain<bool> looker_saw{false};

  void before() {
    q.push(work.all[0], taking_sink());
    take(q.pop());
  }
  void thread(unsigned index) {
    if (index == 0) {
      q.push(work.all[1], taking_sink());
      pusher_saw = word.load(magpie::order::seq_cst) != 0;
    } else {
      word.exchange(1, magpie::order::seq_cst);
      looker_saw = !q.empty();
    }
  }
  void after() {
    MAGPIE_ASSERT(pusher_saw || looker_saw);
    drain(q);
    work.check();
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "local_queue",
       .scenarios = {entry<one_thief>("one_thief", 3), entry<looking>("looking", 3),
                     entry<handshake>("handshake", 3), entry<smallest>("smallest", 3),
                     entry<looking_at_theft>("looking_at_theft", 3),
                     entry<chain_of_thieves>("chain_of_thieves", 2), entry<batch>("batch", 2),
                     entry<overflowing>("overflowing", 2), entry<two_thieves>("two_thieves", 2)},
       .files = {"runtime/local_queue.hpp"}},
      argc, argv);
}
