/// A bounded channel against a reference that is a deque and two numbers: random sends, permits,
/// receives, stops and closings, compared after each of them.  The races are in
/// tests/model/mpsc_model.cpp.
#include <magpie/sync/mpsc_core.hpp>

#include <magpie/sync/mpsc.hpp>
#include <magpie/tests/sync/world.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace magpie::tests::mpsc_core_test {
namespace {

using detail::grant;
using sync::mpsc_permit;
using sync::mpsc_receiver;
using sync::mpsc_sender;
using sync::detail::inbox_entry;
using sync::detail::mpsc_core;
using sync::detail::permit_entry;

const auto again = std::errc::resource_unavailable_try_again;

TEST(mpsc_core, one_that_is_no_channel_is_closed) {
  mpsc_core& none = mpsc_core::none();
  inbox_entry one(inbox_entry::wish(1, true));
  EXPECT_TRUE(none.try_take(one));
  EXPECT_EQ(one.is, grant::closed);
  inbox_entry many(inbox_entry::wish(8, false));
  EXPECT_TRUE(none.try_take(many));
  EXPECT_TRUE(many.is == grant::granted && !many.wants.found);
  permit_entry room(1);
  EXPECT_TRUE(none.room.try_take(room));
  EXPECT_EQ(room.is, grant::closed);
}

// ---- against the reference ----------------------------------------------------------------------

/// One who wants room, for a message or to keep, and what became of it.
struct writer {
  writer(int one, std::size_t room) : value(one), count(room) {}

  int value;          ///< 0: it reserves.
  std::size_t count;  ///< How much room.
  bool done = false;
  std::error_code error;
  mpsc_permit<int> permit;
  std::optional<join_handle<void>> handle;
};

/// One who receives up to `most`; `single` by `receive`.
struct reader {
  reader(std::size_t at_most, bool one) : most(at_most), single(one) {}

  std::size_t most;
  bool single;
  bool done = false;
  std::vector<int> got;
  std::error_code error;
  std::optional<join_handle<void>> handle;
};

task<> writes(mpsc_sender<int> to, writer& who, std::vector<int>& log) {
  const int mine = who.value;
  if (mine != 0) {
    const auto sent = co_await as_result(to.send(std::move(who.value)));
    who.error = error_of(sent);
    EXPECT_EQ(who.value, mine);
    if (sent) log.push_back(mine);
  } else {
    auto room = co_await as_result(to.reserve(who.count));
    who.error = error_of(room);
    if (room) who.permit = *std::move(room);
  }
  who.done = true;
}

task<> reads(mpsc_receiver<int>& from, reader& who) {
  if (who.single) {
    const auto got = co_await as_result(from.receive());
    who.error = error_of(got);
    if (got) who.got.push_back(*got);
  } else {
    const auto some = co_await as_result(from.receive_many(who.got, who.most));
    who.error = error_of(some);
    if (some) {
      EXPECT_EQ(*some, who.got.size());
    }
  }
  who.done = true;
}

/// One channel from its beginning to its end.
class mpsc_comparison {
 public:
  explicit mpsc_comparison(dice& by_chance) : by_chance_(by_chance) {
    free_ = capacity_ = 1 + by_chance_.below(4);
    auto ends = sync::mpsc<int>(capacity_);
    sender_ = std::move(ends.sender);
    receiver_ = std::move(ends.receiver);
    weak_ = sender_.downgrade();
  }

  task<> run() {
    for (int i = 0; i < 50 && !testing::Test::HasFailure(); ++i) {
      step();
      co_await settled();
      compare();
    }
    receiver_.close();
    stop_reader();
    co_await settled();
    for (auto& each : writers_)
      if (each->handle) [[maybe_unused]]
        const auto ended = co_await each->handle->join();
    reader_.reset();
    writers_.clear();
  }

