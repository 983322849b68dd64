#include <magpie/runtime/process.hpp>

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/shielded.hpp>
#include <magpie/runtime/spawn.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/unique_fd.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <mutex>
#include <new>

namespace magpie::process {
namespace {

constexpr int first_free_number = 3;     // behind the standard streams
constexpr int drop_wait_max_ms = 1'000;  // how long a drop outside of a runtime waits
constexpr auto id_of_pidfd = static_cast<idtype_t>(3);  // P_PIDFD, which older libcs do not name

/// Asks for the end of the process and reaps it: 0, EAGAIN while it runs, or an errno.
int reap(int pidfd, std::optional<exit_status>& status) noexcept {
  siginfo_t info{};
  int failed;
  do {
    failed = ::waitid(id_of_pidfd, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
  } while (failed != 0 && errno == EINTR);
  if (failed != 0) return errno;
  if (info.si_pid == 0) return EAGAIN;
  status = info.si_code == CLD_EXITED ? exit_status::exited(info.si_status)
                                      : exit_status::killed(info.si_status);
  return 0;
}

int send_signal(int pidfd, int signal) noexcept {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0 || errno == ESRCH) return 0;
  return errno;
}

// ---- children that nobody waits for ------------------------------------------------------------

/// Processes that could not be reaped when their child was dropped; asked again at each spawn and
/// each drop.
class orphanage {
 public:
  void add(int pidfd) noexcept {
    const std::lock_guard lock(mutex_);
    pidfds_.emplace_back(pidfd);
  }
  void sweep() noexcept {
    const std::lock_guard lock(mutex_);
    std::erase_if(pidfds_, [](const unique_fd& fd) {
      std::optional<exit_status> status;
      return reap(fd.get(), status) != EAGAIN;
    });
  }

 private:
  std::mutex mutex_;
  std::vector<unique_fd> pidfds_;
};

/// Never destroyed: children may be dropped at the very end of a program.
orphanage& orphans() noexcept {
  alignas(orphanage) static std::byte memory[sizeof(orphanage)];
  static orphanage& all = *::new (static_cast<void*>(memory)) orphanage;
  return all;
}

/// A process on its way to be reaped; goes to the orphans if that does not come about.
class orphan {
 public:
  explicit orphan(magpie::detail::async_fd pidfd) noexcept : pidfd_(std::move(pidfd)) {}
  orphan(orphan&&) noexcept = default;
  orphan& operator=(orphan&&) = delete;
  ~orphan() {
    if (!pidfd_.is_open() || status_ || reap(pidfd_.get(), status_) != EAGAIN) return;
    orphans().add(::fcntl(pidfd_.get(), F_DUPFD_CLOEXEC, first_free_number));
  }

  detail::wait_operation wait() noexcept { return {pidfd_, status_}; }

 private:
  magpie::detail::async_fd pidfd_;
  std::optional<exit_status> status_;
};

task<> reaps(orphan process, bool was_killed) {
  if (was_killed) {
    static_cast<void>(co_await as_result(shielded(process.wait())));
  } else {
    static_cast<void>(co_await as_result(process.wait()));
  }
}

bool in_simulation() noexcept {
  const magpie::detail::context* const here = magpie::detail::current_context;
  return here != nullptr && here->home->world() != nullptr;
}

}  // namespace

int detail::wait_operation::transfer() noexcept { return *status_ ? 0 : reap(fd(), *status_); }

// ---- child -------------------------------------------------------------------------------------

child& child::operator=(child&& other) noexcept {
  if (this == &other) return *this;
  drop();
  pidfd_ = std::move(other.pidfd_);
  pid_ = other.pid_;
  kill_on_drop_ = other.kill_on_drop_;
  status_ = other.status_;
  input_ = std::move(other.input_);
  output_ = std::move(other.output_);
  error_ = std::move(other.error_);
  return *this;
}

void child::drop() noexcept {
  if (!pidfd_.is_open() || status_) return;
  if (kill_on_drop_) send_signal(pidfd_.get(), SIGKILL);
  orphans().sweep();
  if (reap(pidfd_.get(), status_) != EAGAIN) return;
  if (on_worker() && !in_simulation()) {
    magpie::spawn(reaps(orphan(std::move(pidfd_)), kill_on_drop_)).detach();
    return;
  }
  if (kill_on_drop_) {
    pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    static_cast<void>(::poll(&ended, 1, drop_wait_max_ms));
  }
  const orphan left(std::move(pidfd_));
}

result<std::optional<exit_status>> child::try_wait() noexcept {
  if (!status_) {
    const int error = reap(pidfd_.get(), status_);
    if (error != 0 && error != EAGAIN) return std::unexpected(errno_code(error));
  }
  return status_;
}

result<void> child::kill(int signal) noexcept {
  if (status_) return {};
  if (const int error = send_signal(pidfd_.get(), signal))
    return std::unexpected(errno_code(error));
  return {};
}

task<exit_status> child::terminate(std::chrono::nanoseconds grace) {
  co_await kill(SIGTERM);
  const auto ended = co_await as_result(timeout(grace, wait()));
  if (ended) co_return *ended;
  if (ended.error() != errc::deadline) co_await fail(ended.error());
  co_await kill(SIGKILL);
  const exit_status status = co_await wait();
  co_return status;
}

// ---- command -----------------------------------------------------------------------------------

command::command(std::string program) : program_(std::move(program)) {}

command& command::arg(std::string value) {
  args_.push_back(std::move(value));
  return *this;
}

command& command::env(std::string_view name, std::string_view value) {
  env_.emplace_back(name, value);
  return *this;
}

command& command::env_remove(std::string_view name) {
  env_.emplace_back(name, std::nullopt);
  return *this;
}

command& command::env_clear() {
  env_.clear();
  env_cleared_ = true;
  return *this;
}

command& command::cwd(std::string path) {
  cwd_ = std::move(path);
  return *this;
}

command& command::input(stdio from) noexcept {
  stdio_[0] = from;
  return *this;
}

command& command::output(stdio to) noexcept {
  stdio_[1] = to;
  return *this;
}

command& command::error(stdio to) noexcept {
  stdio_[2] = to;
  return *this;
}

command& command::kill_on_drop(bool on) noexcept {
  kill_on_drop_ = on;
  return *this;
}

/// "NAME=value" for each variable, the last word on each winning.
std::vector<std::string> command::environment() const {
  std::vector<std::string> all;
  if (!env_cleared_)
    for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
  for (const auto& [name, value] : env_) {
    const std::string begin = name + '=';
    std::erase_if(all, [&](const std::string& entry) { return entry.starts_with(begin); });
    if (value) all.push_back(begin + *value);
  }
  return all;
}

/// The descriptors of one spawn: for each standard stream the child's end and ours.
struct command::streams {
  unique_fd childs[3];
  unique_fd ours[3];

