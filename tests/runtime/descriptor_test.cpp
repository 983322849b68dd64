#include <magpie/runtime/descriptor.hpp>
#include <magpie/runtime/epoll_slab.hpp>
#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/tests/runtime/reactor_contract.hpp>

#include <gtest/gtest.h>
#include <memory>
#include <system_error>
#include <thread>

namespace magpie::tests::descriptor_test {
namespace {

TEST(descriptor, never_waited_on_is_forgotten_for_nothing) {
  descriptor unused{.fd = 1 << 20};
  detail::forget_descriptor(unused);
  EXPECT_EQ(unused.registration, nullptr);
}

TEST(descriptor, is_forgotten_on_any_thread_and_after_its_reactor) {
  const std::size_t used = epoll_registrations().used();
  post_office posts;
  socket_pair sockets;
  descriptor near{.fd = sockets.near.get()};
  descriptor far{.fd = sockets.far.get()};
  {
    std::error_code error;
    const std::unique_ptr<reactor> io(make_epoll_reactor(error));
    ASSERT_NE(io, nullptr);
    for (descriptor* each : {&near, &far}) {
      probe write(*each, direction::write, posts.root());
      ASSERT_TRUE(io->wait(write));
      runnable_chain chain;
      io->turn(reactor::forever, 1, chain);
      ASSERT_EQ(chain.count, 1U);
      chain.first->run(*chain.first);
    }
    EXPECT_EQ(epoll_registrations().used(), used + 2);
    std::thread([&] { detail::forget_descriptor(near); }).join();
    EXPECT_EQ(near.registration, nullptr);
  }
  detail::forget_descriptor(far);
  EXPECT_EQ(far.registration, nullptr);
  EXPECT_EQ(epoll_registrations().used(), used);
}

}  // namespace
}  // namespace magpie::tests::descriptor_test
