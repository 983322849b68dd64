// The floor for Magpie's epoll reactor: an echo server that is nothing but a loop over epoll_wait,
// one epoll instance and one thread per worker, one receive buffer per worker that stays hot in the
// cache. Two forms:
//   level  level-triggered, one recv and one send per event: the best that epoll does here;
//   edge   Magpie's method: registered once for IN|OUT|RDHUP, edge-triggered; a short read proves
//          the socket empty, so that no further recv is made until the next event; inline send.
#include <magpie/bench/bare/server.hpp>

#include <sys/epoll.h>

#include <memory>
#include <thread>

namespace bare {
namespace {

constexpr std::uint32_t edge_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

enum class verdict { next, blocked, closed };

class epoll_worker {
 public:
  epoll_worker(const server_options& options, descriptor_table<backlog*>& backlogs)
      : options_(options),
        edge_(options.form == "edge"),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        buffer_(options.buffer_size),
        backlogs_(backlogs) {
    if (epoll_ < 0) die("epoll_create1");
  }

  /// Called by the acceptor's thread; epoll_ctl may be called beside epoll_wait.
  void add(int fd) {
    epoll_event event{.events = edge_ ? edge_events : EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      const int count = epoll_wait(epoll_, events.data(), events.size(), -1);
      for (int index = 0; index < count; ++index) {
        const auto& event = events[static_cast<std::size_t>(index)];
        if (edge_) {
          on_edge(event.data.fd, event.events);
        } else {
          on_level(event.data.fd);
        }
      }
    }
  }

 private:
  void on_level(int fd) {
    if (backlogs_[fd] != nullptr) [[unlikely]] {
      const auto flushed = flush(fd);
      if (flushed == verdict::closed) return close_connection(fd);
      if (flushed == verdict::next) watch_level(fd, EPOLLIN);
      return;
    }
    const auto count = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (count <= 0) [[unlikely]] {
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
      return close_connection(fd);
    }
    const auto answered = answer(fd, static_cast<std::size_t>(count));
    if (answered == verdict::closed) [[unlikely]]
      close_connection(fd);
    // Level-triggered IN would fire for ever while we wait for room, so that OUT replaces it.
    if (answered == verdict::blocked) [[unlikely]]
      watch_level(fd, EPOLLOUT);
  }

  void on_edge(int fd, std::uint32_t events) {
    if (backlogs_[fd] != nullptr) [[unlikely]] {
      if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) == 0) return;
      const auto flushed = flush(fd);
      if (flushed == verdict::closed) return close_connection(fd);
      if (flushed == verdict::blocked) return;
      // What came in while we waited for room made its edge then: go on and read.
    }
    const bool ending = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    for (;;) {
      const auto count = recv(fd, buffer_.data(), buffer_.size(), 0);
      if (count <= 0) [[unlikely]] {
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0 && errno == EINTR) continue;
        return close_connection(fd);
      }
      const auto answered = answer(fd, static_cast<std::size_t>(count));
      if (answered == verdict::closed) [[unlikely]]
        return close_connection(fd);
      if (answered == verdict::blocked) [[unlikely]]
        return;
      if (static_cast<std::size_t>(count) < buffer_.size() && !ending) return;
    }
  }

  verdict answer(int fd, std::size_t size) {
    compute_if_asked(options_, buffer_.data());
    const auto sent = send(fd, buffer_.data(), size, MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(size)) [[likely]]
      return verdict::next;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return verdict::closed;
    const auto taken = static_cast<std::size_t>(sent < 0 ? 0 : sent);
    backlogs_[fd] = new backlog{.bytes = {buffer_.data() + taken, buffer_.data() + size}};
    return flush(fd);  // so that the kernel notes that we wait for room
  }

  verdict flush(int fd) {
    auto& waiting = *backlogs_[fd];
    while (waiting.sent < waiting.bytes.size()) {
      const auto sent = send(fd, waiting.bytes.data() + waiting.sent,
                             waiting.bytes.size() - waiting.sent, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return errno == EAGAIN ? verdict::blocked : verdict::closed;
      waiting.sent += static_cast<std::size_t>(sent);
    }
    delete std::exchange(backlogs_[fd], nullptr);
    return verdict::next;
  }

  void watch_level(int fd, std::uint32_t events) {
    epoll_event event{.events = events, .data = {.fd = fd}};
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0) die("epoll_ctl");
  }

  void close_connection(int fd) {
    delete std::exchange(backlogs_[fd], nullptr);
    close(fd);  // last: from here on the acceptor may hand the number to another worker
  }

  const server_options& options_;
  const bool edge_;
  const int epoll_;
  std::vector<std::byte> buffer_;
  descriptor_table<backlog*>& backlogs_;
};

}  // namespace
}  // namespace bare

int main(int argc, char** argv) {
  using namespace bare;
  static constexpr std::array<const char*, 2> forms = {"level", "edge"};
  const auto options = parse_server_options(argc, argv, forms);
  exit_on_signals();
  descriptor_table<backlog*> backlogs(raise_descriptor_limit());
  const int listener = make_listener(options, argv[0]);
  std::vector<std::unique_ptr<epoll_worker>> workers;
  std::vector<std::jthread> threads;
  for (unsigned index = 0; index < options.workers; ++index) {
    workers.push_back(std::make_unique<epoll_worker>(options, backlogs));
    threads.emplace_back([worker = workers.back().get()] { worker->run(); });
  }
  announce(listener, "bare-epoll-" + options.form, options.workers);
  accept_for_ever(listener, options.workers, SOCK_NONBLOCK,
                  [&](int fd, unsigned worker) { workers[worker]->add(fd); });
}
