/// Model: the latch between a runtime's handles and its shutdown. Nobody is inside once `close` has
/// returned, and what was done inside is visible then; the link is freed once, by the last holder.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/shutdown_latch.hpp>

#include <optional>

namespace {

using magpie::detail::runtime_link;
using magpie::detail::shutdown_latch;
using magpie::model::scenario;

/// What is used inside: gone once the latch is closed.
struct world {
  std::optional<shutdown_latch> latch;
  magpie::plain<int> runtime{0};

  void before() {
    latch.emplace();
    runtime = 1;
  }
  void use() {
    if (!latch->enter()) return;
    MAGPIE_ASSERT(runtime == 1);
    latch->leave();
  }
  void shut_down() {
    latch->close();
    runtime = 0;  // a race with who is still inside
    MAGPIE_ASSERT(!latch->enter());
  }
};

struct use_and_close : scenario<use_and_close, 2>, world {
  void before() { world::before(); }
  void thread(unsigned index) { index == 0 ? use() : shut_down(); }
  void after() { MAGPIE_ASSERT(latch->is_closed()); }
};

/// Two users, each twice.
struct many_uses : scenario<many_uses, 3>, world {
  void before() { world::before(); }
  void thread(unsigned index) {
    if (index == 2) {
      shut_down();
      return;
    }
    use();
    use();
  }
};

/// Two close it: both return when nobody is inside.
struct two_closers : scenario<two_closers, 3>, world {
  magpie::plain<int> written{0};
  void before() {
    world::before();
    written = 0;
  }
  void thread(unsigned index) {
    if (index != 0) {
      latch->close();
      MAGPIE_ASSERT(written + 0 <= 1);  // a race with who is still inside
    } else if (latch->enter()) {
      written = 1;
      latch->leave();
    }
  }
};

/// The runtime and two handles let go of the link.
struct last_holder : scenario<last_holder, 3> {
  std::optional<runtime_link> link;
  magpie::plain<int> touched[3];
  int freed = 0;

  void before() {
    link.emplace(nullptr);
    link->hold();
    for (auto& one : touched) one = 0;
  }
  void thread(unsigned index) {
    if (index == 0) {  // a copy, from the handle that this thread has
      link->hold();
      let_go(0);
    }
    if (index != 2) let_go(index);
  }
  void let_go(unsigned index) {
    touched[index] = 1;
    if (!link->let_go()) return;
    for (auto& one : touched) static_cast<void>(one + 0);
    link.reset();
    MAGPIE_ASSERT(++freed == 1);
  }
  void after() { MAGPIE_ASSERT(freed == 1); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "shutdown_latch",
       .scenarios = {entry<use_and_close>("use_and_close", 3), entry<last_holder>("last_holder", 3),
                     entry<two_closers>("two_closers", 2), entry<many_uses>("many_uses", 1)},
       .files = {"runtime/shutdown_latch.hpp"}},
      argc, argv);
}
