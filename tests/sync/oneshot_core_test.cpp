/// The word of a oneshot channel against a reference that knows no word: random uses of both ends,
/// stops among them, compared after each.  The races are in tests/model/oneshot_model.cpp.
#include <magpie/sync/oneshot_core.hpp>

#include <magpie/sync/oneshot.hpp>
#include <magpie/tests/sync/world.hpp>

#include <memory>
#include <optional>

namespace magpie::tests::oneshot_core_test {
namespace {

using detail::grant;
using sync::oneshot_receiver;
using sync::oneshot_sender;
using sync::detail::oneshot_core;
using sync::detail::oneshot_end;
using sync::detail::oneshot_entry;

TEST(oneshot_core, one_that_is_no_channel_is_closed) {
  oneshot_entry value(oneshot_end::receiver);
  EXPECT_TRUE(oneshot_core::none().try_take(value));
  EXPECT_EQ(value.is, grant::closed);
  oneshot_entry end(oneshot_end::sender);
  EXPECT_TRUE(oneshot_core::none().try_take(end));
  EXPECT_EQ(end.is, grant::granted);
}

/// One who waits at an end, and what it ended with.
struct side {
  std::optional<int> got;
  bool heard = false;
  std::error_code error;
  std::optional<join_handle<void>> handle;

  bool idle() const { return !got && !heard && !error; }
};

task<> receives(oneshot_receiver<int>& from, side& who) {
  const auto ended = co_await as_result(from.receive());
  if (ended) {
    who.got = *ended;
  } else {
    who.error = ended.error();
  }
}

task<> hears(oneshot_sender<int>& with, side& who) {
  const auto ended = co_await as_result(with.closed());
  if (ended) {
    who.heard = true;
  } else {
    who.error = ended.error();
  }
}

/// One channel from its beginning to its end.
class channel_comparison {
 public:
  explicit channel_comparison(dice& by_chance) : by_chance_(by_chance) {
    auto ends = sync::oneshot<int>();
    sender_ = std::move(ends.sender);
    receiver_ = std::move(ends.receiver);
  }

  task<> run() {
    for (int i = 0; i < 10 && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    stop(receiving_);
    stop(hearing_);
    co_await settled();
    receiving_.reset();
    hearing_.reset();
  }

 private:
  void step() {
    switch (by_chance_.below(9)) {
      case 0:
      case 1:
        if (receiving_ || !has_receiver_) break;
        receiving_.emplace();
        receiving_->handle.emplace(spawn(receives(receiver_, *receiving_)));
        break;
      case 2:
        if (hearing_ || !has_sender_) break;
        hearing_.emplace();
        hearing_->handle.emplace(spawn(hears(sender_, *hearing_)));
        break;
      case 3:
        send();
        break;
      case 4:
        if (hearing_ || !has_sender_) break;
        sender_ = oneshot_sender<int>();
        has_sender_ = false;
        break;
      case 5:
        if (by_chance_.below(2) == 0) break;
        receiver_.close();
        closed_ = true;
        break;
      case 6:
        if (receiving_) break;
        receiver_ = oneshot_receiver<int>();
        has_receiver_ = false;
        closed_ = true;
        value_.reset();
        break;
      case 7:
        if (!receiving_) try_it();
        break;
      default:
        stop(by_chance_.below(2) == 0 ? receiving_ : hearing_);
        break;
    }
  }

  void send() {
    if (hearing_ || !has_sender_) return;
    const int value = static_cast<int>(by_chance_.below(1000));
    const auto sent = sender_.send(value);
    EXPECT_EQ(sent.has_value(), !closed_);
    if (!sent) {
      EXPECT_EQ(sent.error(), value);
    }
    if (sent) value_ = value;
    has_sender_ = false;
    if (receiving_ && by_chance_.below(2) == 0) stop(receiving_);  // before it runs
  }

  void try_it() {
    const auto got = receiver_.try_receive();
    if (has_receiver_ && value_) {
      EXPECT_EQ(got.value_or(-1), *value_);
      value_.reset();
    } else if (closed_ || !has_sender_) {
      EXPECT_EQ(error_of(got), errc::closed);
    } else {
      EXPECT_EQ(error_of(got), std::errc::resource_unavailable_try_again);
    }
  }

  void stop(std::optional<side>& who) {
    if (!who) return;
    who->handle->abort();
    stopped_ = &who == &receiving_ ? &receiving_ : &hearing_;
  }

  void compare() {
    if (receiving_) {
      if (stopped_ == &receiving_) {
        EXPECT_EQ(receiving_->error, errc::stopped);
        receiving_.reset();
      } else if (value_) {
        EXPECT_EQ(receiving_->got, value_);
        value_.reset();
        receiving_.reset();
      } else if (closed_ || !has_sender_) {
        EXPECT_EQ(receiving_->error, errc::closed);
        receiving_.reset();
      } else {
        EXPECT_TRUE(receiving_->idle());
      }
    }
    if (hearing_) {
      if (stopped_ == &hearing_) {
        EXPECT_EQ(hearing_->error, errc::stopped);
        hearing_.reset();
      } else if (closed_) {
        EXPECT_TRUE(hearing_->heard);
        hearing_.reset();
      } else {
        EXPECT_TRUE(hearing_->idle());
      }
    }
    stopped_ = nullptr;
    if (has_sender_) {
      EXPECT_EQ(sender_.is_closed(), closed_);
    }
  }

  dice& by_chance_;
  oneshot_sender<int> sender_;
  oneshot_receiver<int> receiver_;
  std::optional<side> receiving_;
  std::optional<side> hearing_;
  std::optional<side>* stopped_ = nullptr;
  std::optional<int> value_;
  bool has_sender_ = true;
  bool has_receiver_ = true;
  bool closed_ = false;
};

TEST(oneshot_core, does_what_a_simple_reference_does) {
  const auto scenario = [](dice& by_chance, int steps) -> task<> {
    for (int i = 0; i < steps / 10 && !HasFailure(); ++i) {
      channel_comparison both(by_chance);
      co_await both.run();
    }
  };
  dice by_chance(1);
  EXPECT_TRUE(run_on(one_at_a_time(), scenario(by_chance, model_operations())));
}

}  // namespace
}  // namespace magpie::tests::oneshot_core_test