  /// A copy behind the standard streams, so that placing one does not hit another.
  static int copied(int fd, unique_fd& to) noexcept {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, first_free_number);
    if (copy < 0) return errno;
    to.reset(copy);
    return 0;
  }

  int open_pipe(int at) noexcept {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
    const unique_fd reading(ends[0]);
    const unique_fd writing(ends[1]);
    const bool childs_reads = at == 0;
    if (const int error = copied(childs_reads ? ends[0] : ends[1], childs[at])) return error;
    if (const int error = copied(childs_reads ? ends[1] : ends[0], ours[at])) return error;
    // Of our end alone: the child expects one that blocks.
    return ::fcntl(ours[at].get(), F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
  }

  int open(int at, const stdio& wanted) noexcept {
    switch (wanted.what_) {
      case stdio::kind::inherit:
        return 0;
      case stdio::kind::piped:
        return open_pipe(at);
      case stdio::kind::given:
        return copied(wanted.number_, childs[at]);
      case stdio::kind::null:
        break;
    }
    const unique_fd null(::open("/dev/null", (at == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
    return null ? copied(null.get(), childs[at]) : errno;
  }
};

namespace {

/// What posix_spawn wants to know; the first failure of a setter is kept.
class spawn_plan {
 public:
  spawn_plan() noexcept {
    note(::posix_spawn_file_actions_init(&actions_));
    note(::posix_spawnattr_init(&attributes_));
    sigset_t none;
    sigset_t defaults;
    ::sigemptyset(&none);
    ::sigemptyset(&defaults);
    ::sigaddset(&defaults, SIGPIPE);
    note(::posix_spawnattr_setsigmask(&attributes_, &none));
    note(::posix_spawnattr_setsigdefault(&attributes_, &defaults));
    note(::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }
  spawn_plan(const spawn_plan&) = delete;
  spawn_plan& operator=(const spawn_plan&) = delete;
  ~spawn_plan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  void place(int fd, int at) noexcept {
    note(::posix_spawn_file_actions_adddup2(&actions_, fd, at));
  }
  void enter(const char* path) noexcept {
    note(::posix_spawn_file_actions_addchdir_np(&actions_, path));
  }

  /// The child's end tells the parent why the program could not be executed.
  int go(pid_t& pid, const char* program, char** args, char** env) const noexcept {
    if (error_ != 0) return error_;
    return ::posix_spawnp(&pid, program, &actions_, &attributes_, args, env);
  }

 private:
  void note(int error) noexcept {
    if (error_ == 0) error_ = error;
  }
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  int error_ = 0;
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

result<child> command::spawn() const {
  if (in_simulation())
    return std::unexpected(std::make_error_code(std::errc::operation_not_supported));
  orphans().sweep();
  streams open;
  spawn_plan plan;
  for (int i = 0; i < 3; ++i) {
    if (const int error = open.open(i, stdio_[i])) return std::unexpected(errno_code(error));
    if (open.childs[i]) plan.place(open.childs[i].get(), i);
  }
  if (!cwd_.empty()) plan.enter(cwd_.c_str());
  std::vector<std::string> args;
  args.push_back(program_);
  args.insert(args.end(), args_.begin(), args_.end());
  std::vector<std::string> env = environment();

  child made;
  const int error =
      plan.go(made.pid_, program_.c_str(), pointers(args).data(), pointers(env).data());
  if (error != 0) return std::unexpected(errno_code(error));
  // Nobody but us reaps it, so the number is still its own.
  const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, made.pid_, 0));
  if (pidfd < 0) {
    const int reason = errno;
    ::kill(made.pid_, SIGKILL);
    while (::waitpid(made.pid_, nullptr, 0) < 0 && errno == EINTR) continue;
    return std::unexpected(errno_code(reason));
  }
  made.pidfd_ = magpie::detail::async_fd(pidfd);
  made.kill_on_drop_ = kill_on_drop_;
  made.input_ = pipe_writer(open.ours[0].release());
  made.output_ = pipe_reader(open.ours[1].release());
  made.error_ = pipe_reader(open.ours[2].release());
  return made;
}

}  // namespace magpie::process
