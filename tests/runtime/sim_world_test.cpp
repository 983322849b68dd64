// One simulated world: its time, and work that takes a while.
#include <magpie/runtime/runnable.hpp>
#include <magpie/runtime/sim_world.hpp>
#include <magpie/tests/runtime/sim_driver.hpp>

#include <vector>

namespace magpie::tests::sim_world_test {
namespace {

struct job : runnable {
  job() : runnable([](runnable&) noexcept {}) {}
};

void keep(void* into, runnable& work) noexcept {
  static_cast<std::vector<runnable*>*>(into)->push_back(&work);
}

TEST(sim_world, starts_at_one_second_with_nothing_to_do) {
  const sim_world world(5);
  EXPECT_EQ(world.now_ns, 1'000'000'000U);
  EXPECT_EQ(world.network.now_ns(), world.now_ns);
  EXPECT_EQ(world.next_event_ns(), sim_network::never);
  EXPECT_EQ(world.seed, 5U);
  EXPECT_FALSE(world.log);
}

TEST(sim_world, work_ends_when_its_time_has_come) {
  sim_world world(1);
  std::vector<runnable*> due;
  world.on_completion(&keep, &due);
  job first;
  job second;
  job third;
  world.schedule_completion(third, 500);
  world.schedule_completion(first, 100);
  world.schedule_completion(second, 100);  // at the same time: in the order of scheduling
  EXPECT_EQ(world.next_event_ns(), 1'000'000'100U);
  world.advance_to(1'000'000'099);
  EXPECT_TRUE(due.empty());
  world.advance_to(1'000'000'100);
  EXPECT_EQ(due, (std::vector<runnable*>{&first, &second}));
  EXPECT_EQ(world.next_event_ns(), 1'000'000'500U);
  world.advance_to(2'000'000'000);
  EXPECT_EQ(due.size(), 3U);
  EXPECT_EQ(world.now_ns, 2'000'000'000U);
  EXPECT_EQ(world.next_event_ns(), sim_network::never);
  EXPECT_EQ(world.network.events(), 3U);
}

TEST(sim_world, steps_take_a_little_time) {
  sim_world world(1);
  std::uint64_t before = world.now_ns;
  for (int i = 0; i < 1000; ++i) {
    world.step_passed();
    EXPECT_LT(world.now_ns - before, sim_world::step_max_ns);
    before = world.now_ns;
  }
  EXPECT_GT(world.now_ns, sim_network::start_ns + 500'000);
}

TEST(sim_world, chance_comes_from_the_seed) {
  sim_world one(3);
  sim_world same(3);
  sim_world other(4);
  bool differs = false;
  for (int i = 0; i < 10; ++i) {
    const std::uint64_t duration = one.any_duration(10, 1000);
    EXPECT_GE(duration, 10U);
    EXPECT_LT(duration, 1010U);
    EXPECT_EQ(duration, same.any_duration(10, 1000));
    differs |= duration != other.any_duration(10, 1000);
  }
  EXPECT_TRUE(differs);
  EXPECT_EQ(one.any_duration(10, 0), 10U);
}

TEST(sim_world, decisions_are_part_of_the_hash) {
  sim_world one(3);
  sim_world other(3);
  EXPECT_EQ(one.network.event_hash(), other.network.event_hash());
  one.network.note(1);
  other.network.note(2);
  EXPECT_NE(one.network.event_hash(), other.network.event_hash());
}

TEST(sim_world, times_are_part_of_the_hash) {
  const auto hash_of = [](std::uint64_t delay_ns) {
    sim_world world(3);
    std::vector<runnable*> due;
    world.on_completion(&keep, &due);
    job work;
    world.schedule_completion(work, delay_ns);
    world.advance_to(2'000'000'000);
    return world.network.event_hash();
  };
  EXPECT_EQ(hash_of(5), hash_of(5));
  EXPECT_NE(hash_of(5), hash_of(6));
}

TEST(sim_world, the_log_names_events) {
  sim_options options;
  options.log = true;
  sim_world world(options);
  std::vector<runnable*> due;
  world.on_completion(&keep, &due);
  job work;
  world.schedule_completion(work, 7);
  ::testing::internal::CaptureStderr();
  world.advance_to(1'000'000'007);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "sim 1.000000007 due -1 -> -1, 0 bytes\n");
}

TEST(sim_world_death_test, time_never_goes_back) {
  sim_world world(1);
  EXPECT_DEATH(world.advance_to(5), "now_ns");
}

TEST(sim_world, moves_on_to_what_comes_first) {
  sim_world world(1);
  const std::uint64_t start = world.now_ns;
  std::vector<runnable*> due;
  world.on_completion(&keep, &due);
  constexpr std::uint64_t never = sim_network::never;
  EXPECT_FALSE(world.move_on(never, never));
  EXPECT_TRUE(world.move_on(start + 500, never));  // a timer
  EXPECT_EQ(world.now_ns, start + 500);
  job work;
  world.schedule_completion(work, 100);
  EXPECT_TRUE(world.move_on(start + 900, never));
  EXPECT_EQ(world.now_ns, start + 600);
  EXPECT_EQ(due.size(), 1U);
  EXPECT_TRUE(world.move_on(start + 900, start + 800));  // no further than the driver may
  EXPECT_EQ(world.now_ns, start + 800);
  EXPECT_TRUE(world.move_on(start, never));  // never back
  EXPECT_EQ(world.now_ns, start + 800);
}

TEST(sim_world, a_paused_one_moves_by_advances_alone) {
  sim_world world(1);
  std::vector<runnable*> due;
  world.on_completion(&keep, &due);
  world.advance_to(world.now_ns + 1);
  world.pause();
  const std::uint64_t start = world.now_ns;
  EXPECT_EQ(start % sim_world::tick_ns, 0U);
  world.step_passed();
  EXPECT_EQ(world.now_ns, start);
  constexpr std::uint64_t never = sim_network::never;
  EXPECT_FALSE(world.move_on(start + 500, never));
  job far;
  job near;
  sim_advance second(far);
  sim_advance first(near);
  second.until_ns = start + 7'500;
  first.until_ns = start + 2'000;
  world.begin_advance(second);
  world.begin_advance(first);
  EXPECT_TRUE(world.move_on(start + 1'000, never));  // a timer that is due on the way
  EXPECT_EQ(world.now_ns, start + 1'000);
  EXPECT_TRUE(world.move_on(start + 2'000, never));  // and one that is due at the end
  EXPECT_TRUE(due.empty());
  EXPECT_TRUE(world.move_on(never, never));
  EXPECT_EQ(due, (std::vector<runnable*>{&near}));
  EXPECT_EQ(world.now_ns, start + 2'000);
  EXPECT_TRUE(world.move_on(never, never));
  EXPECT_EQ(due, (std::vector<runnable*>{&near, &far}));
  EXPECT_EQ(world.now_ns, start + 8'000);
  EXPECT_FALSE(sim_world::cancel_advance(second));
  EXPECT_FALSE(world.move_on(never, never));
}

TEST(sim_world, an_advance_can_be_cancelled_and_gets_impatient) {
  sim_world world(1);
  world.pause();
  job work;
  sim_advance only(work);
  only.until_ns = world.now_ns + 1'000;
  world.begin_advance(only);
  for (std::uint32_t i = 1; i < sim_world::settle_turns_max; ++i) world.step_passed();
  EXPECT_FALSE(world.impatient());
  world.step_passed();
  EXPECT_TRUE(world.impatient());
  EXPECT_TRUE(sim_world::cancel_advance(only));
  EXPECT_FALSE(world.move_on(sim_network::never, sim_network::never));
  EXPECT_FALSE(world.impatient());
  world.resume_for_good();
  world.pause();
  EXPECT_FALSE(world.paused());
}

}  // namespace
}  // namespace magpie::tests::sim_world_test
