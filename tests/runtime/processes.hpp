/// Programs to start, and whether they are gone.
#pragma once

#include <magpie/runtime/process.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/tests/runtime/cell.hpp>

#include <signal.h>
#include <sys/types.h>

#include <cerrno>

namespace magpie::tests {

inline process::command shell(const char* script) {
  process::command made("/bin/sh");
  made.arg("-c").arg(script);
  return made;
}

/// Does nothing until it is killed.
inline process::command sleeper() {
  process::command made("sleep");
  made.arg("1000");
  return made;
}

/// Gone altogether: neither a process nor a zombie.
inline bool is_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

inline task<> until_gone(pid_t pid) {
  while (!is_gone(pid)) co_await sleep_for(1ms);
}

}  // namespace magpie::tests
