#include <magpie/runtime/cpu_count.hpp>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace magpie {
namespace {

constexpr std::size_t text_max = 4096;

/// Reads a small file into `into` as a string; false when there is none.
bool read_text(const char* path, char (&into)[text_max]) noexcept {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t count = ::read(fd, into, text_max - 1);
  ::close(fd);
  if (count <= 0) return false;
  into[count] = '\0';
  return true;
}

std::size_t affinity() noexcept {
  for (int cpus = 1024; cpus <= 65536; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (set == nullptr) return 1;
    const std::size_t size = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const bool known = ::sched_getaffinity(0, size, set) == 0;
    const int count = known ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (known) return static_cast<std::size_t>(std::max(count, 1));
  }
  return 1;
}

/// The tightest cpu.max from this process's cgroup v2 up to the root; 0: none.
std::size_t quota_v2() noexcept {
  char groups[text_max];
  if (!read_text("/proc/self/cgroup", groups)) return 0;
  char* line = std::strstr(groups, "0::/");
  if (line == nullptr || (line != groups && line[-1] != '\n')) return 0;
  char* group = line + 3;
  group[std::strcspn(group, "\n")] = '\0';
  std::size_t quota = 0;
  for (;;) {
    char path[text_max + 32];
    char text[text_max];
    std::snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
    if (read_text(path, text)) {
      const std::size_t here = detail::parse_cpu_max(text);
      if (here != 0) quota = quota == 0 ? here : std::min(quota, here);
    }
    char* slash = std::strrchr(group, '/');
    if (slash == nullptr) return quota;
    *slash = '\0';
  }
}

std::size_t quota_v1() noexcept {
  char quota[text_max];
  char period[text_max];
  if (!read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota) ||
      !read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period))
    return 0;
  const long long limit = std::atoll(quota);
  const long long every = std::atoll(period);
  return limit > 0 && every > 0
             ? static_cast<std::size_t>(limit / every + (limit % every != 0 ? 1 : 0))
             : 0;
}

}  // namespace

namespace detail {

std::size_t parse_cpu_max(const char* text) noexcept {
  long long limit = 0;
  long long every = 0;
  if (std::sscanf(text, "%lld %lld", &limit, &every) != 2 || limit <= 0 || every <= 0) return 0;
  return static_cast<std::size_t>(limit / every + (limit % every != 0 ? 1 : 0));
}

}  // namespace detail

std::size_t usable_cpus() noexcept {
  std::size_t count = affinity();
  if (std::size_t quota = quota_v2(); quota != 0 || (quota = quota_v1()) != 0)
    count = std::min(count, quota);
  return std::max<std::size_t>(count, 1);
}

}  // namespace magpie
