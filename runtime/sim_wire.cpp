#include <magpie/runtime/sim_wire.hpp>

#include <magpie/util/assert.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <netinet/in.h>

namespace magpie {

namespace {

constexpr std::uint16_t first_ephemeral = 32'768;
constexpr std::uint16_t last_ephemeral = 60'999;
constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr unsigned connect_attempts_max = 7;

const char* to_string(sim_event::type what) noexcept {
  constexpr const char* names[] = {"syn",  "syn_ack", "ack",   "refuse",
                                   "data", "fin",     "reset", "due"};
  return names[static_cast<std::size_t>(what)];
}

}  // namespace

// ---- sockets -----------------------------------------------------------------------------------

sim_socket& sim_wire::create(int family) {
  const int fd = next_fd_++;
  sim_socket& made = sockets[fd];
  made.fd = fd;
  made.family = family;
  made.send_max = options.buffer_bytes;
  made.receive_max = options.buffer_bytes;
  return made;
}

sim_socket* sim_wire::find(int fd) noexcept {
  const auto found = sockets.find(fd);
  return found == sockets.end() ? nullptr : &found->second;
}

void sim_wire::erase(sim_socket& socket) noexcept {
  MAGPIE_ASSERT(socket.waits[0].op == nullptr && socket.waits[1].op == nullptr);
  set_local(socket, {});
  sockets.erase(socket.fd);
}

void sim_wire::set_local(sim_socket& socket, const sim_address& address) noexcept {
  if (address.port != 0) ++port_users_[address.port];
  if (const std::uint16_t old = socket.local.port; old != 0 && --port_users_[old] == 0) {
    port_users_.erase(old);
  }
  socket.local = address;
}

std::uint16_t sim_wire::ephemeral_port() noexcept {
  for (unsigned tried = first_ephemeral; tried <= last_ephemeral; ++tried) {
    const bool wrap = last_port_ < first_ephemeral || last_port_ == last_ephemeral;
    last_port_ = wrap ? first_ephemeral : static_cast<std::uint16_t>(last_port_ + 1);
    if (!port_used(last_port_)) return last_port_;
  }
  return 0;
}

// ---- what a side does --------------------------------------------------------------------------

void sim_wire::connect(sim_socket& client) {
  client.now = sim_socket::condition::connecting;
  send(client, {.what = sim_event::type::syn, .from = client.fd});
}

void sim_wire::transmit(sim_socket& from) {
  if (!from.is(sim_socket::condition::connected)) return;
  const sim_socket* to = find(from.peer);
  const bool answers = to != nullptr && !to->is(sim_socket::condition::closed);
  while (!from.unsent.empty()) {
    std::size_t count = from.unsent.size();
    if (answers) {
      const std::size_t used = to->received.size() + from.in_flight;
      if (used >= to->receive_max) return;
      count = std::min(count, to->receive_max - used);
    }
    if (options.split_one_in != 0 && random.one_in(options.split_one_in)) {
      count = 1 + random.below(static_cast<std::uint32_t>(count));
    }
    const std::byte* first = from.unsent.data();
    send(from, {.what = sim_event::type::data,
                .from = from.fd,
                .to = from.peer,
                .bytes = {first, first + count}});
    from.unsent.drop(count);
    from.in_flight += count;
  }
  if (from.write_shut && !from.fin_sent) {
    from.fin_sent = true;
    send(from, {.what = sim_event::type::fin, .from = from.fd, .to = from.peer});
  }
}

void sim_wire::abort(sim_socket& socket) noexcept {
  send(socket, {.what = sim_event::type::reset, .from = socket.fd, .to = socket.peer});
  erase(socket);
}

void sim_wire::close(sim_socket& socket) noexcept {
  if (socket.is(sim_socket::condition::listening)) stop_listening(socket);
  const bool over = socket.fin_arrived && socket.fin_received;
  if (!socket.is(sim_socket::condition::connected) || over) return erase(socket);
  if (!socket.received.empty() || (socket.linger_on && socket.linger_seconds == 0)) {
    return abort(socket);
  }
  if (socket.fin_arrived) return erase(socket);
  socket.held_by = sim_socket::holder::none;
  socket.write_shut = true;
  transmit(socket);
}

void sim_wire::start_listening(sim_socket& socket, std::size_t backlog) {
  if (!socket.is(sim_socket::condition::listening)) listeners_.push_back(socket.fd);
  socket.now = sim_socket::condition::listening;
  socket.backlog = backlog;
}

void sim_wire::stop_listening(sim_socket& listener) noexcept {
  std::erase(listeners_, listener.fd);
  listener.now = sim_socket::condition::fresh;
  listener.half_open = 0;
  for (const int fd : std::exchange(listener.accept_queue, {})) {
    sim_socket& child = *find(fd);
    if (child.is(sim_socket::condition::connected)) {
      abort(child);
    } else {
      erase(child);
    }
  }
}

void sim_wire::end(sim_socket& socket, int error) noexcept {
  socket.now = sim_socket::condition::closed;
  socket.error = error;
  if (socket.held_by == sim_socket::holder::none) return erase(socket);
  socket.signal();
}

// ---- events ------------------------------------------------------------------------------------

std::uint64_t sim_wire::next_event_ns() const noexcept {
  return events_.empty() ? sim_network::never : events_.begin()->first.first;
}

void sim_wire::advance_to(std::uint64_t until_ns) {
  MAGPIE_ASSERT(until_ns >= now_ns);  // virtual time goes on, never back
  while (next_event_ns() <= until_ns) {
    auto node = events_.extract(events_.begin());
    now_ns = std::max(now_ns, node.key().first);
    record(node.mapped());
    deliver(node.mapped());
  }
  now_ns = until_ns;
}

void sim_wire::schedule(std::uint64_t at_ns, sim_event event) {
  events_.emplace(moment{at_ns, ++sequence_}, std::move(event));
}

std::uint64_t sim_wire::delay() noexcept {
  return options.delay_min_ns + random.below(options.delay_max_ns - options.delay_min_ns + 1);
}

void sim_wire::send(sim_socket& from, sim_event event) {
  from.last_arrival_ns = std::max(from.last_arrival_ns, now_ns + delay());
  schedule(from.last_arrival_ns, std::move(event));
}

/// From a socket that may be gone.
void sim_wire::send_reset(int from, int to) {
  schedule(now_ns + delay(), {.what = sim_event::type::reset, .from = from, .to = to});
}

void sim_wire::mix(std::uint64_t word) noexcept {
  hash = std::rotl(hash ^ word, 29) * 0x9e37'79b9'7f4a'7c15U;
}

void sim_wire::record(const sim_event& event) {
  ++delivered;
  mix(now_ns);
  mix(static_cast<std::uint64_t>(event.what));
  mix(static_cast<std::uint64_t>(event.from));
  mix(static_cast<std::uint64_t>(event.to));
  const std::size_t size = event.bytes.size();
  mix(size);
  for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, event.bytes.data() + at, std::min(sizeof word, size - at));
    mix(word);
  }
  if (!options.log) return;
  std::fprintf(stderr, "sim %llu.%09llu %s %d -> %d, %zu bytes\n",
               static_cast<unsigned long long>(now_ns / second_ns),
               static_cast<unsigned long long>(now_ns % second_ns), to_string(event.what),
               event.from, event.to, size);
}

