// The measuring loop of the load generator: one thread, level-triggered epoll, one recv and one
// send per message and one clock reading per receive, so that it costs about as much as the
// server that it measures.
#pragma once

#include <magpie/bench/bare/histogram.hpp>
#include <magpie/bench/bare/load_messages.hpp>
#include <magpie/bench/bare/load_options.hpp>
#include <magpie/bench/bare/proc_stats.hpp>

#include <sys/epoll.h>

#include <utility>

namespace bare {

struct connection {
  int fd = -1;
  std::uint32_t id = 0;
  bool blocked = false;         // waits for room to send
  std::uint64_t queued = 0;     // messages that are to be sent, in all
  std::uint64_t sent = 0;       // messages sent completely
  std::size_t sent_offset = 0;  // bytes sent of the next one
  std::uint64_t received = 0;
  std::size_t received_offset = 0;
};

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "load: %s\n", what);
  std::exit(1);
}

struct window_report {
  double seconds = 0;
  std::uint64_t requests = 0;
  std::uint64_t unanswered = 0;
  std::uint64_t latest_send_ns = 0;  // how late this generator itself was, at worst
  std::uint64_t server_cpu_ns = 0;
  std::uint64_t own_cpu_ns = 0;
  double other_cores = 0;  // cores that other processes kept busy
  double stolen_cores = 0;
};

class generator {
 public:
  generator(const load_options& options, const std::vector<int>& sockets)
      : options_(options),
        stream_(options.size, options.compute_share),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        peers_(sockets.size()),
        send_times_(options.rate > 0 ? 0 : sockets.size() * options.pipeline),
        buffer_(std::max<std::size_t>(64U << 10, std::min<std::size_t>(options.size, 1U << 20))) {
    if (epoll_ < 0) die("epoll_create1");
    for (std::size_t index = 0; index < sockets.size(); ++index) {
      auto& peer = peers_[index];
      peer.fd = sockets[index];
      peer.id = static_cast<std::uint32_t>(index);
      watch(peer, EPOLL_CTL_ADD);
    }
  }

  window_report run() {
    start_ = now_ns();
    window_begin_ = start_ + static_cast<std::uint64_t>(options_.warmup * 1e9);
    window_end_ = window_begin_ + static_cast<std::uint64_t>(options_.seconds * 1e9);
    const auto give_up = window_end_ + 2'000'000'000U;
    if (options_.rate == 0) {
      for (auto& peer : peers_) enqueue(peer, options_.pipeline, start_);
    }
    for (auto now = start_; phase_ != phase::over; now = now_ns()) {
      advance_phase(now);
      if (options_.rate > 0) send_due(now);
      if (phase_ == phase::draining && (in_flight_ == 0 || now > give_up)) break;
      wait(now);
    }
    if (options_.rate > 0) count_unanswered();
    report_.requests = measured_;
    return report_;
  }

  const histogram& latencies() const { return latencies_; }
  const histogram& compute_latencies() const { return compute_latencies_; }

 private:
  enum class phase { warmup, measuring, draining, over };

  void watch(connection& peer, int operation) {
    epoll_event event{.events = EPOLLIN, .data = {.u32 = peer.id}};
    if (peer.blocked) event.events |= EPOLLOUT;
    if (epoll_ctl(epoll_, operation, peer.fd, &event) != 0) die("epoll_ctl");
  }

  void advance_phase(std::uint64_t now) {
    if (phase_ == phase::warmup && now >= window_begin_) {
      phase_ = phase::measuring;
      begin_window(now);
    } else if (phase_ == phase::measuring && now >= window_end_) {
      end_window(now);
      phase_ = options_.rate > 0 ? phase::draining : phase::over;
    }
    if (now >= next_progress_) show_progress(now);
  }

  void begin_window(std::uint64_t now) {
    window_begin_ = now;
    window_end_ = now + static_cast<std::uint64_t>(options_.seconds * 1e9);
    report_.requests = 0;
    machine_ = machine_time::read();
    own_cpu_ = process_cpu_ns(0);
    if (options_.server_pid != 0) server_cpu_ = process_cpu_ns(options_.server_pid);
  }

  void end_window(std::uint64_t now) {
    if (options_.server_pid != 0) {
      report_.server_cpu_ns = process_cpu_ns(options_.server_pid) - server_cpu_;
    }
    report_.own_cpu_ns = process_cpu_ns(0) - own_cpu_;
    const auto machine = machine_time::read();
    const auto elapsed = static_cast<double>(now - window_begin_);
    report_.seconds = elapsed / 1e9;
    report_.stolen_cores = static_cast<double>(machine.steal_ns - machine_.steal_ns) / elapsed;
    const auto others = static_cast<double>(machine.busy_ns - machine_.busy_ns) -
                        static_cast<double>(report_.own_cpu_ns + report_.server_cpu_ns);
    report_.other_cores = std::max(0.0, others / elapsed);
    measured_ = report_.requests;
  }

  void show_progress(std::uint64_t now) {
    static const bool show = isatty(2) != 0;
    next_progress_ = show ? now + 1'000'000'000U : ~std::uint64_t{0};
    if (!show) return;
    std::fprintf(stderr, "\r%.0f s of %.0f, %llu requests ",
                 static_cast<double>(now - start_) / 1e9, options_.warmup + options_.seconds,
                 static_cast<unsigned long long>(report_.requests));
  }