 private:
  void step() {
    switch (by_chance_.below(19)) {
      case 0:
      case 1:
      case 2:
        write(++last_value_, 1);
        break;
      case 3:
        write(0, 1 + by_chance_.below(capacity_));
        break;
      case 4:
        try_send();
        break;
      case 5:
        try_reserve(1 + by_chance_.below(capacity_));
        break;
      case 6:
      case 7:
        use_permit();
        break;
      case 8:
        release_permit();
        break;
      case 9:
      case 10:
        read(1, true);
        break;
      case 11:
        read(1 + by_chance_.below(4), false);
        break;
      case 12:
      case 13:
        try_receive();
        break;
      case 14:
        if (!line_.empty()) stop_writer(*line_[by_chance_.below(line_.size())]);
        break;
      case 15:
        stop_reader();
        break;
      case 16:
        if (try_receive() && !line_.empty() && line_.front()->count <= free_)
          stop_writer(*line_.front());  // it has been given room, and has not run
        break;
      case 17:
        if (use_permit() && reader_) stop_reader();  // it has been given a message
        break;
      default:
        end();
        break;
    }
  }

  bool open() const { return has_sender_ || !line_.empty() || permits() != 0; }
  std::size_t permits() const {
    std::size_t sum = 0;
    for (const writer* each : held_) sum += each->permit.count();
    return sum;
  }

  void write(int value, std::size_t room) {
    if (!has_sender_ || line_.size() > 8) return;
    writer& who = *writers_.emplace_back(std::make_unique<writer>(value, room));
    who.handle.emplace(spawn(writes(sender_, who, log_)));
    if (closed_) {
      refused_.push_back(&who);
    } else {
      line_.push_back(&who);
    }
  }

  void try_send() {
    const bool there = line_.empty() && free_ > 0;
    const auto sent = sender_.try_send(++last_value_);
    if (closed_ || !has_sender_) {
      EXPECT_EQ(error_of(sent), errc::closed);
    } else {
      EXPECT_EQ(error_of(sent), there ? std::error_code() : std::make_error_code(again));
    }
    if (!sent) return;
    --free_;
    messages_.push_back(last_value_);
  }

  void try_reserve(std::size_t room) {
    if (!has_sender_) return;
    auto permit = sender_.try_reserve(room);
    EXPECT_EQ(permit.has_value(), !closed_ && line_.empty() && free_ >= room);
    if (!permit) return;
    free_ -= room;
    writer& who = *writers_.emplace_back(std::make_unique<writer>(0, room));
    who.permit = *std::move(permit);
    held_.push_back(&who);
  }

  writer* some_permit() { return held_.empty() ? nullptr : held_[by_chance_.below(held_.size())]; }

  bool use_permit() {
    writer* const who = some_permit();
    if (who == nullptr) return false;
    who->permit.send(++last_value_);
    messages_.push_back(last_value_);
    if (who->permit.count() == 0) std::erase(held_, who);
    return true;
  }

  void release_permit() {
    writer* const who = some_permit();
    if (who == nullptr) return;
    free_ += who->permit.count();
    std::erase(held_, who);
    who->permit.release();
  }

  void read(std::size_t most, bool single) {
    if (reader_) return;
    reader_ = std::make_unique<reader>(most, single);
    reader_->handle.emplace(spawn(reads(receiver_, *reader_)));
  }

  bool try_receive() {
    if (reader_) return false;
    const auto got = receiver_.try_receive();
    if (!messages_.empty()) {
      EXPECT_EQ(got.value_or(-1), messages_.front());
      messages_.pop_front();
      ++free_;
      return true;
    }
    EXPECT_EQ(error_of(got), ended() ? make_error_code(errc::closed) : std::make_error_code(again));
    return false;
  }

  bool ended() const { return messages_.empty() && (!open() || (closed_ && permits() == 0)); }

  void stop_writer(writer& who) {
    who.handle->abort();
    std::erase(line_, &who);
    stopped_.push_back(&who);
  }
  void stop_reader() {
    if (!reader_) return;
    reader_->handle->abort();
    reader_stopped_ = true;
  }

