#include <magpie/runtime/tracker_state.hpp>

#include <magpie/runtime/frame_pool.hpp>

#include <gtest/gtest.h>

#include <new>

namespace magpie::detail {
namespace {

int freed = 0;

tracker_state* make() {
  freed = 0;
  return ::new (frame_allocate(sizeof(tracker_state)))
      tracker_state([](tracker_state& state) noexcept {
        ++freed;
        state.~tracker_state();
        frame_free(&state, sizeof(tracker_state));
      });
}

TEST(tracker_state, has_ended_when_it_is_closed_and_empty) {
  tracker_state* const state = make();
  EXPECT_FALSE(state->ended());
  state->track();
  state->track();
  EXPECT_EQ(state->tokens(), 2U);
  state->close();
  EXPECT_FALSE(state->ended());
  state->untrack();
  EXPECT_FALSE(state->ended());
  state->untrack();
  EXPECT_TRUE(state->ended());
  state->track();
  EXPECT_FALSE(state->ended());
  state->untrack();
  state->reopen();
  EXPECT_FALSE(state->ended());
  EXPECT_FALSE(state->is_closed());
  tracker_state::release(state);
  EXPECT_EQ(freed, 1);
}

TEST(tracker_state, is_kept_by_its_tokens) {
  tracker_state* const state = make();
  state->track();
  state->hold();
  tracker_state::release(state);
  tracker_state::release(state);
  EXPECT_EQ(state->tokens(), 1U);
  EXPECT_EQ(freed, 0);
  state->untrack();
  EXPECT_EQ(freed, 1);
  tracker_state::release(nullptr);
}

}  // namespace
}  // namespace magpie::detail
