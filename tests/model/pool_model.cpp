/// Model: a pool without its values. No object and no turn is lost or doubled however gets,
/// returns, stops, a close, a resize and the pool's end meet; who gets an object sees what was done
/// by those who had it before; one that is given back goes to who waits; the last of the pool and
/// its objects frees the core, and is the last inside. All of it is the real source; tasks.hpp says
/// what stands for frames.
#include <magpie/tests/model/tasks.hpp>

#include <magpie/runtime/wait_list.cpp>
#include <magpie/sync/event.cpp>
#include <magpie/sync/permit_queue.cpp>
#include <magpie/sync/pool_core.cpp>

#include <cstring>
#include <utility>

namespace magpie {

std::uint64_t clock::detail_now_ns() noexcept { return 1; }

namespace pools {

using model::party;
using sync::detail::pool_choice;
using sync::detail::pool_core;
using sync::detail::pool_share;
using sync::detail::pool_slot;
using sync::detail::pool_turn;
using sync::detail::turn_wait;

struct object : pool_slot {
  explicit object(pool_core& in) : pool_slot(in) {}
  plain<int> uses{0};  ///< By who has it.
  bool alive = true;
};

struct world;

class core final : public pool_core {
 public:
  core(world& in, const sync::pool_options& options) : pool_core(options), in_(&in) {}
  void end() { this->~core(); }

  /// The memory is the world's; who comes too late stumbles.
  static void operator delete(void* memory, std::size_t size) noexcept {
    std::memset(memory, 0xdd, size);
  }
  static void* operator new(std::size_t, void* at) noexcept { return at; }

 private:
  ~core() override;
  bool broken(pool_slot&) noexcept override { return false; }
  void destroy(pool_slot& slot) noexcept override {
    auto& one = static_cast<object&>(slot);
    MAGPIE_ASSERT(std::exchange(one.alive, false));
    one.uses = one.uses + 1;  // after all who have used it
  }

  world* in_;
};

/// A pool, and up to three who get objects.
struct world : model::stage {
  alignas(core) unsigned char memory[sizeof(core)];
  pool_core* it = nullptr;
  std::array<std::optional<party>, 3> who;
  std::array<std::optional<turn_wait>, 3> waits;
  std::array<std::optional<object>, 4> objects;
  std::array<plain<int>, 3> done{0, 0, 0};  ///< By each, before it lets go for the last time.
  atomic<unsigned> made{0};
  int freed = 0;

  ~world() {
    for (auto& one : waits) one.reset();
    for (auto& one : who) one.reset();
  }
  void before(std::size_t size) {
    freed = 0;
    sync::pool_options options(size);
    it = ::new (static_cast<void*>(memory)) core(*this, options);
    for (auto& one : who) one.emplace();
  }
  /// The pool goes.
  void end_pool() {
    it->close_all();
    it->drop_reference();
  }
  std::size_t alive() const {
    std::size_t count = 0;
    for (const auto& one : objects) count += one && one->alive ? 1 : 0;
    return count;
  }

