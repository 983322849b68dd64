/// The core of a pool by hand: turns, debts, and what becomes of objects.  With tasks: pool_test;
/// against a reference: pool_random_test; the races: tests/model/pool_model.cpp.
#include <magpie/sync/pool_core.hpp>

#include <magpie/tests/sync/world.hpp>

#include <vector>

namespace magpie::tests::pool_core_test {
namespace {

using sync::pool_end;
using sync::pool_options;
using sync::detail::pool_choice;
using sync::detail::pool_core;
using sync::detail::pool_slot;
using sync::detail::pool_turn;

class bare_core final : public pool_core {
 public:
  bare_core(const pool_options& options, int& cores) : pool_core(options), cores_(&cores) {
    ++cores;
  }
  pool_slot& made_with(pool_turn& turn) {
    auto* const slot = new pool_slot(*this);
    turn.made(*slot, true);
    return turn.give();
  }
  std::vector<pool_end> ends;

 private:
  ~bare_core() override { --*cores_; }
  bool broken(pool_slot&) noexcept override { return false; }
  void destroy(pool_slot& slot) noexcept override {
    ends.push_back(slot.ends_by);
    delete &slot;
  }
  int* cores_;
};

TEST(pool_core, a_turn_goes_back_whatever_was_done_with_it) {
  int cores = 0;
  auto* const core = new bare_core(pool_options(1), cores);
  {
    pool_turn turn;
    EXPECT_TRUE(turn.try_take(*core));
    EXPECT_EQ(core->available(), 0U);
    pool_turn other;
    EXPECT_EQ(error_of(other.try_take(*core)), std::errc::resource_unavailable_try_again);
    EXPECT_FALSE(other);
  }  // not used
  EXPECT_EQ(core->available(), 1U);
  {
    pool_turn turn;
    EXPECT_TRUE(turn.try_take(*core));
    EXPECT_EQ(turn.choose(false), pool_choice::none);
    EXPECT_EQ(turn.choose(), pool_choice::make);
    EXPECT_EQ(core->counts().size, 1U);
  }  // nothing was made
  EXPECT_EQ(core->counts().size, 0U);
  EXPECT_EQ(core->counts().create_failed, 1U);
  pool_turn turn;
  EXPECT_TRUE(turn.try_take(*core));
  EXPECT_EQ(turn.choose(), pool_choice::make);
  core->put_back(core->made_with(turn));
  {
    pool_turn again;
    EXPECT_TRUE(again.try_take(*core));
    EXPECT_EQ(again.choose(), pool_choice::idle);
  }  // it was taken and nobody has got it
  EXPECT_EQ(core->ends, std::vector{pool_end::abandoned});
  EXPECT_EQ(core->available(), 1U);
  core->check_invariants();
  core->close_all();
  EXPECT_EQ(error_of(turn.try_take(*core)), errc::closed);
  EXPECT_EQ(cores, 1);
  core->drop_reference();
  EXPECT_EQ(cores, 0);
}

TEST(pool_core, debts_are_paid_by_whoever_gives_back) {
  int cores = 0;
  auto* const core = new bare_core(pool_options(2), cores);
  std::vector<pool_slot*> out;
  for (int i = 0; i < 2; ++i) {
    pool_turn turn;
    EXPECT_TRUE(turn.try_take(*core));
    EXPECT_EQ(turn.choose(), pool_choice::make);
    out.push_back(&core->made_with(turn));
  }
  core->resize(0);
  core->put_back(*out[0]);
  EXPECT_EQ(core->available(), 0U);
  EXPECT_EQ(core->counts().size, 1U);
  core->resize(2);  // of two turns one is out
  EXPECT_EQ(core->available(), 1U);
  core->leave(*out[1], pool_end::broken);
  EXPECT_EQ(core->available(), 2U);
  EXPECT_EQ(core->ends, (std::vector{pool_end::surplus, pool_end::broken}));
  core->check_invariants();
  core->close_all();
  core->drop_reference();
  EXPECT_EQ(cores, 0);
}

/// The last share frees the core: of the pool, of an object, of a task inside.
TEST(pool_core, lives_as_long_as_anything_of_it) {
  int cores = 0;
  auto* const core = new bare_core(pool_options(1), cores);
  pool_turn turn;
  EXPECT_TRUE(turn.try_take(*core));
  EXPECT_EQ(turn.choose(), pool_choice::make);
  pool_slot& out = core->made_with(turn);
  {
    const sync::detail::pool_share share(*core);
    core->close_all();
    core->drop_reference();
  }
  EXPECT_EQ(cores, 1);
  core->put_back(out);
  EXPECT_EQ(cores, 0);
}

}  // namespace
}  // namespace magpie::tests::pool_core_test
