/// The simulated network: TCP as a program sees it, in memory, in virtual time, from one seed.
///
/// Idea: what a socket call changes at once is the caller's own side; everything that the other
/// side will notice (a connection, bytes, an end of stream, a reset) becomes an *event* at a later
/// virtual time that the seed chooses.  Each direction of a connection is in order; nothing else
/// is.  `advance_to` delivers what is due, ordered by (time, sequence), and mixes it into
/// `event_hash`: same seed and same calls, same hash.  The socket calls are here, what travels
/// between sockets is in sim_wire.hpp.
///
/// As Linux does it: buffers are bounded, so writes are short and then EAGAIN; connecting to a
/// port without a listener gives EINPROGRESS and then ECONNREFUSED in SO_ERROR; a full backlog
/// drops the attempt, which is repeated after 1, 2, 4 ... s and gives up with ETIMEDOUT after 127;
/// closing with unread data, or with a linger time of zero, resets the peer; what was received
/// before a reset can still be read.  Not as Linux: one host has every address; no TIME_WAIT;
/// SO_SNDBUF and SO_RCVBUF are taken literally; a descriptor is never used twice, so that stale
/// ones are found.
///
/// Invariants: no byte is lost, doubled or reordered before a reset; a held wait is handed to its
/// watcher as soon as its descriptor is ready.
/// Everything here is called on the thread that first used the network; another thread aborts.
#pragma once

#include <magpie/runtime/sys.hpp>
#include <magpie/util/random.hpp>

#include <cstdint>

namespace magpie {

class readiness_operation;
class sim_wire;
enum class direction : std::uint8_t;
struct runnable;
struct sim_address;
struct sim_socket;

/// How a simulation behaves.  The defaults suit tests of servers.
struct sim_options {
  explicit sim_options(std::uint64_t with_seed = 1) noexcept : seed(with_seed) {}

  std::uint64_t seed;
  /// How long an event is under way.
  std::uint32_t delay_min_ns = 1'000;
  std::uint32_t delay_max_ns = 100'000;
  /// Bytes that could travel together are split once in so many times; 0: never.
  std::uint32_t split_one_in = 4;
  /// A wait ends at once although nothing is ready once in so many times; 0: never.
  std::uint32_t spurious_one_in = 0;
  /// Send and receive buffer of each socket, until SO_SNDBUF and SO_RCVBUF say otherwise.
  std::uint32_t buffer_bytes = 64 * 1024;
  /// Open descriptors; beyond, EMFILE.
  std::uint32_t descriptors_max = 1U << 20;
  /// Prints every event to standard error.
  bool log = false;
};

/// Who is told that a held wait has become ready: a reactor.
class sim_watcher {
 public:
  /// The network no longer holds `op`.  Must not call the network.
  virtual void socket_ready(readiness_operation& op) noexcept = 0;

 protected:
  ~sim_watcher() = default;
};

class sim_network final : public sys::network {
 public:
  /// Takes a runnable whose virtual time has come.
  using post_function = void (*)(void* user, runnable& work) noexcept;

  static constexpr std::uint64_t never = ~std::uint64_t{0};
  static constexpr std::uint64_t start_ns = 1'000'000'000;

  explicit sim_network(const sim_options& with) noexcept;
  sim_network(const sim_network&) = delete;
  sim_network& operator=(const sim_network&) = delete;
  ~sim_network();

  // ---- socket calls; none blocks, results as the kernel's raw calls give them

  int socket(int domain, int type, int protocol) noexcept override;
  int bind(int fd, const sockaddr* address, socklen_t size) noexcept override;
  int listen(int fd, int backlog) noexcept override;
  int accept(int fd, sockaddr* address, socklen_t* size) noexcept override;
  int connect(int fd, const sockaddr* address, socklen_t size) noexcept override;
  int shutdown(int fd, int how) noexcept override;
  /// Asserts that no wait is held on the descriptor.
  int close(int fd) noexcept override;
  ssize_t recv(int fd, void* into, std::size_t size, int flags) noexcept override;
  ssize_t send(int fd, const void* from, std::size_t size, int flags) noexcept override;
  int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept override;
  int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept override;
  int setsockopt(int fd, int level, int option, const void* value,
                 socklen_t size) noexcept override;
  int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept override;

  // ---- time, for the driver

  std::uint64_t now_ns() const noexcept;
  /// When the next event is due; `never` when nothing is under way.
  std::uint64_t next_event_ns() const noexcept;
  /// Delivers every event up to and including `now_ns`, those that come of them too.
  void advance_to(std::uint64_t now_ns) noexcept;
  /// Posts `work` after `delay_ns` of virtual time, through the function given to `on_due`.
  void schedule(runnable& work, std::uint64_t delay_ns) noexcept;
  void on_due(post_function post, void* user) noexcept;

  // ---- chance and record

  const sim_options& options() const noexcept;
  /// The one source of chance of the network and its reactors.
  random_source& random() noexcept;
  std::uint64_t event_hash() const noexcept;
  /// Events delivered so far.
  std::uint64_t events() const noexcept;
  /// Mixes a decision made elsewhere into the event hash.
  void note(std::uint64_t decision) noexcept;

  // ---- readiness, for reactors

  /// Whether a call in that direction would not say EAGAIN.  Closed descriptors are ready.
  bool ready(int fd, direction way) const noexcept;
  /// Holds `op` until its descriptor is ready; false: it is ready now and not held.
  bool watch(readiness_operation& op, sim_watcher& by) noexcept;
  /// Gives up a held wait.
  void unwatch(readiness_operation& op) noexcept;
  /// Gives up everything held for `by`.
  void unwatch_all(sim_watcher& by) noexcept;

  /// Aborts with a message on a thread that does not belong to the simulation.
  void check_thread() const noexcept;
  void check_invariants() const noexcept;

 private:
  sim_socket* open_socket(int fd) const noexcept;
  int bind_ephemeral(sim_socket& socket, const sim_address& host) noexcept;

  sim_wire* wire_;
};

}  // namespace magpie