  // Open loop: request k is due at start + k / rate, on connection k modulo their number.
  std::uint64_t due_time(std::uint64_t request) const {
    return start_ + static_cast<std::uint64_t>(static_cast<double>(request) * 1e9 / options_.rate);
  }

  void send_due(std::uint64_t now) {
    for (auto due = due_time(next_request_); due <= now && due < window_end_;
         due = due_time(next_request_)) {
      auto& peer = peers_[next_request_ % peers_.size()];
      if (phase_ == phase::measuring) {
        report_.latest_send_ns = std::max(report_.latest_send_ns, now - due);
      }
      ++next_request_;
      ++in_flight_;
      ++peer.queued;
      if (!peer.blocked) flush(peer);
    }
  }

  // Closed loop.
  void enqueue(connection& peer, std::size_t count, std::uint64_t now) {
    for (std::size_t index = 0; index < count; ++index) {
      send_times_[peer.id * options_.pipeline + peer.queued++ % options_.pipeline] = now;
    }
    in_flight_ += count;
    if (!peer.blocked) flush(peer);
  }

  void flush(connection& peer) {
    while (peer.sent < peer.queued) {
      const auto bytes =
          stream_.bytes(peer.id, peer.sent, peer.sent_offset, peer.queued - peer.sent);
      const auto count = send(peer.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) die("send");
        if (!std::exchange(peer.blocked, true)) watch(peer, EPOLL_CTL_MOD);
        return;
      }
      const auto position = peer.sent_offset + static_cast<std::size_t>(count);
      peer.sent += position / stream_.size();
      peer.sent_offset = position % stream_.size();
    }
    if (std::exchange(peer.blocked, false)) [[unlikely]]
      watch(peer, EPOLL_CTL_MOD);
  }

  void wait(std::uint64_t now) {
    timespec timeout{0, 100'000'000};
    if (options_.rate > 0 && phase_ != phase::draining) {
      const auto due = due_time(next_request_);
      const auto left = options_.spin || due <= now ? 0 : std::min(due - now, 100'000'000UL);
      timeout.tv_nsec = static_cast<long>(left);
    }
    constexpr int events_max = std::tuple_size_v<decltype(events_)>;
    const int count = epoll_pwait2(epoll_, events_.data(), events_max, &timeout, nullptr);
    if (count < 0 && errno != EINTR) die("epoll_pwait2");
    for (int index = 0; index < count; ++index) {
      const auto& event = events_[static_cast<std::size_t>(index)];
      auto& peer = peers_[event.data.u32];
      if (peer.blocked && (event.events & EPOLLOUT) != 0) [[unlikely]]
        flush(peer);
      if ((event.events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) on_readable(peer);
    }
  }

  void on_readable(connection& peer) {
    const auto count = recv(peer.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      die("recv");
    }
    if (count == 0) fail("the server closed a connection");
    const auto now = now_ns();
    std::size_t completed = 0;
    for (std::string_view rest(buffer_.data(), static_cast<std::size_t>(count)); !rest.empty();) {
      if (peer.received == peer.sent && peer.received_offset >= peer.sent_offset) {
        fail("the server sent more than it got");
      }
      const auto part = rest.substr(0, stream_.size() - peer.received_offset);
      if (!stream_.check(peer.id, peer.received, peer.received_offset, part)) {
        fail("the echo differs from what was sent");
      }
      rest.remove_prefix(part.size());
      peer.received_offset += part.size();
      if (peer.received_offset < stream_.size()) break;
      peer.received_offset = 0;
      on_reply(peer, peer.received++, now);
      ++completed;
    }
    if (options_.rate == 0 && completed != 0) enqueue(peer, completed, now);
  }

  void on_reply(const connection& peer, std::uint64_t number, std::uint64_t now) {
    --in_flight_;
    ++report_.requests;
    if (phase_ == phase::warmup) return;
    std::uint64_t begin;
    if (options_.rate > 0) {
      begin = due_time(number * peers_.size() + peer.id);
      if (begin < window_begin_ || begin >= window_end_) return;
    } else {
      begin = send_times_[peer.id * options_.pipeline + number % options_.pipeline];
    }
    record(peer.id, number, now > begin ? now - begin : 0);
  }

  void record(std::uint32_t id, std::uint64_t number, std::uint64_t latency) {
    (stream_.computes(id, number) ? compute_latencies_ : latencies_).record(latency);
  }

  // Requests that never came back count with the time that we waited for them.
  void count_unanswered() {
    const auto now = now_ns();
    for (const auto& peer : peers_) {
      for (auto number = peer.received; number < peer.queued; ++number) {
        ++report_.unanswered;
        const auto due = due_time(number * peers_.size() + peer.id);
        if (due >= window_begin_) record(peer.id, number, now - due);
      }
    }
  }

  const load_options& options_;
  message_stream stream_;
  const int epoll_;
  std::vector<connection> peers_;
  std::vector<std::uint64_t> send_times_;
  std::vector<char> buffer_;
  std::array<epoll_event, 256> events_;
  phase phase_ = phase::warmup;
  std::uint64_t start_ = 0, window_begin_ = 0, window_end_ = 0, next_progress_ = 0;
  std::uint64_t next_request_ = 0;
  std::uint64_t in_flight_ = 0;
  std::uint64_t measured_ = 0;
  machine_time machine_;
  std::uint64_t own_cpu_ = 0, server_cpu_ = 0;
  window_report report_;
  histogram latencies_;
  histogram compute_latencies_;
};

}  // namespace bare
