/// The table of a `keyed_rate_limiter`: chains, the order of leaving, and the bound.
#include <magpie/sync/keyed_entries.hpp>

#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <vector>

namespace magpie::tests::keyed_entries_test {
namespace {

using sync::rate_limit;
using sync::detail::keyed_entry;
using sync::detail::keyed_shard;

constexpr auto anyone = [](const keyed_entry&) noexcept { return true; };

/// Entries that are alive as long as the test.
struct entries {
  keyed_entry& make(std::uint64_t hash) {
    all.push_back(std::make_unique<keyed_entry>(hash, rate_limit(1, 1h, 1)));
    return *all.back();
  }
  std::vector<std::unique_ptr<keyed_entry>> all;
};

void let_go_of_all(keyed_shard& of) {
  while (of.take_any() != nullptr) {
  }
}

TEST(keyed_entries, are_found_by_hash_and_by_what_they_are) {
  keyed_shard shard;
  shard.set_bound(8);
  entries some;
  keyed_entry* forgotten = nullptr;
  for (const std::uint64_t hash : {1U, 9U, 17U}) {  // one chain of eight
    EXPECT_TRUE(shard.add(some.make(hash), forgotten));
    EXPECT_TRUE(some.all.back()->limiter.try_acquire());  // so that it is not forgotten
    shard.unpin(*some.all.back());
  }
  EXPECT_EQ(forgotten, nullptr);
  EXPECT_EQ(shard.size(), 3U);
  EXPECT_EQ(shard.pin(9, anyone), some.all[1].get());
  shard.unpin(*some.all[1]);
  EXPECT_EQ(shard.pin(25, anyone), nullptr);
  EXPECT_EQ(shard.pin(9, [](const keyed_entry&) noexcept { return false; }), nullptr);
  EXPECT_EQ(shard.take_any(), some.all[0].get());
  EXPECT_EQ(shard.take_any(), some.all[2].get());  // the second was left last
  let_go_of_all(shard);
  EXPECT_EQ(shard.size(), 0U);
}

TEST(keyed_entries, the_one_that_was_left_longest_ago_goes_first) {
  keyed_shard shard;
  shard.set_bound(2);
  entries some;
  keyed_entry* forgotten = nullptr;
  for (const std::uint64_t hash : {1U, 2U}) EXPECT_TRUE(shard.add(some.make(hash), forgotten));
  EXPECT_EQ(forgotten, nullptr);
  EXPECT_FALSE(shard.add(some.make(3), forgotten));  // somebody is at both
  shard.unpin(*some.all[1]);
  shard.unpin(*some.all[0]);
  EXPECT_TRUE(shard.add(*some.all[2], forgotten));
  EXPECT_EQ(forgotten, some.all[1].get());
  EXPECT_EQ(shard.size(), 2U);
  EXPECT_EQ(shard.pin(2, anyone), nullptr);
  shard.unpin(*some.all[2]);
  let_go_of_all(shard);
}

// Some that never get full are in front: whoever comes after those that found nothing finds others.
TEST(keyed_entries, those_that_were_looked_at_in_vain_go_behind_the_others) {
  keyed_shard shard;
  shard.set_bound(keyed_shard::looks_max + 2);
  entries some;
  keyed_entry* forgotten = nullptr;
  for (std::uint64_t hash = 1; hash <= keyed_shard::looks_max + 2; ++hash)
    EXPECT_TRUE(shard.add(some.make(hash), forgotten));
  for (const auto& one : some.all) {  // the last two are full
    if (one->hash <= keyed_shard::looks_max) {
      EXPECT_TRUE(one->limiter.try_acquire());
    }
    shard.unpin(*one);
  }
  EXPECT_FALSE(shard.add(some.make(200), forgotten));
  EXPECT_EQ(forgotten, nullptr);
  EXPECT_TRUE(shard.add(*some.all.back(), forgotten));
  ASSERT_NE(forgotten, nullptr);
  EXPECT_EQ(forgotten->hash, keyed_shard::looks_max + 1U);
  shard.unpin(*some.all.back());
  let_go_of_all(shard);
}

}  // namespace
}  // namespace magpie::tests::keyed_entries_test