  void end() {
    switch (by_chance_.below(12)) {
      case 0:
        receiver_.close();
        closed_ = true;
        refused_.insert(refused_.end(), line_.begin(), line_.end());
        line_.clear();
        break;
      case 1:
        sender_ = mpsc_sender<int>();
        has_sender_ = false;
        break;
      default:
        EXPECT_EQ(weak_.upgrade().has_value(), open());
        break;
    }
  }

  void serve() {
    while (!line_.empty() && line_.front()->count <= free_) {
      free_ -= line_.front()->count;
      served_.push_back(line_.front());
      line_.pop_front();
    }
  }

  void compare() {
    serve();
    if (reader_) compare_reader();
    std::size_t sent = 0;
    for (writer* each : served_) {
      EXPECT_TRUE(each->done && !each->error);
      if (each->value == 0) {
        EXPECT_EQ(each->permit.count(), each->count);
        held_.push_back(each);
      } else {
        ++sent;
      }
    }
    EXPECT_EQ(log_.size(), sent);
    for (const int each : log_) messages_.push_back(each);
    if (reader_ && reader_->done) {
      for (const int each : reader_->got) {
        ASSERT_FALSE(messages_.empty());
        EXPECT_EQ(each, messages_.front());
        messages_.pop_front();
      }
      reader_.reset();
    }
    served_.clear();
    log_.clear();
    for (writer* each : line_) EXPECT_FALSE(each->done);
    for (writer* each : refused_) EXPECT_EQ(each->error, errc::closed);
    for (writer* each : stopped_) EXPECT_EQ(each->error, errc::stopped);
    refused_.clear();
    stopped_.clear();
    reader_stopped_ = false;
    EXPECT_EQ(receiver_.size(), messages_.size());
    EXPECT_EQ(receiver_.empty(), messages_.empty());
    if (has_sender_) {
      EXPECT_EQ(sender_.available(), free_);
      EXPECT_EQ(sender_.is_closed(), closed_);
    }
  }

  void compare_reader() {
    if (reader_stopped_) {
      EXPECT_TRUE(reader_->done);
      EXPECT_EQ(reader_->error, errc::stopped);
      EXPECT_TRUE(reader_->got.empty());
      return;
    }
    const bool comes = !messages_.empty() || std::ranges::any_of(served_, [](const writer* each) {
      return each->value != 0;
    });
    if (comes) {
      EXPECT_TRUE(reader_->done);
      EXPECT_TRUE(!reader_->got.empty() && reader_->got.size() <= reader_->most);
      free_ += reader_->got.size();
      serve();
    } else if (ended()) {
      EXPECT_TRUE(reader_->done);
      EXPECT_EQ(reader_->error, reader_->single ? make_error_code(errc::closed) : no_error);
      EXPECT_TRUE(reader_->got.empty());
    } else {
      EXPECT_FALSE(reader_->done);
    }
  }

  dice& by_chance_;
  std::size_t capacity_;
  std::size_t free_;
  mpsc_sender<int> sender_;
  mpsc_receiver<int> receiver_;
  sync::mpsc_weak_sender<int> weak_;
  bool has_sender_ = true;
  bool closed_ = false;
  int last_value_ = 0;
  std::vector<int> log_;  ///< What has been sent by tasks, in order.
  std::deque<int> messages_;
  std::vector<std::unique_ptr<writer>> writers_;
  std::deque<writer*> line_;
  std::vector<writer*> served_;
  std::vector<writer*> held_;
  std::vector<writer*> refused_;
  std::vector<writer*> stopped_;
  std::unique_ptr<reader> reader_;
  bool reader_stopped_ = false;
};

TEST(mpsc_core, does_what_a_simple_reference_does) {
  constexpr int seeds = 10;
  const auto scenario = [](dice& by_chance, int steps) -> task<> {
    for (int i = 0; i < steps / 50 && !HasFailure(); ++i) {
      mpsc_comparison both(by_chance);
      co_await both.run();
    }
  };
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    dice by_chance(seed);
    EXPECT_TRUE(run_on(one_at_a_time(seed), scenario(by_chance, model_operations() / seeds)));
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace magpie::tests::mpsc_core_test
