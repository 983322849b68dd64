/// How the reactor names its ring entries, and reads the words that it shares with the kernel.
///
/// Private header of uring_reactor.cpp and uring_probe.cpp.
#pragma once

#include <cstdint>

namespace magpie::uring_entry {

enum class entry_kind : std::uint8_t { wait = 1, wake = 2, cancel = 3, test = 4 };

/// `user_data`: slot index 32, generation 24, kind 8.
constexpr std::uint64_t tag(std::uint32_t slot, std::uint32_t generation,
                            entry_kind kind) noexcept {
  return (std::uint64_t{slot} << 32) | (std::uint64_t{generation & 0xff'ffff} << 8) |
         static_cast<std::uint8_t>(kind);
}

inline unsigned load_acquire(const unsigned* shared) noexcept {
  return __atomic_load_n(shared, __ATOMIC_ACQUIRE);  // pairs with the kernel's release
}

}  // namespace magpie::uring_entry