  /// In `before`: an object that is out.
  pool_slot& out() {
    pool_turn turn;
    MAGPIE_ASSERT(turn.try_take(*it));
    return choose(turn);
  }
  pool_slot& choose(pool_turn& turn) {
    if (turn.choose() == pool_choice::make) {
      auto& one = objects[made.fetch_add(1, order::relaxed)];
      one.emplace(*it);
      turn.made(*one, true);
    }
    return turn.give();
  }
  static void use(pool_slot& slot) {
    auto& one = static_cast<object&>(slot);
    MAGPIE_ASSERT(one.alive);
    one.uses = one.uses + 1;
  }
  void begin(std::size_t i) {
    waits[i].emplace(*it);
    who[i]->begin(*waits[i]);
  }
  /// Gets one, uses it, gives it back; what came in between.
  std::error_code borrow(std::size_t i) {
    const pool_share share(*it);
    pool_turn turn;
    const auto at_once = turn.try_take(*it);
    if (!at_once && at_once.error() == errc::closed) return errc::closed;
    if (!at_once) {
      begin(i);
      if (const std::error_code error = finish(i, turn)) return error;
    }
    return take(turn);
  }
  std::error_code finish(std::size_t i, pool_turn& turn) {
    std::error_code error = who[i]->finish();
    if (!error) error = waits[i]->failed();  // it may have ended at once
    if (!error) turn = *waits[i]->take();
    waits[i].reset();
    return error;
  }
  std::error_code take(pool_turn& turn) {
    const pool_choice what = turn.choose();
    if (what == pool_choice::closed) return errc::closed;
    if (what == pool_choice::make) {
      auto& one = objects[made.fetch_add(1, order::relaxed)];
      one.emplace(*it);
      turn.made(*one, true);
    }
    pool_slot& slot = turn.give();
    use(slot);
    it->put_back(slot);
    return no_error;
  }
  /// Nobody is inside any more: all objects are counted, and all turns are there.
  void check(std::size_t size_max) {
    it->check_invariants();
    const auto now = it->counts();
    MAGPIE_ASSERT(now.size == now.idle && now.size == alive() && now.size <= size_max);
    MAGPIE_ASSERT(it->available() == size_max);
  }
};

core::~core() {
  for (auto& each : in_->done) each = each + 1;  // after all who have let go
  ++in_->freed;
}

}  // namespace pools
}  // namespace magpie

