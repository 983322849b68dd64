/// Model: the spin lock excludes, hands on what was written, and lets everybody in.
#include <magpie/tests/model/model.hpp>

#include <magpie/util/spin_lock.hpp>

namespace {

using magpie::model::scenario;

/// Two threads add to one variable, twice each.
struct counting : scenario<counting, 2> {
  magpie::spin_lock lock;
  magpie::plain<int> value{0};

  void thread(unsigned) {
    for (int i = 0; i != 2; ++i) {
      lock.lock();
      value = value + 1;
      lock.unlock();
    }
  }
  void after() { MAGPIE_ASSERT(value == 4 && !lock.is_locked()); }
};

/// One thread locks, two try.
struct trying : scenario<trying, 3> {
  magpie::spin_lock lock;
  magpie::plain<int> value{0};
  magpie::plain<int> entered[3] = {{0}, {0}, {0}};

  void thread(unsigned index) {
    if (index == 0) {
      lock.lock();
    } else if (!lock.try_lock()) {
      return;
    }
    value = value + 1;
    entered[index] = 1;
    lock.unlock();
  }
  void after() { MAGPIE_ASSERT(value == entered[0] + entered[1] + entered[2] && value >= 1); }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "spin_lock",
       .scenarios = {entry<counting>("counting", 3), entry<trying>("trying", 3)},
       .files = {"util/spin_lock.hpp"}},
      argc, argv);
}
