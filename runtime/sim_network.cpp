#include <magpie/runtime/sim_network.hpp>

#include <magpie/runtime/reactor.hpp>
#include <magpie/runtime/sim_wire.hpp>
#include <magpie/util/assert.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <new>
#include <pthread.h>
#include <utility>

namespace magpie {

namespace {

using condition = sim_socket::condition;

constexpr unsigned backlog_max = 4096;
constexpr int receive_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL | MSG_PEEK;
constexpr int send_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE;

/// Whether `other` stands in the way of binding `socket` to `address`, or of listening there.
bool in_the_way(const sim_socket& other, const sim_socket& socket, const sim_address& address,
                bool to_listen) noexcept {
  if (&other == &socket || other.local.port != address.port) return false;
  const bool overlap =
      covers(other.local, other.kept_option(IPPROTO_IPV6, IPV6_V6ONLY) != 0, address) ||
      covers(address, socket.kept_option(IPPROTO_IPV6, IPV6_V6ONLY) != 0, other.local);
  if (!overlap) return false;
  const auto both = [&](int option) {
    return other.kept_option(SOL_SOCKET, option) != 0 &&
           socket.kept_option(SOL_SOCKET, option) != 0;
  };
  if (both(SO_REUSEPORT)) return false;
  const bool listens = other.is(condition::listening);
  return to_listen ? listens : !both(SO_REUSEADDR) || listens;
}

bool in_use(const sim_wire& wire, const sim_socket& socket, const sim_address& address,
            bool to_listen) noexcept {
  return wire.port_used(address.port) && std::ranges::any_of(wire.sockets, [&](const auto& entry) {
           return in_the_way(entry.second, socket, address, to_listen);
         });
}

}  // namespace

sim_network::sim_network(const sim_options& with) noexcept
    : wire_(new(std::nothrow) sim_wire(with)) {
  MAGPIE_ASSERT(wire_ != nullptr);
  MAGPIE_ASSERT(with.delay_min_ns <= with.delay_max_ns && with.buffer_bytes > 0);
}

sim_network::~sim_network() { delete wire_; }

/// The socket behind a descriptor that the user holds, or null.
sim_socket* sim_network::open_socket(int fd) const noexcept {
  check_thread();
  sim_socket* found = wire_->find(fd);
  return found != nullptr && found->held_by == sim_socket::holder::user ? found : nullptr;
}

// ---- connections -------------------------------------------------------------------------------

int sim_network::socket(int domain, int type, int protocol) noexcept {
  check_thread();
  if (domain != AF_INET && domain != AF_INET6) return -EAFNOSUPPORT;
  if ((type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM) return -EPROTONOSUPPORT;
  if (protocol != 0 && protocol != IPPROTO_TCP) return -EPROTONOSUPPORT;
  if (wire_->open >= wire_->options.descriptors_max) return -EMFILE;
  ++wire_->open;
  return wire_->create(domain).fd;
}

int sim_network::bind_ephemeral(sim_socket& socket, const sim_address& host) noexcept {
  sim_address local = host;
  local.port = wire_->ephemeral_port();
  if (local.port == 0) return -EADDRINUSE;
  wire_->set_local(socket, local);
  return 0;
}

int sim_network::bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  if (!self->is(condition::fresh) || self->local.port != 0) return -EINVAL;
  sim_address local;
  if (const int failed = read_address(self->family, address, size, local); failed != 0) {
    return failed;
  }
  if (local.port == 0) return bind_ephemeral(*self, local);
  if (in_use(*wire_, *self, local, false)) return -EADDRINUSE;
  wire_->set_local(*self, local);
  return 0;
}

int sim_network::listen(int fd, int backlog) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  if (!self->is(condition::fresh) && !self->is(condition::listening)) return -EINVAL;
  if (self->local.port == 0) {
    if (const int failed = bind_ephemeral(*self, sim_address::any(self->family)); failed != 0) {
      return failed;
    }
  }
  if (in_use(*wire_, *self, self->local, true)) return -EADDRINUSE;
  wire_->start_listening(*self, std::min(static_cast<unsigned>(backlog), backlog_max));
  return 0;
}

