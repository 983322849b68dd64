/// Model: something is done once. One at a time has the turn; who fails, is stopped or throws hands
/// it on, and nobody who waits is forgotten; who finds it done sees what was done, and may destroy
/// it. All of it is the real source; tasks.hpp says what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/sync/once.cpp>

#include <cstring>
#include <utility>

namespace magpie::onces {

using model::party;
using operation = sync::detail::turn_operation;

/// The core of a cell whose end is seen by whoever comes too late, and up to three who need it.
struct world : model::stage {
  using core = sync::detail::once_core;

  alignas(core) unsigned char memory[sizeof(core)];
  core* it = nullptr;
  std::array<std::optional<party>, 3> who;
  std::array<std::optional<operation>, 3> waits;
  plain<int> value{0};
  plain<int> tries{0};  ///< By who has the turn.
  int made = 0;

  ~world() {
    for (auto& one : waits) one.reset();
    for (auto& one : who) one.reset();
    destroy();
  }
  void before() {
    it = ::new (static_cast<void*>(memory)) core;
    for (auto& one : who) one.emplace();
  }
  void destroy() {
    if (it == nullptr) return;
    std::exchange(it, nullptr)->~core();
    std::memset(memory, 0xdd, sizeof memory);
  }
  void begin(std::size_t i) {
    waits[i].emplace(*it);
    who[i]->begin(*waits[i]);
  }
  /// Does it, or fails to, or finds it done; false: stopped.
  bool finish(std::size_t i, bool fails = false) {
    const std::error_code error = who[i]->finish();
    if (error) {
      MAGPIE_ASSERT(error == errc::stopped);
      waits[i].reset();
      return false;
    }
    sync::detail::once_turn turn = *waits[i]->take();
    waits[i].reset();
    if (!turn) {
      MAGPIE_ASSERT(value == 1);
      return true;
    }
    tries = tries + 1;
    MAGPIE_ASSERT(value == 0);
    if (fails) return true;  // the turn goes at the end of this
    value = 1;
    ++made;
    turn.finish();
    return true;
  }
  bool need(std::size_t i, bool fails = false) {
    begin(i);
    return finish(i, fails);
  }
  /// In `before`: the turn is out, in the hands of nobody who is modelled.
  void begin_turn() {
    sync::detail::once_entry first;
    MAGPIE_ASSERT(it->try_take(first) && first.has_turn);
  }
};

}  // namespace magpie::onces

namespace {

using magpie::model::scenario;
using magpie::onces::world;

/// Those who come at once: one does it, and all see it.
template <int Threads>
struct all_need : scenario<all_need<Threads>, Threads>, world {
  void before() { world::before(); }
  void thread(unsigned index) { MAGPIE_ASSERT(need(index)); }
  void after() { MAGPIE_ASSERT(made == 1 && value == 1); }
};

/// The first of those who have the turn fails.
template <int Threads>
struct one_fails : scenario<one_fails<Threads>, Threads>, world {
  void before() { world::before(); }
  void thread(unsigned index) { MAGPIE_ASSERT(need(index, index == 0)); }
  void after() { MAGPIE_ASSERT(made == 1); }
};

/// The turn comes back while one waits and is stopped: it is that one's, or there for the next.
struct hand_on_and_stop : scenario<hand_on_and_stop, 3>, world {
  void before() {
    world::before();
    begin_turn();
    begin(0);
  }
  void thread(unsigned index) {
    if (index == 0) finish(0);
    if (index == 1) it->hand_on();
    if (index == 2) who[0]->scope.request_stop();
  }
  void after() {
    MAGPIE_ASSERT(need(1));
    MAGPIE_ASSERT(made == 1);
  }
};

/// Two wait, the first of them is stopped: the second does it.
struct passed_on : scenario<passed_on, 3>, world {
  void before() {
    world::before();
    begin_turn();
    begin(0);
    begin(1);
  }
  void thread(unsigned index) {
    if (index == 0) finish(0);
    if (index == 1) it->hand_on();
    if (index == 2) who[0]->scope.request_stop();
  }
  void after() { MAGPIE_ASSERT(finish(1) && made == 1); }
};

/// Whoever finds it done destroys it; also one who has waited, and where a mark was left.
template <bool Looks, bool Marked>
struct destroying : scenario<destroying<Looks, Marked>, 2>, world {
  void before() {
    world::before();
    begin_turn();
    if (!Marked) return;
    begin(2);
    who[2]->scope.request_stop();
    MAGPIE_ASSERT(!finish(2));
  }
  void thread(unsigned index) {
    if (index == 1) {
      value = 1;
      it->finish();
    } else if (!Looks) {
      MAGPIE_ASSERT(need(0));
      destroy();
    } else if (it->is_done()) {
      MAGPIE_ASSERT(value == 1);
      destroy();
    }
  }
};

/// It is handed on where a mark was left, beside one who comes.
struct coming_beside_a_mark : scenario<coming_beside_a_mark, 2>, world {
  void before() {
    world::before();
    begin_turn();
    begin(2);
    who[2]->scope.request_stop();
    MAGPIE_ASSERT(!finish(2));
  }
  void thread(unsigned index) {
    if (index == 1) {
      tries = tries + 1;
      it->hand_on();
    } else {
      MAGPIE_ASSERT(need(0));
    }
  }
  void after() { MAGPIE_ASSERT(made == 1 && tries == 2); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "once",
       .scenarios = {entry<all_need<2>>("two_need", 3), entry<one_fails<2>>("one_fails", 3),
                     entry<destroying<true, false>>("destroying_by_a_look", 3),
                     entry<destroying<false, false>>("destroying", 3),
                     entry<destroying<true, true>>("destroying_by_a_look_marked", 3),
                     entry<destroying<false, true>>("destroying_marked", 3),
                     entry<coming_beside_a_mark>("coming_beside_a_mark", 3),
                     entry<hand_on_and_stop>("hand_on_and_stop", 2),
                     entry<passed_on>("passed_on", 2), entry<all_need<3>>("three_need", 1),
                     entry<one_fails<3>>("one_of_three_fails", 1)},
       .files = {"sync/once.hpp", "sync/once.cpp"},
       .logic_mutants = {"a_post_is_lost"}},
      argc, argv);
}
