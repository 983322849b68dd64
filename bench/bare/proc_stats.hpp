// CPU time and memory of the server under test, read by the load generator itself so that the
// figures cover exactly the window in which the requests were counted. The process clock counts
// in nanoseconds (the scheduler's sum over all threads, ended ones too), where /proc/PID/stat
// counts in ticks of 10 ms; it lags by at most one timer tick for a thread that is running.
#pragma once

#include <magpie/bench/bare/common.hpp>

#include <sys/types.h>

#include <fstream>

namespace bare {

/// User and system time of a process; `pid` 0 means this one.
inline std::uint64_t process_cpu_ns(pid_t pid) {
  clockid_t clock;
  timespec time;
  if (const int error = clock_getcpuclockid(pid, &clock); error != 0) die("--server-pid", error);
  if (clock_gettime(clock, &time) != 0) die("--server-pid");
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(time.tv_nsec);
}

/// What the whole machine has been doing, all cores together.
struct machine_time {
  std::uint64_t busy_ns = 0;
  std::uint64_t steal_ns = 0;  // taken by the hypervisor

  static machine_time read() {
    std::ifstream file("/proc/stat");
    std::string label;
    std::uint64_t user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0;
    std::uint64_t steal = 0;
    file >> label >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
    const auto tick_ns = 1'000'000'000U / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
    return {(user + nice + system + irq + softirq) * tick_ns, steal * tick_ns};
  }
};

/// Memory that belongs to the process alone, in bytes (-1 when it cannot be read).
inline std::int64_t private_memory(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::string word;
  std::int64_t kib = -1;
  while (file >> word) {
    if (word == "Private_Dirty:" && file >> kib) return kib * 1024;
  }
  return -1;
}

}  // namespace bare
