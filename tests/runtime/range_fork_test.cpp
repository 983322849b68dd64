/// The block that holds the branches of a range: what it makes it destroys, once.
#include <magpie/runtime/range_fork.hpp>

#include <magpie/runtime/join_all.hpp>
#include <magpie/tests/runtime/forks.hpp>

#include <ranges>
#include <utility>
#include <vector>

namespace magpie::tests::range_fork_test {
namespace {

task<int> holds(counted) { co_return 1; }

using block = detail::branch_block<detail::task_operation<int>>;

TEST(range_fork, a_block_destroys_what_it_made) {
  atomic<int> alive{0};
  {
    block made(5);
    ASSERT_NE(made.slots, nullptr);
    for (int i = 0; i < 3; ++i) made.add(holds(counted(alive)));
    EXPECT_EQ(alive.load(order::relaxed), 3);
    const block moved(std::move(made));
    EXPECT_EQ(made.slots, nullptr);
    EXPECT_EQ(moved.made, 3U);
    EXPECT_EQ(alive.load(order::relaxed), 3);
  }
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

TEST(range_fork, a_block_that_is_too_large_is_none) {
  const block huge(~std::size_t{0} / 2);
  EXPECT_EQ(huge.slots, nullptr);
  const block none(0);
  EXPECT_EQ(none.slots, nullptr);
}

TEST(range_fork, takes_owned_ranges_of_known_size) {
  using owned = std::vector<task<int>>;
  EXPECT_TRUE(detail::branch_range<owned>);
  EXPECT_FALSE(detail::branch_range<owned&>);  // move it in
  auto made = std::views::iota(0, 3) | std::views::transform(&at_once);
  EXPECT_TRUE(detail::branch_range<decltype(made)>);
}

#if defined(__cpp_exceptions)
TEST(range_fork, a_range_that_throws_leaves_nothing_behind) {
  atomic<int> alive{0};
  auto make = [&](int i) {
    if (i == 2) throw 17;
    return holds(counted(alive));
  };
  EXPECT_THROW(static_cast<void>(join_all(std::views::iota(0, 5) | std::views::transform(make))),
               int);
  EXPECT_EQ(alive.load(order::relaxed), 0);
}
#endif

TEST(range_fork, one_that_is_dropped_runs_nothing) {
  atomic<int> alive{0};
  {
    std::vector<task<int>> all;
    for (int i = 0; i < 4; ++i) all.push_back(holds(counted(alive)));
    const auto dropped = join_all(std::move(all));
    EXPECT_EQ(alive.load(order::relaxed), 4);
  }
  EXPECT_EQ(alive.load(order::relaxed), 0);
}

}  // namespace
}  // namespace magpie::tests::range_fork_test
