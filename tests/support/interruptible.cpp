// Preloaded by a system test: SIGUSR1 has a handler that does nothing and does not restart what it
// interrupts, as in a program that embeds Magpie and uses signals for its own ends.
#include <signal.h>

namespace {

extern "C" void do_nothing(int) noexcept {}

[[gnu::constructor]] void install() noexcept {
  struct sigaction action = {};
  action.sa_handler = &do_nothing;
  ::sigaction(SIGUSR1, &action, nullptr);
}

}  // namespace
