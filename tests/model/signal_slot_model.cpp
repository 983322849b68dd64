/// Model: a slot of the table of signal listeners. A handler that has entered a slot uses an
/// eventfd that is open; once `close` has returned nobody uses it; and a listener that is there
/// when a signal comes is told.
#include <magpie/tests/model/model.hpp>

#include <magpie/runtime/signal_slot.hpp>

#include <optional>

namespace {

using magpie::detail::signal_slot;
using magpie::detail::signal_use;
using magpie::model::scenario;

/// Two eventfds, as places in an array; the second one stands for whoever gets the number later.
struct world {
  std::optional<signal_slot> slot;
  magpie::plain<int> open[2];
  magpie::atomic<int> told[2];

  void before() {
    slot.emplace();
    for (int i = 0; i != 2; ++i) {
      open[i] = 0;
      told[i].store(0, magpie::order::relaxed);
    }
  }
  void listen(int number, int fd) {
    open[fd] = 1;
    slot->open({number, fd, signal_use::listens});
  }
  void end(int fd) {
    slot->close();
    open[fd] = 0;  // a race with a handler that still uses it
  }
  void handle(int number) {
    signal_slot::entry found{};
    if (!slot->open_for(number) || !slot->enter(number, found)) return;
    MAGPIE_ASSERT(found.number == number && open[found.fd] == 1);
    told[found.fd].fetch_add(1, magpie::order::relaxed);
    slot->leave();
  }
};

struct signal_and_end : scenario<signal_and_end, 2>, world {
  void before() {
    world::before();
    listen(1, 0);
  }
  void thread(unsigned index) { index == 0 ? end(0) : handle(1); }
};

/// Another listener, of another number, takes the slot over while two handlers run.
struct taken_over : scenario<taken_over, 3>, world {
  void before() {
    world::before();
    listen(1, 0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      end(0);
      listen(2, 1);
    } else {
      handle(static_cast<int>(index));
    }
  }
  void after() {
    handle(2);
    MAGPIE_ASSERT(told[1].load(magpie::order::relaxed) != 0);
    end(1);
  }
};

/// Two handlers in one slot, and its end.
struct two_handlers : scenario<two_handlers, 3>, world {
  void before() {
    world::before();
    listen(1, 0);
  }
  void thread(unsigned index) { index == 0 ? end(0) : handle(1); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "signal_slot",
       .scenarios = {entry<signal_and_end>("signal_and_end", 3), entry<taken_over>("taken_over", 2),
                     entry<two_handlers>("two_handlers", 2)},
       .files = {"runtime/signal_slot.hpp"}},
      argc, argv);
}
