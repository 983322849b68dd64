/// What travels between the sockets of the simulated network: one queue of events in virtual time.
///
///     connect     client --syn--> listener   a child is made, or refuse, or a later try
///                 client <--syn_ack-- child  client is connected, may write
///                 client --ack--> child      child waits to be accepted
///     close       a socket that nobody owns lives on until its bytes and its FIN have arrived;
///                 bytes that arrive at it, or at nothing, come back as a reset
///
/// A socket is named by its descriptor number, also before it is accepted and after it is closed;
/// events name sockets, never point to them.
/// Called by sim_network alone, on the simulation's thread.
#pragma once

#include <magpie/runtime/sim_address.hpp>
#include <magpie/runtime/sim_network.hpp>
#include <magpie/runtime/sim_socket.hpp>
#include <magpie/util/random.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <pthread.h>
#include <utility>
#include <vector>

namespace magpie {

struct sim_event {
  enum class type : std::uint8_t { syn, syn_ack, ack, refuse, data, fin, reset, due };

  type what;
  int from = sim_socket::nobody;
  int to = sim_socket::nobody;
  unsigned attempt = 0;  ///< Of a syn.
  runnable* work = nullptr;
  std::vector<std::byte> bytes{};
};

class sim_wire {
 public:
  explicit sim_wire(const sim_options& with) noexcept : options(with), random(with.seed) {}

  // ---- sockets

  sim_socket& create(int family);
  /// Null when there is none (any more).
  sim_socket* find(int fd) noexcept;
  void erase(sim_socket& socket) noexcept;
  /// Gives a socket its address; the wire counts who uses a port.
  void set_local(sim_socket& socket, const sim_address& address) noexcept;
  bool port_used(std::uint16_t port) const noexcept { return port_users_.contains(port); }
  /// A port that nobody uses, or 0.
  std::uint16_t ephemeral_port() noexcept;

  // ---- what a side does

  void connect(sim_socket& client);
  /// Sends what fits into the peer's buffer, and the FIN when it is its turn.
  void transmit(sim_socket& from);
  /// Ends the connection with a reset of the peer, and the socket with it.
  void abort(sim_socket& socket) noexcept;
  void close(sim_socket& socket) noexcept;
  void start_listening(sim_socket& socket, std::size_t backlog);
  void stop_listening(sim_socket& listener) noexcept;

  // ---- time

  std::uint64_t next_event_ns() const noexcept;
  void advance_to(std::uint64_t until_ns);
  void schedule(std::uint64_t at_ns, sim_event event);
  void mix(std::uint64_t word) noexcept;

  void check_invariants() const noexcept;

  sim_options options;
  random_source random;
  std::map<int, sim_socket> sockets;
  std::uint64_t now_ns = sim_network::start_ns;
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325U;
  std::uint64_t delivered = 0;
  std::size_t open = 0;  ///< Sockets held by the user.
  sim_network::post_function post = nullptr;
  void* post_user = nullptr;
  std::optional<pthread_t> thread;  ///< The one that used the network first.

 private:
  using moment = std::pair<std::uint64_t, std::uint64_t>;  ///< Time and sequence.

  std::uint64_t delay() noexcept;
  void send(sim_socket& from, sim_event event);
  void send_reset(int from, int to);
  void record(const sim_event& event);
  void deliver(sim_event& event);
  void deliver_syn(const sim_event& event);
  void deliver_syn_ack(const sim_event& event);
  void deliver_ack(const sim_event& event);
  void deliver_data(const sim_event& event);
  void deliver_fin(const sim_event& event) noexcept;
  void end(sim_socket& socket, int error) noexcept;
  sim_socket* listener_for(const sim_address& to) noexcept;
  sim_socket& make_child(sim_socket& listener, const sim_socket& client);

  std::map<moment, sim_event> events_;
  std::map<std::uint16_t, unsigned> port_users_;
  std::vector<int> listeners_;
  std::uint64_t sequence_ = 0;
  std::uint16_t last_port_ = 0;
  int next_fd_ = sys::sim_fd_base;
};

}  // namespace magpie
