#include <magpie/runtime/signal_table.hpp>

#include <magpie/util/errc.hpp>

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>

namespace magpie::detail {
namespace {

constexpr int numbers = 65;  // 1 to 64

struct action_of {
  unsigned listeners = 0;
  bool ours = false;  ///< The handler is installed.
  struct sigaction before = {};
};

constinit std::array<signal_slot, signal_listeners_max> slots;
constinit atomic<std::size_t> slots_used{0};  ///< Slots from there on were never open.
constinit atomic<int> ending_seen{0};

constinit std::mutex table_lock;  ///< Guards what follows, and the opening and closing of slots.
constinit std::array<action_of, numbers> actions;
constinit unsigned ending_listeners = 0;

struct delivery {
  bool told = false;
  bool ends = false;
};

/// Async-signal-safe.
void tell(int number, bool last_resort, delivery& done) noexcept {
  // Relaxed: a slot that is opened meanwhile need not hear of this signal.
  const std::size_t used = slots_used.load(order::relaxed);
  for (std::size_t i = 0; i != used; ++i) {
    signal_slot::entry found;
    if (!slots[i].open_for(number) || !slots[i].enter(number, found)) continue;
    if ((found.use == signal_use::last_resort) == last_resort) {
      const auto count = static_cast<std::uint64_t>(number);
      [[maybe_unused]] const ssize_t written = ::write(found.fd, &count, sizeof count);
      done.told = true;
      done.ends |= found.use != signal_use::listens;
    }
    slots[i].leave();
  }
}

extern "C" void on_signal(int number) noexcept {
  const int saved = errno;
  delivery done;
  tell(number, false, done);
  if (!done.told) tell(number, true, done);
  // Relaxed: only its own value counts.
  if (done.ends && ending_seen.fetch_add(1, order::relaxed) != 0) ::_exit(128 + number);
  errno = saved;
}

bool may_be_handled(int number) noexcept {
  switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:  // what the hardware raises cannot be handled later
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
      return false;
    default:
      return number > 0 && number < numbers;
  }
}

/// Under the lock.  One that is ignored stays so for a last resort: a shell starts the background
/// commands of a script like that, and a Ctrl+C there is not meant for them.
std::error_code install(int number, signal_use use) noexcept {
  action_of& action = actions[static_cast<std::size_t>(number)];
  if (action.ours) return {};
  if (::sigaction(number, nullptr, &action.before) != 0) return errno_code(errno);
  if (use == signal_use::last_resort && action.before.sa_handler == SIG_IGN) return {};
  struct sigaction wanted = {};
  wanted.sa_handler = &on_signal;
  wanted.sa_flags = SA_RESTART | SA_ONSTACK;
  ::sigfillset(&wanted.sa_mask);  // no handler comes in between
  // It fails for those that the C library keeps for itself.
  if (::sigaction(number, &wanted, nullptr) != 0) return errno_code(errno);
  action.ours = true;
  return {};
}

/// Under the lock, for the last listener.
void put_back(int number) noexcept {
  action_of& action = actions[static_cast<std::size_t>(number)];
  struct sigaction now = {};
  if (!std::exchange(action.ours, false) || ::sigaction(number, nullptr, &now) != 0 ||
      now.sa_handler != &on_signal)
    return;
  ::sigaction(number, &action.before, nullptr);
}

signal_slot* free_slot() noexcept {
  for (std::size_t i = 0; i != slots.size(); ++i) {
    if (slots[i].is_open()) continue;
    if (i >= slots_used.load(order::relaxed)) slots_used.store(i + 1, order::relaxed);
    return &slots[i];
  }
  return nullptr;
}

}  // namespace

std::error_code signal_registration::begin(int number, int fd, signal_use use) noexcept {
  MAGPIE_ASSERT(slot_ == nullptr);
  if (!may_be_handled(number)) return std::make_error_code(std::errc::invalid_argument);
  const std::lock_guard lock(table_lock);
  signal_slot* const slot = free_slot();
  if (slot == nullptr) return std::make_error_code(std::errc::resource_unavailable_try_again);
  if (use != signal_use::listens && ending_listeners++ == 0)
    ending_seen.store(0, order::relaxed);  // only its own value counts
  slot->open({number, fd, use});
  if (const std::error_code error = install(number, use)) {
    slot->close();
    if (use != signal_use::listens) --ending_listeners;
    return error;
  }
  ++actions[static_cast<std::size_t>(number)].listeners;
  slot_ = slot;
  number_ = number;
  ends_ = use != signal_use::listens;
  return {};
}

void signal_registration::end() noexcept {
  if (slot_ == nullptr) return;
  const std::lock_guard lock(table_lock);
  if (--actions[static_cast<std::size_t>(number_)].listeners == 0) put_back(number_);
  slot_->close();
  if (ends_) --ending_listeners;
  slot_ = nullptr;
}

int ending_signals_seen() noexcept { return ending_seen.load(order::relaxed); }

int make_eventfd() noexcept { return ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

}  // namespace magpie::detail
