/// Bugs that others have had in their channels and queues, each as a test: r29, r30, r33 and r42 of
/// the list of regressions.  What a comment names is where the bug was.
#include <magpie/sync/admission.hpp>
#include <magpie/sync/broadcast.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/oneshot.hpp>
#include <magpie/sync/unbounded_mpsc.hpp>
#include <magpie/tests/sync/world.hpp>

#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace magpie::tests::channel_regressions_test {
namespace {

const auto again = std::errc::resource_unavailable_try_again;

// ---- 29: a oneshot is closed while it is sent to and received from ------------------------------

/// RUSTSEC-2021-0124: a thread sends, another closes and then looks.  The value is one's alone.
TEST(regression, concurrent_r29_a_oneshot_is_sent_closed_and_received_at_once) {
  MAGPIE_NEED_KERNEL();
  for (int i = 0; i < 300; ++i) {
    auto [sender, receiver] = sync::oneshot<std::unique_ptr<int>>();
    atomic<int> ready{0};
    const auto meet = [&] {
      ready.fetch_add(1, order::acq_rel);
      while (ready.load(order::acquire) != 2) thread_yield();
    };
    bool came_back = false;
    std::thread other([&, to = std::move(sender)]() mutable {
      meet();
      auto sent = to.send(std::make_unique<int>(i));
      came_back = !sent;
      if (came_back) {
        EXPECT_EQ(*sent.error(), i);
      }
    });
    meet();
    receiver.close();
    const auto got = receiver.try_receive();
    if (!got) {
      EXPECT_EQ(got.error(), errc::closed);
    }
    other.join();
    EXPECT_NE(got.has_value(), came_back);
    if (got) {
      EXPECT_EQ(**got, i);
    }
  }
}

// ---- 30: the end of an mpsc ---------------------------------------------------------------------

/// tokio #2854, #8075, #8260 and #8074: the receiver waits after it has closed, and the last permit
/// is given back, unused.  Until then it is not the end.
TEST(regression, r30_the_last_permit_after_a_close_wakes_the_receiver) {
  const auto scenario = []() -> task<> {
    auto [to, from] = sync::mpsc<int>(2);
    auto one = co_await to.reserve();
    auto other = co_await to.reserve();
    from.close();
    EXPECT_EQ(error_of(from.try_receive()), again);
    const auto waits = [](sync::mpsc_receiver<int>& of, std::error_code& said) -> task<> {
      said = error_of(co_await as_result(of.receive()));
    };
    std::error_code said;
    auto waiting = spawn(waits(from, said));
    co_await settled();
    one.release();
    co_await settled();
    EXPECT_EQ(said, std::error_code());
    EXPECT_EQ(error_of(from.try_receive()), again);
    other.release();  // `to` is still there: nothing but the permit tells
    co_await timeout(1s, waiting.join());
    EXPECT_EQ(said, errc::closed);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// #8062 and #6603: lengths and emptiness, step by step over the edges of blocks, with a message
/// that was given to a receive and not taken.
TEST(regression, r30_lengths_are_right_at_the_edges_of_blocks) {
  auto [to, from] = sync::unbounded_mpsc<int>();
  std::size_t there = 0;
  int sent = 0;
  int received = 0;
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < round % 3 + 1; ++i, ++there) EXPECT_TRUE(to.send(sent++));
    EXPECT_EQ(from.size(), there);
    EXPECT_FALSE(from.empty());
    for (int i = 0; i < round % 4 && there != 0; ++i, --there)
      EXPECT_EQ(from.try_receive().value(), received++);
    EXPECT_EQ(from.size(), there);
    EXPECT_EQ(from.empty(), there == 0);
  }
  while (there != 0) {
    EXPECT_EQ(from.try_receive().value(), received++);
    EXPECT_EQ(from.size(), --there);
  }
  EXPECT_TRUE(from.empty());
}

/// #7991: many of a closed channel, into something that is not empty.
TEST(regression, r30_many_of_a_closed_channel_leave_what_they_would_go_to_alone) {
  const auto scenario = []() -> task<> {
    auto [to, from] = sync::mpsc<int>(2);
    EXPECT_TRUE(to.try_send(1));
    from.close();
    std::vector<int> into{7};
    const std::size_t first = co_await from.receive_many(into, 10);
    EXPECT_EQ(first, 1U);
    const std::size_t then = co_await from.receive_many(into, 10);
    EXPECT_EQ(then, 0U);
    EXPECT_EQ(into, (std::vector{7, 1}));
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- 33: broadcast ------------------------------------------------------------------------------

/// tokio #4867: all receivers go, one subscribes again: it receives, and who waits for the end of
/// interest waits on.
TEST(regression, r33_a_broadcast_without_receivers_is_opened_again) {
  const auto scenario = []() -> task<> {
    auto [events, reader] = sync::broadcast<int>(2);
    reader = sync::broadcast_receiver<int>();
    EXPECT_TRUE(events.is_closed());
    EXPECT_FALSE(events.send(1).has_value());
    reader = events.subscribe();
    bool nobody = false;
    const auto hears = [](sync::broadcast_sender<int>& of, bool& said) -> task<> {
      co_await of.closed();
      said = true;
    };
    auto hearing = spawn(hears(events, nobody));
    co_await settled();
    EXPECT_FALSE(nobody);
    const auto takes = [](sync::broadcast_receiver<int>& from, int& got) -> task<> {
      const auto next = co_await from.receive();
      got = *next;
    };
    int got = 0;
    auto taking = spawn(takes(reader, got));
    co_await settled();
    EXPECT_EQ(events.send(2).value(), 1U);
    co_await timeout(1s, taking.join());
    EXPECT_EQ(got, 2);
    reader = sync::broadcast_receiver<int>();
    co_await timeout(1s, hearing.join());
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

/// #5925: a receiver that is far behind is at what is there in one step, however far.
TEST(regression, r33_who_is_far_behind_catches_up_in_one_step) {
  auto [events, reader] = sync::broadcast<int>(4);
  for (int i = 0; i < 100'000; ++i) EXPECT_TRUE(events.send(i).has_value());
  EXPECT_EQ(reader.size(), 100'000U);
  const auto oldest = reader.try_receive();
  EXPECT_EQ(oldest->missed(), 99'996U);
  EXPECT_EQ(**oldest, 99'996);
  EXPECT_EQ(reader.size(), 3U);
}

/// A receive that was made, and is awaited after its message has been taken otherwise, waits for
/// the next one.
TEST(regression, r33_a_receive_counts_from_where_it_is_awaited) {
  const auto scenario = []() -> task<> {
    auto [events, reader] = sync::broadcast<int>(4);
    auto made = reader.receive();
    EXPECT_TRUE(events.send(1).has_value());
    EXPECT_EQ(**reader.try_receive(), 1);
    const auto late = co_await as_result(timeout(1ms, std::move(made)));
    EXPECT_EQ(error_of(late), errc::deadline);
    EXPECT_TRUE(events.send(2).has_value());
    const auto next = co_await reader.receive();
    EXPECT_EQ(*next, 2);
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
}

// ---- 42: queues that are fed faster than they are drained ---------------------------------------

/// h2's RUSTSEC-2023-0034 and its kin: whatever comes, no more is kept than was asked for.
TEST(regression, r42_a_flood_keeps_no_more_than_there_is_room_for) {
  atomic<int> alive{0};
  const auto scenario = [&]() -> task<> {
    constexpr int senders = 4;
    auto [to, from] = sync::mpsc<counted>(8);
    auto [events, reader] = sync::broadcast<counted>(8);
    const auto floods = [](sync::mpsc_sender<counted> into, atomic<int>& count) -> task<> {
      for (int i = 0; i < 200; ++i) co_await into.send(counted(count));
    };
    std::vector<join_handle<void>> all;
    for (int i = 0; i < senders; ++i) all.push_back(spawn(floods(to, alive)));
    to = sync::mpsc_sender<counted>();
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(events.send(counted(alive)).has_value());
    EXPECT_EQ(alive.load(order::relaxed), 8);  // nobody has read one
    co_await settled();
    EXPECT_EQ(alive.load(order::relaxed), 8 + 8 + senders);  // those who wait have one each
    int got = 0;
    for (;;) {
      const auto next = co_await as_result(from.receive());
      if (!next) break;
      ++got;
      EXPECT_LE(alive.load(order::relaxed), 8 + 8 + senders + 2);
      if (got % 50 == 0) co_await settled();
    }
    EXPECT_EQ(got, senders * 200);
    for (auto& one : all) co_await one.join();
  };
  EXPECT_TRUE(run_on(one_at_a_time(), scenario()));
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

/// The line of an admission has an end, and who finds it full hears so at once.
TEST(regression, r42_a_flood_of_requests_is_refused_at_the_end_of_the_line) {
  at_instants([]() -> task<> {
    sync::admission door(sync::admission_limits(1, 8));
    auto inside = co_await door.enter();
    const auto enters = [](sync::admission& at, int& refused) -> task<> {
      const auto in = co_await as_result(at.enter());
      if (!in) ++refused;
    };
    int refused = 0;
    std::vector<join_handle<void>> all;
    for (int i = 0; i < 1000; ++i) all.push_back(spawn(enters(door, refused)));
    co_await test_clock::advance(0ms);
    EXPECT_EQ(door.counts().waiting, 8U);
    EXPECT_EQ(refused, 992);
    inside.leave();
    for (auto& one : all) co_await one.join();
    EXPECT_EQ(refused, 992);
  });
}

}  // namespace
}  // namespace magpie::tests::channel_regressions_test
