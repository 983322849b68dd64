/// `delay_queue`: what comes out when, and what a waiting `next` is told.
#include <magpie/runtime/delay_queue.hpp>

#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/test_clock.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <memory>
#include <vector>

namespace magpie::tests::delay_queue_test {
namespace {

void in_simulations(task<> (*test)()) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_TRUE(run_in_simulation(test(), seed));
}

/// What came out when, and that nothing did for the last time.
struct output {
  std::vector<int> items;
  std::vector<clock::duration> at;
  bool empty = false;
};

task<> drains(delay_queue<int>& queue, clock::time_point start, output& out) {
  for (;;) {
    const std::optional<int> item = co_await queue.next();
    out.at.push_back(clock::now() - start);
    if (!item) break;
    out.items.push_back(*item);
  }
  out.empty = true;
}

using durations = std::vector<clock::duration>;

task<> in_order() {
  test_clock::pause();
  const auto start = clock::now();
  delay_queue<int> queue;
  for (const int i : {30, 10, 20, 11, 12}) {
    const auto key = queue.insert(int(i), i / 10 * 10 * 1ms);
    EXPECT_TRUE(key);
  }
  const auto past = queue.insert_at(1, start - 1h);
  EXPECT_TRUE(past);
  EXPECT_EQ(queue.size(), 6U);
  output out;
  auto draining = spawn(drains(queue, start, out));
  co_await test_clock::advance(1s);
  EXPECT_TRUE(draining.done());
  EXPECT_EQ(out.items, (std::vector<int>{1, 10, 11, 12, 20, 30}));
  EXPECT_EQ(out.at, (durations{0ms, 10ms, 10ms, 10ms, 20ms, 30ms, 30ms}));
  EXPECT_TRUE(queue.empty());
}

TEST(delay_queue, gives_items_by_deadline_and_then_by_insertion) { in_simulations(&in_order); }

task<> within_a_tick() {
  test_clock::pause();
  const auto start = clock::now();
  delay_queue<int> queue;
  static_cast<void>(queue.insert_at(1, start + 1900ns));
  static_cast<void>(queue.insert_at(2, start + 1100ns));  // the same tick
  static_cast<void>(queue.insert_at(3, start + 1000ns));
  EXPECT_EQ(queue.next_deadline(), start + 1us);
  co_await test_clock::advance(1us);
  EXPECT_EQ(queue.try_next(), 3);
  EXPECT_EQ(queue.try_next(), std::nullopt);  // never early
  EXPECT_EQ(queue.next_deadline(), start + 2us);
  co_await test_clock::advance(1us);
  EXPECT_EQ(queue.try_next(), 1);
  EXPECT_EQ(queue.try_next(), 2);
  EXPECT_EQ(queue.next_deadline(), std::nullopt);
}

TEST(delay_queue, rounds_up_to_ticks) { in_simulations(&within_a_tick); }

task<> empty_and_again() {
  delay_queue<int> queue;
  for (int i = 0; i < 3; ++i) {
    const auto none = co_await queue.next();
    EXPECT_EQ(none, std::nullopt);
    static_cast<void>(queue.insert(int(i), 1ms));
    const auto one = co_await queue.next();
    EXPECT_EQ(one, i);
  }
}

TEST(delay_queue, an_empty_one_says_so_and_is_reusable) { in_simulations(&empty_and_again); }

/// A queue with an item due after 10 ms and one after 20 ms, a task that drains it, and what
/// happens to it 5 ms after the start.
using change = void (*)(delay_queue<int>& queue, delay_key first, delay_key second);

task<> changed(change happens, std::vector<int> items, durations at) {
  test_clock::pause();
  const auto start = clock::now();
  delay_queue<int> queue;
  const delay_key first = queue.insert(1, 10ms).value();
  const delay_key second = queue.insert(2, 20ms).value();
  output out;
  auto draining = spawn(drains(queue, start, out));
  co_await test_clock::advance(5ms);
  happens(queue, first, second);
  co_await test_clock::advance(1h);
  EXPECT_TRUE(draining.done());
  EXPECT_TRUE(out.empty);
  EXPECT_EQ(out.items, items);
  EXPECT_EQ(out.at, at);
  queue.check_invariants();
}

void check_change(change happens, const std::vector<int>& items, const durations& at) {
  for (std::uint64_t seed = 1; seed < 10; ++seed)
    EXPECT_TRUE(run_in_simulation(changed(happens, items, at), seed));
}

// C71
TEST(delay_queue, c71_an_earlier_item_wakes_the_waiter) {
  check_change([](auto& queue, auto, auto) { static_cast<void>(queue.insert(3, 1ms)); }, {3, 1, 2},
               {6ms, 10ms, 20ms, 20ms});
  check_change([](auto& queue, auto, auto) { static_cast<void>(queue.insert(3, -1ms)); }, {3, 1, 2},
               {5ms, 10ms, 20ms, 20ms});
  check_change([](auto& queue, auto, auto) { static_cast<void>(queue.insert(3, 8ms)); }, {1, 3, 2},
               {10ms, 13ms, 20ms, 20ms});
}

// C71
TEST(delay_queue, c71_removing_the_last_wakes_the_waiter) {
  check_change(
      [](auto& queue, auto first, auto second) {
        EXPECT_EQ(queue.remove(second), 2);
        EXPECT_EQ(queue.try_remove(first), 1);
      },
      {}, {5ms});
  check_change([](auto& queue, auto first, auto) { EXPECT_EQ(queue.remove(first), 1); }, {2},
               {20ms, 20ms});
}

// C71
TEST(delay_queue, c71_clearing_wakes_the_waiter) {
  check_change(
      [](auto& queue, auto first, auto) {
        queue.clear();
        EXPECT_EQ(queue.capacity(), 0U);
        EXPECT_FALSE(queue.contains(first));
      },
      {}, {5ms});
}

// C71
TEST(delay_queue, c71_a_reset_wakes_the_waiter) {
  check_change([](auto& queue, auto, auto second) { EXPECT_TRUE(queue.reset(second, -1h)); },
               {2, 1}, {5ms, 10ms, 10ms});
  check_change([](auto& queue, auto, auto second) { EXPECT_TRUE(queue.reset(second, 1ms)); },
               {2, 1}, {6ms, 10ms, 10ms});
  check_change([](auto& queue, auto first, auto) { EXPECT_TRUE(queue.reset(first, 30ms)); }, {2, 1},
               {20ms, 35ms, 35ms});
}

task<> stale_keys() {
  delay_queue<int> queue;
  const delay_key first = queue.insert(1, 1ms).value();
  EXPECT_TRUE(queue.contains(first));
  const auto item = co_await queue.next();
  EXPECT_EQ(item, 1);
  const delay_key second = queue.insert(2, 1h).value();
  EXPECT_FALSE(queue.contains(first));
  EXPECT_FALSE(queue.reset(first, 0s));
  EXPECT_EQ(queue.try_remove(first), std::nullopt);
  EXPECT_EQ(queue.try_remove(delay_key()), std::nullopt);
  EXPECT_EQ(queue.remove(second), 2);
}

TEST(delay_queue, a_stale_key_is_refused) { in_simulations(&stale_keys); }

TEST(delay_queue, is_bounded_and_keeps_what_it_refuses) {
  delay_queue<std::unique_ptr<int>> queue(70);
  EXPECT_EQ(queue.size_max(), 70U);
  std::vector<delay_key> keys;
  for (int i = 0; i < 70; ++i) keys.push_back(queue.insert(std::make_unique<int>(i), 1h).value());
  EXPECT_EQ(queue.capacity(), 70U);
  auto more = std::make_unique<int>(70);
  const auto full = queue.insert(std::move(more), 0s);
  EXPECT_EQ(error_of(full), std::errc::resource_unavailable_try_again);
  ASSERT_NE(more, nullptr);  // NOLINT: it was not moved from
  EXPECT_EQ(*queue.remove(keys[3]), 3);
  EXPECT_TRUE(queue.insert(std::move(more), 0s));
  EXPECT_EQ(queue.size(), 70U);
  EXPECT_EQ(delay_queue<int>(~std::size_t{0}).size_max(), delay_queue<int>::size_max_most);
  queue.check_invariants();
}

// C71: older than 2^36 ms
task<> old_items() {
  test_clock::pause();
  const auto start = clock::now();
  delay_queue<int> queue;
  static_cast<void>(queue.insert(1, 24h * 900));
  static_cast<void>(queue.insert_at(2, clock::time_point::max()));
  output out;
  auto draining = spawn(drains(queue, start, out));
  co_await test_clock::advance(24h * 900 - 1us);
  EXPECT_TRUE(out.items.empty());
  co_await test_clock::advance(1us);
  EXPECT_EQ(out.items, (std::vector<int>{1}));
  EXPECT_EQ(queue.next_deadline(), clock::time_point::max());
  draining.abort();
  [[maybe_unused]] const auto ended = co_await draining.join();
}

TEST(delay_queue, c71_items_may_grow_old) { in_simulations(&old_items); }

task<> stopped_waits() {
  delay_queue<int> queue;
  static_cast<void>(queue.insert(1, 10ms));
  for (int i = 0; i < 5; ++i) {
    const auto late = co_await as_result(timeout(1ms, queue.next()));
    EXPECT_EQ(error_of(late), errc::deadline);
  }
  EXPECT_EQ(queue.size(), 1U);
  const auto item = co_await queue.next();
  EXPECT_EQ(item, 1);
}

TEST(delay_queue, a_stop_takes_nothing_out) { in_simulations(&stopped_waits); }

// ---- from all sides

struct sums {
  atomic<long> in{0};
  atomic<long> out{0};
};

task<> feeds(delay_queue<int>& queue, int first, int last, sums& sum) {
  for (int i = first; i < last; ++i) {
    const auto key = queue.insert(int(i), std::chrono::microseconds(i * 7 % 60));
    if (!key) co_await fail(key.error());
    sum.in.fetch_add(i, order::relaxed);
    if (i % 5 == 0) static_cast<void>(queue.reset(*key, std::chrono::microseconds(i % 11)));
    if (i % 7 == 0) {
      if (const auto item = queue.try_remove(*key)) sum.out.fetch_add(*item, order::relaxed);
    }
    if (i % 3 == 0) co_await yield();
  }
}

/// Takes until the queue is empty and `last` says that nothing more comes; is stopped now and then.
task<> consumes(delay_queue<int>& queue, const atomic<bool>& last, sums& sum) {
  for (int i = 0;; ++i) {
    const bool is_last = last.load(order::acquire);
    const auto item = co_await as_result(timeout(std::chrono::microseconds(i % 20), queue.next()));
    if (!item) continue;
    if (*item) sum.out.fetch_add(**item, order::relaxed);
    if (!*item && is_last) break;
    if (!*item) co_await yield();
  }
}

task<> from_all_sides(int rounds, sums& sum) {
  delay_queue<int> queue;
  atomic<bool> last{false};
  auto consuming = spawn(consumes(queue, last, sum));
  co_await with_task_group([&](task_group& group) -> task<> {
    for (int k = 0; k < 4; ++k) group.spawn(feeds(queue, rounds * k, rounds * (k + 1), sum));
    co_return;
  });
  last.store(true, order::release);
  const auto ended = co_await consuming.join();
  EXPECT_TRUE(ended);
  EXPECT_TRUE(queue.empty());
  queue.check_invariants();
}

TEST(delay_queue, concurrent_users_lose_no_item) {
  MAGPIE_NEED_CELL();
  sums sum;
  EXPECT_TRUE(run_in_cell(from_all_sides(1000, sum)));
  EXPECT_EQ(sum.in.load(order::relaxed), sum.out.load(order::relaxed));
}

}  // namespace
}  // namespace magpie::tests::delay_queue_test
