// The simulated reactor, driven by hand: the contract of reactor.hpp over simulated sockets.
#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/runtime/sim_reactor.hpp>
#include <magpie/runtime/sim_world.hpp>
#include <magpie/tests/runtime/reactor_contract.hpp>
#include <magpie/tests/runtime/sim_driver.hpp>

#include <memory>
#include <set>
#include <vector>

namespace magpie::tests::sim_reactor_test {
namespace {

class sim_reactor_test : public ::testing::Test {
 public:
  explicit sim_reactor_test(const sim_options& options = sim_options(1)) : world(true, options) {}

  std::size_t turn(sim_reactor& on, std::size_t limit = 64) {
    runnable_chain chain;
    on.turn(reactor::forever, limit, chain);
    return run(chain);
  }

  static std::size_t run(const runnable_chain& chain) {
    for (runnable* work = chain.first; work != nullptr;) {
      runnable* next = work->next;
      work->run(*work);
      work = next;
    }
    return chain.count;
  }

  socket_world world;
  sim_network& network = *world.network;
  post_office posts;
  sim_reactor io{network};
  connection pair{world};
  descriptor client{.fd = pair.client};
  descriptor server{.fd = pair.server};
};

TEST_F(sim_reactor_test, a_wait_ends_when_bytes_come) {
  probe read(server, direction::read, posts.root());
  ASSERT_TRUE(io.wait(read));
  EXPECT_EQ(io.in_flight(), 1U);
  EXPECT_EQ(send_text(pair.client, "x"), 1);
  EXPECT_FALSE(io.ready());  // under way
  EXPECT_EQ(turn(io), 0U);
  settle(network);
  EXPECT_TRUE(io.ready());
  EXPECT_EQ(read.ends, 0);  // nothing runs inline
  EXPECT_EQ(turn(io), 1U);
  EXPECT_EQ(read.ends, 1);
  EXPECT_FALSE(read.cancelled);
  EXPECT_EQ(io.in_flight(), 0U);
  EXPECT_EQ(turn(io), 0U);
  io.forget(server);
}

TEST_F(sim_reactor_test, a_wait_ends_when_it_was_ready) {
  probe write(client, direction::write, posts.root());
  ASSERT_TRUE(io.wait(write));
  EXPECT_TRUE(io.ready());
  EXPECT_EQ(turn(io), 1U);
  EXPECT_EQ(write.ends, 1);
}

TEST_F(sim_reactor_test, a_wait_ends_when_room_comes) {
  const std::vector<char> block(1000, 'x');
  do {
    settle(network);
  } while (sys::send(pair.client, block.data(), block.size(), 0) > 0);
  probe write(client, direction::write, posts.root());
  ASSERT_TRUE(io.wait(write));
  EXPECT_EQ(turn(io), 0U);
  EXPECT_EQ(receive_text(pair.server, 10).size(), 10U);
  settle(network);
  EXPECT_EQ(turn(io), 1U);
  EXPECT_EQ(write.ends, 1);
}

TEST_F(sim_reactor_test, a_wait_ends_when_somebody_connects) {
  descriptor listener{.fd = pair.listener};
  probe accept(listener, direction::read, posts.root());
  probe connect(client, direction::write, posts.root());
  ASSERT_TRUE(io.wait(accept));
  EXPECT_EQ(turn(io), 0U);
  const int another = connect_to(port_of(pair.listener));
  client.fd = another;
  ASSERT_TRUE(io.wait(connect));
  EXPECT_EQ(turn(io), 0U);
  settle(network);
  EXPECT_EQ(turn(io), 2U);
  EXPECT_EQ(accept.ends, 1);
  EXPECT_EQ(connect.ends, 1);
  EXPECT_EQ(sys::close(another), 0);
}

TEST_F(sim_reactor_test, a_wait_ends_when_the_peer_ends) {
  probe end(server, direction::read, posts.root());
  ASSERT_TRUE(io.wait(end));
  EXPECT_EQ(sys::shutdown(pair.client, SHUT_WR), 0);
  settle(network);
  EXPECT_EQ(turn(io), 1U);
  EXPECT_EQ(end.ends, 1);
}

TEST_F(sim_reactor_test, a_wait_on_a_closed_descriptor_ends) {
  connection::close(pair.server);
  probe read(server, direction::read, posts.root());
  ASSERT_TRUE(io.wait(read));
  EXPECT_EQ(turn(io), 1U);  // the next call says EBADF
}

TEST_F(sim_reactor_test, an_operation_waits_again) {
  for (int round = 1; round <= 5; ++round) {
    probe read(server, direction::read, posts.root());
    ASSERT_TRUE(io.wait(read));
    EXPECT_EQ(send_text(pair.client, "x"), 1);
    settle(network);
    EXPECT_EQ(turn(io), 1U);
    EXPECT_EQ(receive_text(pair.server), "x");
  }
}

TEST_F(sim_reactor_test, a_stop_ends_a_held_wait) {
  probe read(server, direction::read, posts.root());
  ASSERT_TRUE(io.wait(read));
  read.stop();
  EXPECT_EQ(read.ends, 0);
  EXPECT_EQ(io.in_flight(), 0U);
  EXPECT_EQ(read.where, nullptr);
  EXPECT_EQ(posts.run_all(), 1U);
  EXPECT_EQ(read.ends, 1);
  EXPECT_TRUE(read.cancelled);
  EXPECT_EQ(send_text(pair.client, "x"), 1);
  settle(network);
  EXPECT_EQ(turn(io), 0U);
  EXPECT_EQ(receive_text(pair.server), "x");  // the stop took nothing
  EXPECT_FALSE(io.wait(read));                // its scope stays stopped
  EXPECT_EQ(io.in_flight(), 0U);
}

TEST_F(sim_reactor_test, a_stop_ends_a_ready_wait) {
  probe write(client, direction::write, posts.root());
  ASSERT_TRUE(io.wait(write));
  ASSERT_TRUE(io.ready());
  write.stop();
  EXPECT_FALSE(io.ready());
  EXPECT_EQ(turn(io), 0U);
  EXPECT_EQ(posts.run_all(), 1U);
  EXPECT_TRUE(write.cancelled);
  EXPECT_EQ(write.ends, 1);
}

TEST_F(sim_reactor_test, a_stop_after_the_hand_out_changes_nothing) {
  probe write(client, direction::write, posts.root());
  ASSERT_TRUE(io.wait(write));
  runnable_chain chain;
  io.turn(reactor::no_wait, 1, chain);
  ASSERT_EQ(chain.count, 1U);
  write.stop();
  EXPECT_EQ(posts.run_all(), 0U);
  EXPECT_EQ(run(chain), 1U);
  EXPECT_EQ(write.ends, 1);
  EXPECT_FALSE(write.cancelled);
}

TEST_F(sim_reactor_test, both_directions_and_both_ends_at_once) {
  probe client_read(client, direction::read, posts.root());
  probe client_write(client, direction::write, posts.root());
  probe server_read(server, direction::read, posts.root());
  ASSERT_TRUE(io.wait(client_read));
  ASSERT_TRUE(io.wait(client_write));
  ASSERT_TRUE(io.wait(server_read));
  EXPECT_EQ(turn(io), 1U);
  EXPECT_EQ(client_write.ends, 1);
  EXPECT_EQ(send_text(pair.client, "x"), 1);
  settle(network);
  EXPECT_EQ(turn(io), 1U);
  EXPECT_EQ(server_read.ends, 1);
  client_read.stop();
  EXPECT_EQ(posts.run_all(), 1U);
  EXPECT_EQ(client_read.ends, 1);
}

TEST_F(sim_reactor_test, a_turn_hands_out_no_more_than_its_limit) {
  probe one(client, direction::write, posts.root());
  probe two(server, direction::write, posts.root());
  ASSERT_TRUE(io.wait(one));
  ASSERT_TRUE(io.wait(two));
  EXPECT_EQ(turn(io, 0), 0U);
  EXPECT_EQ(turn(io, 1), 1U);
  EXPECT_TRUE(io.ready());
  EXPECT_EQ(one.ends + two.ends, 1);
  EXPECT_EQ(turn(io, 1), 1U);
  EXPECT_EQ(one.ends + two.ends, 2);
}

TEST_F(sim_reactor_test, a_rescue_takes_what_a_stuck_owner_does_not) {
  probe write(client, direction::write, posts.root());
  ASSERT_TRUE(io.wait(write));
  runnable_chain chain;
  io.set_parked(true);
  EXPECT_EQ(io.rescue(true, 64, chain).reaped, 0U);
  io.set_parked(false);
  EXPECT_EQ(io.rescue(true, 64, chain).reaped, 1U);
  EXPECT_EQ(run(chain), 1U);
  EXPECT_EQ(write.ends, 1);
  EXPECT_EQ(io.rescue(true, 64, chain).reaped, 0U);
}

TEST_F(sim_reactor_test, waits_are_told_to_the_reactor_that_holds_them) {
  sim_reactor other(network);
  probe here(server, direction::read, posts.root());
  probe there(client, direction::read, posts.root());
  ASSERT_TRUE(io.wait(here));
  ASSERT_TRUE(other.wait(there));
  EXPECT_EQ(send_text(pair.server, "x"), 1);
  settle(network);
  EXPECT_FALSE(io.ready());
  EXPECT_TRUE(other.ready());
  EXPECT_EQ(turn(other), 1U);
  EXPECT_EQ(there.ends, 1);
  here.stop();
  EXPECT_EQ(posts.run_all(), 1U);
}

TEST_F(sim_reactor_test, a_wake_is_remembered_until_the_next_turn) {
  EXPECT_FALSE(io.woken());
  io.wake();
  EXPECT_TRUE(io.woken());
  EXPECT_FALSE(io.ready());
  EXPECT_EQ(turn(io), 0U);
  EXPECT_FALSE(io.woken());
}

TEST_F(sim_reactor_test, the_factory_makes_one) {
  sim_world other(7);
  const std::unique_ptr<reactor> made(make_sim_reactor(other));
  ASSERT_NE(made, nullptr);
  EXPECT_STREQ(made->name(), "sim");
  EXPECT_EQ(made->unflushed(), 0U);
  EXPECT_EQ(made->system_calls(), 0U);
  EXPECT_EQ(made->in_flight(), 0U);
}

/// The order in which eight ready waits are handed out.
std::vector<int> order_of(std::uint64_t seed) {
  const socket_world world(true, sim_options(seed));
  post_office posts;
  sim_reactor io(*world.network);
  std::vector<std::unique_ptr<connection>> pairs;
  std::vector<std::unique_ptr<descriptor>> ios;
  std::vector<std::unique_ptr<probe>> probes;
  for (std::uint16_t i = 0; i < 8; ++i) {
    pairs.push_back(std::make_unique<connection>(world));
    ios.push_back(std::make_unique<descriptor>(descriptor{.fd = pairs.back()->client}));
    probes.push_back(std::make_unique<probe>(*ios.back(), direction::write, posts.root()));
    EXPECT_TRUE(io.wait(*probes.back()));
  }
  std::vector<int> order;
  while (io.ready()) {
    runnable_chain chain;
    io.turn(reactor::no_wait, 1, chain);
    order.push_back(static_cast<probe*>(chain.first)->io->fd - pairs.front()->client);
    chain.first->run(*chain.first);
  }
  return order;
}

TEST(sim_reactor_order, comes_from_the_seed) {
  std::set<std::vector<int>> orders;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    EXPECT_EQ(order_of(seed), order_of(seed));
    orders.insert(order_of(seed));
  }
  EXPECT_GT(orders.size(), 15U);
}

TEST(sim_reactor_spurious, waits_may_end_early) {
  sim_options options;
  options.spurious_one_in = 2;
  const socket_world world(true, options);
  post_office posts;
  sim_reactor io(*world.network);
  const connection pair(world);
  descriptor server{.fd = pair.server};
  int early = 0;
  for (int i = 0; i < 100; ++i) {
    probe read(server, direction::read, posts.root());
    EXPECT_TRUE(io.wait(read));
    early += io.ready();
    if (!io.ready()) send_text(pair.client, "x");
    settle(*world.network);
    runnable_chain chain;
    io.turn(reactor::no_wait, 64, chain);
    ASSERT_EQ(chain.count, 1U);
    chain.first->run(*chain.first);
    receive_text(pair.server);
  }
  EXPECT_GT(early, 25);
  EXPECT_LT(early, 75);
}

using sim_reactor_death_test = sim_reactor_test;

TEST_F(sim_reactor_death_test, misuse_aborts) {
  probe read(server, direction::read, posts.root());
  ASSERT_TRUE(io.wait(read));
  EXPECT_DEATH(sys::close(pair.server), "closed in use|waits");
  probe again(server, direction::read, posts.root());
  EXPECT_DEATH(io.wait(again), "held.op == nullptr");
  probe write(client, direction::write, posts.root());
  ASSERT_TRUE(io.wait(write));
  EXPECT_DEATH(io.forget(client), "none_of");
  descriptor kernel{.fd = 0};
  probe foreign(kernel, direction::read, posts.root());
  EXPECT_DEATH(io.wait(foreign), "sim_fd_base");
  read.stop();
  write.stop();
  EXPECT_EQ(posts.run_all(), 2U);
}

}  // namespace
}  // namespace magpie::tests::sim_reactor_test
