/// The process's registrations: a slab that only grows.
///
/// Events name a registration by index and generation.  An index stays valid for good: chunks are
/// never freed, so an event that is late, a canceller or a closing thread never touches memory that
/// is something else by now.  What is given back is used again, last in, first out, so the memory
/// follows the highest number of descriptors that were in use at the same time.
///
/// One slab for all reactors: a descriptor may be closed on a worker, or in a runtime, other than
/// that which registered it.
///
/// Threads: any.  `at` takes no lock.  Nothing is allocated while the lock is held.
#pragma once

#include <magpie/runtime/epoll_registration.hpp>
#include <magpie/runtime/reactor.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstddef>
#include <cstdint>

namespace magpie {

class epoll_slab {
 public:
  using registration = epoll_registration<readiness_operation>;

  static constexpr std::uint32_t chunk_size = 1024;
  static constexpr std::uint32_t chunks_max = 16 * 1024;

  constexpr epoll_slab() noexcept = default;
  epoll_slab(const epoll_slab&) = delete;
  epoll_slab& operator=(const epoll_slab&) = delete;

  /// A closed registration for the caller alone; null when there is no memory.
  [[nodiscard]] registration* take() noexcept;

  /// Takes a closed registration back.
  void give(registration& closed) noexcept;

  /// The registration with this index; null for an index that never existed.
  registration* at(std::uint32_t index) noexcept {
    if (index / chunk_size >= chunks_max) return nullptr;
    // (A) acquire pairs with (B) in grow: the chunk's registrations are initialised.
    registration* chunk = chunks_[index / chunk_size].load(order::acquire);
    return chunk == nullptr ? nullptr : &chunk[index % chunk_size];
  }

  /// Tells every registration that this epoll instance is about to be closed.
  void abandon(int epoll) noexcept;

  /// Registrations that exist, whether in use or not.
  std::size_t capacity() noexcept;

  /// Registrations in use.
  std::size_t used() noexcept;

 private:
  bool grow() noexcept;

  atomic<registration*> chunks_[chunks_max] = {};
  spin_lock lock_;
  // Guarded by lock_.
  registration* free_ = nullptr;
  std::uint32_t chunk_count_ = 0;
  std::uint32_t made_ = 0;  ///< Registrations that were handed out at least once.
  std::uint32_t free_count_ = 0;
};

/// The slab of this process.
epoll_slab& epoll_registrations() noexcept;

/// Ends the registration of `io`, if it has one; true when that took a system call.  For any
/// thread that is alone with `io`, whether the reactor that registered it lives or not.
bool end_registration(descriptor& io) noexcept;

}  // namespace magpie