int sim_network::accept(int fd, sockaddr* address, socklen_t* size) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  if (!self->is(condition::listening)) return -EINVAL;
  if (self->accept_queue.empty()) return -EAGAIN;
  if (wire_->open >= wire_->options.descriptors_max) return -EMFILE;
  sim_socket& child = *wire_->find(self->accept_queue.front());
  self->accept_queue.pop_front();
  child.held_by = sim_socket::holder::user;
  child.connect_reported = true;
  ++wire_->open;
  write_address(child.family, child.remote, address, size);
  return child.fd;
}

int sim_network::connect(int fd, const sockaddr* address, socklen_t size) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  sim_address remote;
  if (const int failed = read_address(self->family, address, size, remote); failed != 0) {
    return failed;
  }
  switch (self->now) {
    case condition::connecting:
      return -EALREADY;
    case condition::listening:
      return -EISCONN;
    case condition::connected:
      return std::exchange(self->connect_reported, true) ? -EISCONN : 0;
    case condition::closed: {
      const int error = self->take_error();
      return error != 0 ? -error : -ECONNABORTED;
    }
    case condition::fresh:
      break;
  }
  if (remote.is_any()) {
    const std::uint16_t port = remote.port;
    remote = sim_address::loopback(remote.is_v4());
    remote.port = port;
  }
  if (self->local.port == 0) {
    if (bind_ephemeral(*self, remote) != 0) return -EADDRNOTAVAIL;
  } else if (self->local.is_any()) {
    sim_address local = remote;
    local.port = self->local.port;
    wire_->set_local(*self, local);
  }
  self->remote = remote;
  wire_->connect(*self);
  return -EINPROGRESS;
}

int sim_network::shutdown(int fd, int how) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return -EINVAL;
  switch (self->now) {
    case condition::fresh:
    case condition::closed:
      return -ENOTCONN;
    case condition::listening:
      if (how != SHUT_WR) wire_->stop_listening(*self);
      break;
    case condition::connecting:
      self->now = condition::closed;
      self->error = ECONNRESET;
      break;
    case condition::connected:
      if (how != SHUT_WR) self->read_shut = true;
      if (how != SHUT_RD) self->write_shut = true;
      wire_->transmit(*self);
      break;
  }
  self->signal();
  return 0;
}

int sim_network::close(int fd) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  MAGPIE_ASSERT(self->waits[0].op == nullptr && self->waits[1].op == nullptr);  // closed in use
  --wire_->open;
  wire_->close(*self);
  return 0;
}

// ---- bytes -------------------------------------------------------------------------------------

ssize_t sim_network::recv(int fd, void* into, std::size_t size, int flags) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  if ((flags & ~receive_flags) != 0) return -EOPNOTSUPP;
  if (self->is(condition::fresh) || self->is(condition::listening)) return -ENOTCONN;
  if (size == 0) return 0;
  if (!self->received.empty()) {
    const std::size_t count = std::min(size, self->received.size());
    std::memcpy(into, self->received.data(), count);
    if ((flags & MSG_PEEK) != 0) return static_cast<ssize_t>(count);
    self->received.drop(count);
    if (sim_socket* peer = wire_->find(self->peer)) wire_->transmit(*peer);
    return static_cast<ssize_t>(count);
  }
  if (self->fin_received) return 0;
  if (self->error != 0) return -self->take_error();
  return self->read_shut || self->is(condition::closed) ? 0 : -EAGAIN;
}

ssize_t sim_network::send(int fd, const void* from, std::size_t size, int flags) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  if ((flags & ~send_flags) != 0) return -EOPNOTSUPP;
  if (self->is(condition::connecting)) return -EAGAIN;
  if (self->error != 0) return -self->take_error();
  if (!self->is(condition::connected) || self->write_shut) return -EPIPE;
  if (size == 0) return 0;
  const std::size_t count = std::min(size, self->send_room());
  if (count == 0) return -EAGAIN;
  self->unsent.append(static_cast<const std::byte*>(from), count);
  wire_->transmit(*self);
  return static_cast<ssize_t>(count);
}

