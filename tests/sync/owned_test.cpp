/// Permits and guards that hold a share: what they are held of lives as long as they do.
#include <magpie/sync/owned.hpp>

#include <magpie/tests/sync/world.hpp>

#include <memory>

namespace magpie::tests::owned_test {
namespace {

using sync::mutex;
using sync::rwlock;
using sync::semaphore;

TEST(owned, keeps_what_it_is_held_of_alive) {
  std::weak_ptr<semaphore> seen;
  sync::owned_permit permit;
  EXPECT_EQ(permit.of(), nullptr);
  {
    auto some = std::make_shared<semaphore>(3);
    seen = some;
    permit = *sync::try_acquire_owned(some, 3);
    EXPECT_EQ(error_of(sync::try_acquire_owned(some)), std::errc::resource_unavailable_try_again);
  }
  ASSERT_FALSE(seen.expired());
  auto one = permit.split(1);
  EXPECT_EQ(one->count(), 1U);
  EXPECT_EQ(permit->count(), 2U);
  permit.merge(std::move(one));
  EXPECT_EQ((*permit).count(), 3U);
  permit = sync::owned_permit();
  EXPECT_TRUE(seen.expired());
}

TEST(owned, an_assignment_gives_back_before_the_share_goes) {
  auto first = std::make_shared<semaphore>(1);
  auto second = std::make_shared<semaphore>(1);
  auto permit = *sync::try_acquire_owned(first);
  const std::weak_ptr<semaphore> seen = first;
  first.reset();
  permit = *sync::try_acquire_owned(second);
  EXPECT_TRUE(seen.expired());
  EXPECT_EQ(second->available(), 0U);
}

/// One that was moved from has no share any more: with what is merged into it comes the share.
TEST(owned, what_is_merged_into_an_empty_one_keeps_its_share) {
  auto some = std::make_shared<semaphore>(3);
  const std::weak_ptr<semaphore> seen = some;
  auto all = *sync::try_acquire_owned(some, 1);
  const auto elsewhere = std::move(all);
  all.merge(*sync::try_acquire_owned(some, 1));
  sync::owned_permit made_empty;
  made_empty.merge(*sync::try_acquire_owned(std::move(some), 1));
  EXPECT_EQ(all.of(), seen.lock());
  EXPECT_EQ(made_empty.of(), seen.lock());
  EXPECT_EQ(all->count() + made_empty->count(), 2U);
  EXPECT_EQ(seen.use_count(), 3);
}

task<sync::owned_permit> takes_of_its_own() {
  auto some = std::make_shared<semaphore>(2);
  co_return co_await sync::acquire_owned(some, 2);
}

task<sync::owned_mutex_guard> locks_of_its_own() {
  co_return co_await sync::lock_owned(std::make_shared<mutex>());
}

TEST(owned, outlives_the_frame_that_made_it) {
  const auto scenario = []() -> task<> {
    auto permit = co_await takes_of_its_own();
    EXPECT_EQ(permit->count(), 2U);
    EXPECT_EQ(permit.of().use_count(), 1);
    auto guard = co_await locks_of_its_own();
    EXPECT_TRUE(guard->owns_lock());
    EXPECT_FALSE(sync::try_lock_owned(guard.of()));
    guard->unlock();
    EXPECT_TRUE(sync::try_lock_owned(guard.of()));
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

/// The wait itself holds a share: whoever is stopped may be the last to know the semaphore.
TEST(owned, a_wait_keeps_it_alive) {
  const auto scenario = []() -> task<> {
    auto none = std::make_shared<semaphore>(0);
    const std::weak_ptr<semaphore> seen = none;
    const auto waits = [](std::shared_ptr<semaphore> of) -> task<> {
      const auto permit = co_await sync::acquire_owned(std::move(of));
    };
    auto waiting = spawn(waits(std::move(none)));
    co_await settled();
    EXPECT_FALSE(seen.expired());
    waiting.abort();
    [[maybe_unused]] const auto ended = co_await waiting.join();
    EXPECT_TRUE(seen.expired());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

TEST(owned, readers_and_writers_hold_a_share) {
  const auto scenario = []() -> task<> {
    auto shared = std::make_shared<rwlock>();
    const std::weak_ptr<rwlock> seen = shared;
    auto reading = co_await sync::read_owned(shared);
    EXPECT_TRUE(sync::try_read_owned(shared));
    EXPECT_FALSE(sync::try_write_owned(shared));
    reading->unlock();
    reading = sync::owned_read_guard();
    auto writing = co_await sync::write_owned(shared);
    EXPECT_FALSE(sync::try_read_owned(shared));
    shared.reset();
    reading = writing.downgrade();
    EXPECT_EQ(writing.of(), nullptr);
    EXPECT_EQ(reading.of().use_count(), 1);
    EXPECT_TRUE(sync::try_read_owned(reading.of()));
    reading = sync::owned_read_guard();
    EXPECT_TRUE(seen.expired());
  };
  EXPECT_TRUE(run_in_simulation(scenario()));
}

}  // namespace
}  // namespace magpie::tests::owned_test