void sim_wire::deliver(sim_event& event) {
  using condition = sim_socket::condition;
  sim_socket* to = find(event.to);
  switch (event.what) {
    case sim_event::type::syn:
      return deliver_syn(event);
    case sim_event::type::syn_ack:
      return deliver_syn_ack(event);
    case sim_event::type::ack:
      return deliver_ack(event);
    case sim_event::type::data:
      return deliver_data(event);
    case sim_event::type::fin:
      return deliver_fin(event);
    case sim_event::type::refuse:
      if (to != nullptr && to->is(condition::connecting)) end(*to, ECONNREFUSED);
      return;
    case sim_event::type::reset:
      if (to != nullptr && to->is(condition::connected)) {
        end(*to, to->fin_received ? EPIPE : ECONNRESET);
      }
      return;
    case sim_event::type::due:
      MAGPIE_ASSERT(post != nullptr);  // nobody takes due runnables: on_due was not called
      return post(post_user, *event.work);
  }
}

void sim_wire::deliver_syn(const sim_event& event) {
  sim_socket* client = find(event.from);
  if (client == nullptr || !client->is(sim_socket::condition::connecting)) return;
  if (event.attempt == connect_attempts_max) return end(*client, ETIMEDOUT);
  sim_socket* listener = listener_for(client->remote);
  if (listener == nullptr) {
    schedule(now_ns + delay(), {.what = sim_event::type::refuse, .to = client->fd});
  } else if (listener->backlog_full()) {
    schedule(now_ns + (second_ns << event.attempt),
             {.what = event.what, .from = client->fd, .attempt = event.attempt + 1});
  } else {
    sim_socket& child = make_child(*listener, *client);
    send(child, {.what = sim_event::type::syn_ack, .from = child.fd, .to = client->fd});
  }
}