// ---- names and options -------------------------------------------------------------------------

int sim_network::getsockname(int fd, sockaddr* address, socklen_t* size) noexcept {
  const sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  const bool bound = self->local.port != 0;
  write_address(self->family, bound ? self->local : sim_address::any(self->family), address, size);
  return 0;
}

int sim_network::getpeername(int fd, sockaddr* address, socklen_t* size) noexcept {
  const sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  if (!self->is(condition::connected)) return -ENOTCONN;
  write_address(self->family, self->remote, address, size);
  return 0;
}

int sim_network::setsockopt(int fd, int level, int option, const void* value,
                            socklen_t size) noexcept {
  sim_socket* self = open_socket(fd);
  if (self == nullptr) return -EBADF;
  const int status = self->set_option(level, option, value, size);
  // A buffer may have become larger.
  if (sim_socket* peer = wire_->find(self->peer)) wire_->transmit(*peer);
  self->signal();
  return status;
}

int sim_network::getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept {
  sim_socket* self = open_socket(fd);
  return self == nullptr ? -EBADF : self->get_option(level, option, value, size);
}

// ---- time, chance and readiness ----------------------------------------------------------------

std::uint64_t sim_network::now_ns() const noexcept { return wire_->now_ns; }

std::uint64_t sim_network::next_event_ns() const noexcept { return wire_->next_event_ns(); }

void sim_network::advance_to(std::uint64_t now_ns) noexcept {
  check_thread();
  wire_->advance_to(now_ns);
}

void sim_network::schedule(runnable& work, std::uint64_t delay_ns) noexcept {
  check_thread();
  wire_->schedule(wire_->now_ns + delay_ns, {.what = sim_event::type::due, .work = &work});
}

void sim_network::on_due(post_function post, void* user) noexcept {
  wire_->post = post;
  wire_->post_user = user;
}

const sim_options& sim_network::options() const noexcept { return wire_->options; }

random_source& sim_network::random() noexcept { return wire_->random; }

std::uint64_t sim_network::event_hash() const noexcept { return wire_->hash; }

std::uint64_t sim_network::events() const noexcept { return wire_->delivered; }

void sim_network::note(std::uint64_t decision) noexcept { wire_->mix(decision); }

bool sim_network::ready(int fd, direction way) const noexcept {
  const sim_socket* socket = open_socket(fd);
  return socket == nullptr || socket->ready(way);
}

bool sim_network::watch(readiness_operation& op, sim_watcher& by) noexcept {
  sim_socket* socket = open_socket(op.io->fd);
  if (socket == nullptr || socket->ready(op.dir)) return false;
  sim_socket::held_wait& held = socket->waits[static_cast<std::size_t>(op.dir)];
  MAGPIE_ASSERT(held.op == nullptr && "two tasks use one direction of a socket at the same time");
  held = {&op, &by};
  return true;
}

void sim_network::unwatch(readiness_operation& op) noexcept {
  sim_socket* socket = open_socket(op.io->fd);
  MAGPIE_ASSERT(socket != nullptr);
  sim_socket::held_wait& held = socket->waits[static_cast<std::size_t>(op.dir)];
  MAGPIE_ASSERT(held.op == &op);
  held = {};
}

void sim_network::unwatch_all(sim_watcher& by) noexcept {
  for (auto& [fd, socket] : wire_->sockets) {
    for (sim_socket::held_wait& held : socket.waits) {
      if (held.by == &by) held = {};
    }
  }
}

void sim_network::check_thread() const noexcept {
  const pthread_t here = ::pthread_self();
  if (!wire_->thread) wire_->thread = here;
  if (::pthread_equal(*wire_->thread, here) != 0) return;
  std::fputs("magpie: a thread that is not the simulation's called into it\n", stderr);
  std::abort();
}

void sim_network::check_invariants() const noexcept { wire_->check_invariants(); }

}  // namespace magpie
