/// The slab and the heap of a delay queue, against a model.
#include <magpie/runtime/delay_slots.hpp>

#include <magpie/util/random.hpp>

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace magpie::tests::delay_slots_test {
namespace {

using slots = detail::delay_slots<std::unique_ptr<int>>;

void make_room(slots& in) {
  if (in.full()) in.grow(slots::chunk(in.chunk_count()));
}

delay_key put(slots& in, int value, std::uint64_t tick) {
  make_room(in);
  return in.insert(std::make_unique<int>(value), tick);
}

TEST(delay_slots, come_in_the_order_of_ticks_and_of_insertion) {
  slots all;
  for (int i = 0; i < 200; ++i) put(all, i, static_cast<std::uint64_t>(i % 5));
  all.check_invariants();
  for (int tick = 0; tick < 5; ++tick) {
    for (int i = 0; i < 40; ++i) {
      EXPECT_EQ(all.first_tick(), static_cast<std::uint64_t>(tick));
      EXPECT_EQ(*all.take(all.first()), i * 5 + tick);
    }
  }
  EXPECT_EQ(all.size(), 0U);
  all.check_invariants();
}

TEST(delay_slots, grow_by_chunks_and_copy_nothing) {
  slots all;
  EXPECT_TRUE(all.full());
  EXPECT_EQ(all.capacity(), 0U);
  for (int i = 0; i < 64; ++i) put(all, i, 1);
  EXPECT_TRUE(all.full());
  EXPECT_EQ(all.capacity(), 64U);
  put(all, 64, 1);
  EXPECT_EQ(all.capacity(), 192U);
  while (all.size() < 193) put(all, 1, 1);
  EXPECT_EQ(all.capacity(), 448U);
  all.check_invariants();
}

TEST(delay_slots, a_stale_key_finds_nothing) {
  slots all;
  EXPECT_FALSE(all.holds(delay_key()));
  const delay_key first = put(all, 1, 10);
  EXPECT_TRUE(all.holds(first));
  EXPECT_EQ(*all.take(first), 1);
  EXPECT_FALSE(all.holds(first));
  const delay_key second = put(all, 2, 10);
  EXPECT_EQ(second.slot, first.slot);
  EXPECT_NE(second, first);
  EXPECT_FALSE(all.holds(first));
  EXPECT_TRUE(all.holds(second));
  slots moved(std::move(all));
  EXPECT_EQ(moved.size(), 1U);
  EXPECT_FALSE(all.holds(second));  // NOLINT: what it is after a move is what is tested
  const delay_key third = put(all, 3, 10);
  EXPECT_EQ(third.slot, second.slot);
  EXPECT_FALSE(all.holds(second));
}

/// What the slots should hold: by tick and order, an item and its key.
struct model {
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::pair<int, delay_key>> items;
  std::uint64_t order = 0;

  auto pick(random_source& random) {
    return std::next(items.begin(), random.below(static_cast<std::uint32_t>(items.size())));
  }
};

TEST(delay_slots, agree_with_a_model) {
  for (std::uint64_t seed = 1; seed < 10; ++seed) {
    random_source random(seed);
    slots all;
    model expected;
    std::vector<delay_key> gone;
    for (int step = 0; step < 3000; ++step) {
      const std::uint64_t tick = random.below(50);
      const std::uint32_t what = random.below(step < 1500 ? 5 : 8);
      if (what < 3 || expected.items.empty()) {
        const delay_key key = put(all, step, tick);
        expected.items.emplace(std::pair(tick, ++expected.order), std::pair(step, key));
      } else if (what == 3) {
        auto node = expected.items.extract(expected.pick(random));
        all.move_to(node.mapped().second, tick);
        EXPECT_EQ(all.tick_of(node.mapped().second), tick);
        node.key() = {tick, ++expected.order};
        expected.items.insert(std::move(node));
      } else {
        const auto at = what == 4 ? expected.pick(random) : expected.items.begin();
        EXPECT_TRUE(what == 4 || all.first() == at->second.second);
        EXPECT_EQ(*all.take(at->second.second), at->second.first);
        gone.push_back(at->second.second);
        expected.items.erase(at);
      }
      ASSERT_EQ(all.size(), expected.items.size());
      for (std::size_t i = 0; i < gone.size(); i += 37) ASSERT_FALSE(all.holds(gone[i]));
      if (step % 64 == 0) all.check_invariants();
    }
    EXPECT_GT(all.capacity(), 64U);
    for (const auto& [place, item] : expected.items) {
      EXPECT_EQ(all.first_tick(), place.first);
      EXPECT_EQ(*all.take(all.first()), item.first);
    }
  }
}

TEST(delay_slots, destroys_what_is_left) {
  auto watched = std::make_shared<int>(1);
  {
    detail::delay_slots<std::shared_ptr<int>> all;
    for (int i = 0; i < 100; ++i) {
      if (all.full()) all.grow(decltype(all)::chunk(all.chunk_count()));
      all.insert(std::shared_ptr<int>(watched), static_cast<std::uint64_t>(i));
    }
    EXPECT_EQ(watched.use_count(), 101);
  }
  EXPECT_EQ(watched.use_count(), 1);
}

}  // namespace
}  // namespace magpie::tests::delay_slots_test