namespace {

using magpie::errc;
using magpie::model::scenario;
using magpie::pools::pool_slot;
using magpie::pools::pool_turn;
using magpie::pools::world;

/// One object goes from hand to hand, and is never made twice.
struct exclusion : scenario<exclusion, 2>, world {
  void before() { world::before(1); }
  void thread(unsigned index) { MAGPIE_ASSERT(!borrow(index)); }
  void after() {
    check(1);
    MAGPIE_ASSERT(made.load(magpie::order::relaxed) == 1);
    end_pool();
    MAGPIE_ASSERT(alive() == 0 && freed == 1);
  }
};

/// Two have the objects there are, and a third waits since before: it gets one of those.
struct hand_over : scenario<hand_over, 3>, world {
  std::array<pool_slot*, 2> held{};
  void before() {
    world::before(2);
    held = {&out(), &out()};
    begin(2);
  }
  void thread(unsigned index) {
    if (index < 2) {
      use(*held[index]);
      it->put_back(*held[index]);
      return;
    }
    pool_turn turn;
    MAGPIE_ASSERT(!finish(2, turn) && !take(turn));
  }
  void after() {
    check(2);
    MAGPIE_ASSERT(made.load(magpie::order::relaxed) == 2);
    end_pool();
  }
};

/// An object comes back, and the one who waits for it is stopped: both are there afterwards.
struct stop_of_a_wait : scenario<stop_of_a_wait, 3>, world {
  pool_slot* held = nullptr;
  void before() {
    world::before(1);
    held = &out();
    begin(0);
  }
  void thread(unsigned index) {
    if (index == 1) it->put_back(*held);
    if (index == 2) who[0]->scope.request_stop();
    if (index != 0) return;
    pool_turn turn;
    const std::error_code error = finish(0, turn);
    MAGPIE_ASSERT(!error || error == errc::stopped);
    if (!error) MAGPIE_ASSERT(!take(turn));
  }
  void after() {
    check(1);
    end_pool();
  }
};

/// It is closed while an object comes back and somebody waits.
struct closing : scenario<closing, 3>, world {
  pool_slot* held = nullptr;
  void before() {
    world::before(1);
    held = &out();
    begin(0);
  }
  void thread(unsigned index) {
    if (index == 1) it->put_back(*held);
    if (index == 2) it->close_all();
    if (index != 0) return;
    pool_turn turn;
    std::error_code error = finish(0, turn);
    if (!error) error = take(turn);
    MAGPIE_ASSERT(!error || error == errc::closed);
  }
  void after() {
    check(1);
    MAGPIE_ASSERT(alive() == 0);
    end_pool();
    MAGPIE_ASSERT(freed == 1);
  }
};

/// Two objects come back while there may be one from now on.
struct shrinking : scenario<shrinking, 3>, world {
  std::array<pool_slot*, 2> held{};
  void before() {
    world::before(2);
    held = {&out(), &out()};
  }
  void thread(unsigned index) {
    if (index == 2) return it->resize(1);
    use(*held[index]);
    it->put_back(*held[index]);
  }
  void after() {
    check(1);
    MAGPIE_ASSERT(alive() == 1);
    end_pool();
  }
};

/// It shrinks and grows while one waits and an object comes back: the one who waits gets its turn.
struct resizing : scenario<resizing, 3>, world {
  pool_slot* held = nullptr;
  void before() {
    world::before(1);
    held = &out();
    begin(0);
  }
  void thread(unsigned index) {
    if (index == 1) it->put_back(*held);
    if (index == 2) {
      it->resize(0);
      it->resize(1);
    }
    if (index != 0) return;
    pool_turn turn;
    MAGPIE_ASSERT(!finish(0, turn) && !take(turn));
  }
  void after() {
    check(1);
    end_pool();
  }
};

/// The pool goes while an object is out: whoever is last frees the core, and sees the other's work.
struct outliving : scenario<outliving, 2>, world {
  pool_slot* held = nullptr;
  void before() {
    world::before(1);
    held = &out();
  }
  void thread(unsigned index) {
    done[index] = 1;
    if (index == 0) {
      it->put_back(*held);
    } else {
      end_pool();
    }
  }
  void after() { MAGPIE_ASSERT(freed == 1 && alive() == 0); }
};

/// The same beside one who asks.
struct outliving_a_get : scenario<outliving_a_get, 3>, world {
  pool_slot* held = nullptr;
  std::optional<magpie::pools::pool_share> share;
  void before() {
    world::before(2);
    held = &out();
    share.emplace(*it);
  }
  void thread(unsigned index) {
    done[index] = 1;
    if (index == 0) it->put_back(*held);
    if (index == 1) end_pool();
    if (index != 2) return;
    const std::error_code error = borrow(2);
    MAGPIE_ASSERT(!error || error == errc::closed);
    share.reset();
  }
  void after() { MAGPIE_ASSERT(freed == 1 && alive() == 0); }
};

/// Idle objects are looked at while somebody gets one.
struct looking : scenario<looking, 2>, world {
  void before() {
    world::before(2);
    it->put_back(out());
  }
  void thread(unsigned index) {
    if (index == 0) {
      MAGPIE_ASSERT(!borrow(0));
      return;
    }
    magpie::sync::detail::pool_slots kept;
    magpie::sync::detail::pool_slots others;
    it->begin_look(kept);
    if (pool_slot* const one = kept.front()) use(*one);
    it->end_look(others, kept);
    it->reap();
  }
  void after() {
    check(2);
    end_pool();
    MAGPIE_ASSERT(alive() == 0);
  }
};

}  // namespace

int main(int argc, char** argv) {
  using magpie::model::entry;
  return magpie::model::run(
      {.name = "pool",
       .scenarios = {entry<exclusion>("exclusion", 3), entry<outliving>("outliving", 3),
                     entry<looking>("looking", 2), entry<hand_over>("hand_over", 1),
                     entry<stop_of_a_wait>("stop_of_a_wait", 1), entry<closing>("closing", 1),
                     entry<shrinking>("shrinking", 2), entry<resizing>("resizing", 1),
                     entry<outliving_a_get>("outliving_a_get", 1)},
       .files = {"sync/pool_core.hpp", "sync/pool_core.cpp", "util/spin_lock.hpp"},
       .logic_mutants = {"a_post_is_lost"},
       .random_schedules = 20'000},
      argc, argv);
}
