// Random socket calls against a reference model: two streams of bytes for each connection.
//
// Checked after each call: bytes come in order, none is lost, doubled or made up; an end of stream
// comes after the last byte; a reset only where somebody closed; `ready` says exactly whether a
// call would say EAGAIN; a held wait is told as soon as its descriptor is ready.
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/runtime/sim_driver.hpp>

#include <map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace magpie::tests::sim_model_test {
namespace {

constexpr std::uint16_t port = 7000;

class waiter final : public readiness_operation {
 public:
  waiter(descriptor& on, direction way) : readiness_operation([](runnable&) noexcept {}, on, way) {}
  bool held = false;
};

/// One end of a connection, as the model sees it.
struct side {
  int fd = -1;
  int peer = -1;  ///< Index of the other end, once it is accepted.
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  bool write_shut = false;
  bool closed = false;
  bool broken = false;  ///< A reset was seen.
  bool ended = false;   ///< The end of the stream was seen.
  std::unique_ptr<waiter> waits[2];
};

std::byte byte_at(int stream, std::uint64_t at) {
  return static_cast<std::byte>((at * 131 + static_cast<std::uint64_t>(stream) * 17) & 0xff);
}

class play final : private sim_watcher {
 public:
  explicit play(const sim_options& options) : network_(options), chance_(options.seed + 99) {
    listener_ = network_.socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = v4_address(port);
    EXPECT_EQ(network_.bind(listener_, raw(address), sizeof address), 0);
    EXPECT_EQ(network_.listen(listener_, 4), 0);
  }
  ~play() { network_.unwatch_all(*this); }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      step();
      if (i % 8 == 0) network_.check_invariants();
    }
  }

  /// Reads everything to the end; then each byte that was accepted has come, but for resets.
  void finish() {
    for (bool moved = true; moved && !::testing::Test::HasFailure();) {
      settle(network_, network_.now_ns() + 1'000'000'000);  // before connecting times out
      moved = accept();
      for (std::size_t i = 0; i < sides_.size(); ++i) moved |= receive(sides_[i], 100'000);
    }
    for (const side& to : sides_) {
      if (to.closed || to.broken || to.peer < 0) continue;
      const side& from = sides_[static_cast<std::size_t>(to.peer)];
      if (from.closed && !to.ended) continue;  // closed with a reset that nobody read yet
      EXPECT_EQ(to.received, from.sent);
      EXPECT_EQ(to.ended, from.write_shut);
      whole_ += to.received;
    }
    network_.check_invariants();
  }

  std::uint64_t hash() const { return network_.event_hash(); }
  std::uint64_t told() const { return told_; }
  std::uint64_t whole() const { return whole_; }
  std::uint64_t resets() const { return resets_; }

 private:
  void socket_ready(readiness_operation& op) noexcept override {
    EXPECT_TRUE(static_cast<waiter&>(op).held);
    static_cast<waiter&>(op).held = false;
    ++told_;
  }

  void step() {
    const std::uint32_t what = chance_.below(100);
    if (sides_.empty() || what < 3) return connect();
    if (what < 8) return static_cast<void>(accept());
    if (what < 30) return advance();
    side& one = sides_[chance_.below(static_cast<std::uint32_t>(sides_.size()))];
    if (one.closed) return;
    if (what < 60) {
      send(one, 1 + chance_.below(chance_.one_in(4) ? 3000 : 50));
    } else if (what < 90) {
      receive(one, 1 + chance_.below(chance_.one_in(4) ? 3000 : 50));
    } else if (what < 95) {
      const int name = chance_.one_in(2) ? SO_SNDBUF : SO_RCVBUF;
      const int value = 1 + static_cast<int>(chance_.below(4000));
      EXPECT_EQ(network_.setsockopt(one.fd, SOL_SOCKET, name, &value, sizeof value), 0);
    } else if (what < 97) {
      if (network_.getpeername(one.fd, nullptr, nullptr) != 0) return;  // not connected
      EXPECT_EQ(network_.shutdown(one.fd, SHUT_WR), 0);
      one.write_shut = true;
    } else if (what < 98) {
      close(one);
    }
  }

  void advance() {
    if (network_.next_event_ns() == sim_network::never) return;
    network_.advance_to(network_.next_event_ns() + chance_.below(50'000));
  }

  side& add(int fd) {
    sides_.emplace_back();
    sides_.back().fd = fd;
    return sides_.back();
  }

  void connect() {
    if (sides_.size() > 12) return;
    const int fd = network_.socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = v4_address(port);
    ASSERT_EQ(network_.connect(fd, raw(address), sizeof address), -EINPROGRESS);
    sockaddr_in own{};
    socklen_t size = sizeof own;
    EXPECT_EQ(network_.getsockname(fd, raw(own), &size), 0);
    by_port_[own.sin_port] = static_cast<int>(sides_.size());
    add(fd);
  }

  bool accept() {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    const bool ready = network_.ready(listener_, direction::read);
    const int fd = network_.accept(listener_, raw(from), &size);
    EXPECT_EQ(ready, fd != -EAGAIN);
    if (fd < 0) return false;
    const int client = by_port_.at(from.sin_port);
    const int server = static_cast<int>(sides_.size());
    add(fd).peer = client;
    sides_[static_cast<std::size_t>(client)].peer = server;
    return true;
  }

  int index_of(const side& one) const { return static_cast<int>(&one - sides_.data()); }

  /// After EAGAIN: the wait is held; and a held one is told before a call works again.
  void again(side& one, direction way) {
    std::unique_ptr<waiter>& wait = one.waits[static_cast<std::size_t>(way)];
    if (wait != nullptr && wait->held) return;
    descriptor& io = ios_[one.fd];  // stays where it is
    io.fd = one.fd;
    wait = std::make_unique<waiter>(io, way);
    ASSERT_TRUE(network_.watch(*wait, *this));
    wait->held = true;
  }

  void works(const side& one, direction way) {
    const std::unique_ptr<waiter>& wait = one.waits[static_cast<std::size_t>(way)];
    EXPECT_FALSE(wait != nullptr && wait->held);
  }

  /// An error: somebody closed, or else this would be made up.
  void broke(side& one, ssize_t error) {
    if (error == -ETIMEDOUT && one.peer < 0) {  // the backlog stayed full for two minutes
      return close(one);
    }
    EXPECT_TRUE(error == -ECONNRESET || error == -EPIPE) << error;
    if (error == -EPIPE && one.write_shut) return;
    ASSERT_GE(one.peer, 0);  // who was not accepted cannot have closed
    EXPECT_TRUE(sides_[static_cast<std::size_t>(one.peer)].closed);
    one.broken = true;
    ++resets_;
  }

  void send(side& one, std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = byte_at(index_of(one), one.sent + i);
    const bool ready = network_.ready(one.fd, direction::write);
    const ssize_t count = network_.send(one.fd, bytes.data(), size, 0);
    ASSERT_EQ(ready, count != -EAGAIN);
    if (count == -EAGAIN) return again(one, direction::write);
    works(one, direction::write);
    if (count < 0) return broke(one, count);
    ASSERT_FALSE(one.write_shut);
    one.sent += static_cast<std::uint64_t>(count);
  }

  bool receive(side& one, std::size_t size) {
    if (one.closed) return false;
    std::vector<std::byte> bytes(size);
    const bool ready = network_.ready(one.fd, direction::read);
    const ssize_t count = network_.recv(one.fd, bytes.data(), size, 0);
    EXPECT_EQ(ready, count != -EAGAIN);
    if (count == -EAGAIN) {
      again(one, direction::read);
      return false;
    }
    works(one, direction::read);
    if (count < 0) {
      broke(one, count);
      return true;
    }
    EXPECT_TRUE(one.peer >= 0 || count == 0);  // bytes before the accept cannot be: nobody sends
    if (one.peer < 0) return false;
    const side& from = sides_[static_cast<std::size_t>(one.peer)];
    if (count == 0) {
      EXPECT_TRUE(from.write_shut);
      EXPECT_TRUE(one.broken || one.received == from.sent);
      return !std::exchange(one.ended, true);
    }
    EXPECT_FALSE(one.ended);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      if (bytes[i] == byte_at(one.peer, one.received + i)) continue;
      ADD_FAILURE() << "stream " << one.peer << " differs at " << one.received + i;
      break;
    }
    one.received += static_cast<std::uint64_t>(count);
    EXPECT_LE(one.received, from.sent);
    return true;
  }

  void close(side& one) {
    for (const auto& wait : one.waits) {
      if (wait != nullptr && wait->held) network_.unwatch(*wait);
    }
    EXPECT_EQ(network_.close(one.fd), 0);
    one.closed = true;
    one.write_shut = true;
  }

  sim_network network_;
  random_source chance_;
  int listener_ = -1;
  std::vector<side> sides_;
  std::map<std::uint16_t, int> by_port_;
  std::map<int, descriptor> ios_;
  std::uint64_t told_ = 0;
  std::uint64_t whole_ = 0;
  std::uint64_t resets_ = 0;
};

sim_options small_buffers(std::uint64_t seed) {
  sim_options options(seed);
  options.buffer_bytes = 1 + static_cast<std::uint32_t>(split_mix64(seed).next() % 2000);
  return options;
}

TEST(sim_model, random_calls_follow_the_model) {
  MAGPIE_NEED_ONE_CELL();
  std::uint64_t told = 0;
  std::uint64_t whole = 0;
  std::uint64_t resets = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    play game(small_buffers(seed));
    game.run(600);
    game.finish();
    told += game.told();
    whole += game.whole();
    resets += game.resets();
    if (HasFailure()) return;
  }
  // The test means something only if all of these happened.
  EXPECT_GT(told, 1000U);
  EXPECT_GT(whole, 100'000U);
  EXPECT_GT(resets, 50U);
}

std::uint64_t hash_of(std::uint64_t seed) {
  play game{sim_options(seed)};
  game.run(120);
  game.finish();
  return game.hash();
}

TEST(sim_model, a_seed_is_a_run) {
  MAGPIE_NEED_ONE_CELL();
  std::unordered_set<std::uint64_t> hashes;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const std::uint64_t hash = hash_of(seed);
    ASSERT_EQ(hash, hash_of(seed)) << seed;
    hashes.insert(hash);
  }
  EXPECT_EQ(hashes.size(), 1000U);
}

}  // namespace
}  // namespace magpie::tests::sim_model_test