void sim_wire::deliver_syn_ack(const sim_event& event) {
  sim_socket& child = *find(event.from);  // stays until its ack
  sim_socket* client = find(event.to);
  if (client == nullptr || !client->is(sim_socket::condition::connecting)) {
    sim_socket* listener = find(child.listener);
    if (listener != nullptr && listener->half_open > 0) --listener->half_open;
    return erase(child);
  }
  client->now = sim_socket::condition::connected;
  client->peer = child.fd;
  send(*client, {.what = sim_event::type::ack, .from = client->fd, .to = child.fd});
  client->signal();
}

void sim_wire::deliver_ack(const sim_event& event) {
  sim_socket& child = *find(event.to);
  sim_socket* listener = find(child.listener);
  if (listener == nullptr || !listener->is(sim_socket::condition::listening)) {
    return abort(child);
  }
  if (listener->half_open > 0) --listener->half_open;
  child.now = sim_socket::condition::connected;
  listener->accept_queue.push_back(child.fd);
  listener->signal();
}

void sim_wire::deliver_data(const sim_event& event) {
  sim_socket* from = find(event.from);
  sim_socket* to = find(event.to);
  if (from != nullptr) from->in_flight -= event.bytes.size();
  if (to != nullptr && to->is(sim_socket::condition::connected) &&
      to->held_by != sim_socket::holder::none) {
    to->received.append(event.bytes.data(), event.bytes.size());
    to->signal();
  } else {
    if (to != nullptr && to->held_by == sim_socket::holder::none) erase(*to);
    send_reset(event.to, event.from);
  }
  if (from != nullptr) from->signal();
}

void sim_wire::deliver_fin(const sim_event& event) noexcept {
  sim_socket* to = find(event.to);
  if (to != nullptr && to->is(sim_socket::condition::connected)) {
    to->fin_received = true;
    to->signal();
  }
  sim_socket* from = find(event.from);
  if (from == nullptr) return;
  MAGPIE_ASSERT(!from->fin_arrived);
  from->fin_arrived = true;
  if (from->held_by == sim_socket::holder::none) erase(*from);
}

sim_socket* sim_wire::listener_for(const sim_address& to) noexcept {
  std::vector<sim_socket*> fits;
  bool exact = false;
  for (const int fd : listeners_) {
    sim_socket& listener = *find(fd);
    const bool only_v6 = listener.kept_option(IPPROTO_IPV6, IPV6_V6ONLY) != 0;
    if (listener.local.port != to.port || !covers(listener.local, only_v6, to)) continue;
    const bool same = listener.local.same_host(to);
    if (exact && !same) continue;
    if (same && !exact) fits.clear();
    exact = same;
    fits.push_back(&listener);
  }
  if (fits.empty()) return nullptr;
  return fits[random.below(static_cast<std::uint32_t>(fits.size()))];
}

sim_socket& sim_wire::make_child(sim_socket& listener, const sim_socket& client) {
  sim_socket& child = create(listener.family);
  child.now = sim_socket::condition::connecting;
  child.held_by = sim_socket::holder::accept_queue;
  child.peer = client.fd;
  child.remote = client.local;
  child.listener = listener.fd;
  child.send_max = listener.send_max;
  child.receive_max = listener.receive_max;
  child.linger_on = listener.linger_on;
  child.linger_seconds = listener.linger_seconds;
  child.kept = listener.kept;
  set_local(child, client.remote);
  ++listener.half_open;
  return child;
}

void sim_wire::check_invariants() const noexcept {
  std::map<int, std::size_t> under_way;
  for (const auto& [when, event] : events_) {
    MAGPIE_ASSERT(when.first >= now_ns);
    under_way[event.from] += event.bytes.size();
  }
  std::size_t held = 0;
  for (const auto& [fd, socket] : sockets) {
    held += socket.held_by == sim_socket::holder::user;
    MAGPIE_ASSERT(socket.fd == fd);
    MAGPIE_ASSERT(socket.in_flight == under_way[fd]);
    MAGPIE_ASSERT(socket.held_by != sim_socket::holder::none || !socket.fin_arrived);
    MAGPIE_ASSERT(!socket.fin_sent || (socket.write_shut && socket.unsent.empty()));
    for (const direction way : {direction::read, direction::write}) {
      const auto& wait = socket.waits[static_cast<std::size_t>(way)];
      MAGPIE_ASSERT(wait.op == nullptr || !socket.ready(way));  // no readiness is lost
      MAGPIE_ASSERT(wait.op == nullptr || socket.held_by == sim_socket::holder::user);
    }
  }
  MAGPIE_ASSERT(held == open);
}

}  // namespace magpie
