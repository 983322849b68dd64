#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/reactor_factory.hpp>

#include <gtest/gtest.h>
#include <memory>
#include <string_view>
#include <sys/resource.h>
#include <system_error>
#include <unistd.h>

namespace magpie::tests::reactor_factory_test {
namespace {

TEST(reactor_factory, makes_an_epoll_reactor) {
  std::error_code error = std::make_error_code(std::errc::io_error);
  const std::unique_ptr<reactor> made(make_epoll_reactor(error));
  ASSERT_NE(made, nullptr);
  EXPECT_FALSE(error);
  EXPECT_EQ(std::string_view(made->name()), "epoll");
  EXPECT_EQ(made->in_flight(), 0U);
  EXPECT_EQ(made->unflushed(), 0U);
  EXPECT_GT(made->system_calls(), 0U);
}

TEST(reactor_factory, says_why_there_is_none) {
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest = ::dup(0);
  ASSERT_GE(lowest, 0);
  ::close(lowest);
  for (const int spare : {0, 1}) {
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(lowest + spare);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    std::error_code error;
    const std::unique_ptr<reactor> made(make_epoll_reactor(error));
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(made, nullptr);
    EXPECT_EQ(error, std::errc::too_many_files_open);
  }
}

}  // namespace
}  // namespace magpie::tests::reactor_factory_test
