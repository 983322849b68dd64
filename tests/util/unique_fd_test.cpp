#include <magpie/util/unique_fd.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>

#include <utility>

namespace {

using magpie::unique_fd;

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

TEST(unique_fd, closes_what_it_holds) {
  const int raw = open_null();
  ASSERT_GE(raw, 0);
  {
    unique_fd fd(raw);
    EXPECT_TRUE(fd.valid());
    EXPECT_TRUE(fd);
    EXPECT_EQ(fd.get(), raw);
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(unique_fd, empty_closes_nothing) {
  unique_fd fd;
  EXPECT_FALSE(fd.valid());
  EXPECT_EQ(fd.get(), -1);
  fd.reset();
  EXPECT_EQ(fd.release(), -1);
}

TEST(unique_fd, moves) {
  const int first = open_null();
  const int second = open_null();
  unique_fd a(first);
  unique_fd b(std::move(a));
  EXPECT_EQ(b.get(), first);
  EXPECT_FALSE(a.valid());  // NOLINT(bugprone-use-after-move): a moved-from one is empty
  unique_fd c(second);
  c = std::move(b);
  EXPECT_EQ(c.get(), first);
  EXPECT_FALSE(b.valid());  // NOLINT(bugprone-use-after-move)
  EXPECT_FALSE(is_open(second));
  unique_fd& same = c;
  c = std::move(same);
  EXPECT_EQ(c.get(), first);
  EXPECT_TRUE(is_open(first));
}

TEST(unique_fd, releases_and_resets) {
  unique_fd fd(open_null());
  const int raw = fd.release();
  EXPECT_TRUE(is_open(raw));
  fd.reset(raw);
  const int other = open_null();
  fd.reset(other);
  EXPECT_FALSE(is_open(raw));
  EXPECT_TRUE(is_open(other));
}

}  // namespace
