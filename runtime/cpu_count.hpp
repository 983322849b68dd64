/// How many CPUs this process may use: the affinity mask, capped by the cgroup's quota.
#pragma once

#include <cstddef>

namespace magpie {

/// At least 1.  Reads /proc and /sys/fs/cgroup (v2, then v1); a quota of 1.5 CPUs counts as 2.
std::size_t usable_cpus() noexcept;

namespace detail {

/// The quota of a cgroup v2 `cpu.max` text ("max 100000" or "150000 100000"), rounded up; 0: none.
std::size_t parse_cpu_max(const char* text) noexcept;

}  // namespace detail
}  // namespace magpie
