/// A loan of the worker's hot buffer: bytes that arrived, without a buffer of one's own.
///
/// Every worker has one buffer, shared by all tasks that run on it, so it stays in the cache and an
/// idle connection holds none.  `read_leased` fills it and lends it to the task.  The lease must be
/// gone (destroyed, or `give_back` called) before the task suspends: the next task on this worker
/// uses the same buffer.  What has to outlive a suspension is copied out first:
///
///     auto arrived = co_await peer.read_leased();
///     auto sent = peer.try_write(arrived.bytes());       // does not suspend
///
/// Invariants, asserted: one lease at a time is out on a worker; it is given back on the worker
/// that lent it.
#pragma once

#include <magpie/runtime/context.hpp>
#include <magpie/util/assert.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace magpie::net {

namespace detail {

class leased_read_operation;

/// True while a lease is out on this thread.
MAGPIE_TLS extern constinit thread_local bool hot_buffer_lent;

}  // namespace detail

class [[nodiscard]] lease {
 public:
  /// Nothing.
  lease() noexcept = default;
  lease(lease&& other) noexcept
      : bytes_(std::exchange(other.bytes_, {})), home_(std::exchange(other.home_, nullptr)) {}
  lease& operator=(lease&& other) noexcept {
    if (this != &other) {
      give_back();
      bytes_ = std::exchange(other.bytes_, {});
      home_ = std::exchange(other.home_, nullptr);
    }
    return *this;
  }
  ~lease() { give_back(); }

  /// What arrived.  May be written to.
  std::span<std::byte> bytes() const noexcept {
    check_home();
    return bytes_;
  }
  std::byte* data() const noexcept { return bytes().data(); }
  std::size_t size() const noexcept { return bytes_.size(); }
  bool empty() const noexcept { return bytes_.empty(); }

  /// Ends the loan early; the lease is empty afterwards.
  void give_back() noexcept {
    if (home_ == nullptr) return;
    check_home();
    detail::hot_buffer_lent = false;
    home_ = nullptr;
    bytes_ = {};
  }

 private:
  friend class detail::leased_read_operation;

  lease(magpie::detail::context& home, std::size_t size) noexcept
      : bytes_(home.hot_buffer, size), home_(&home) {
    MAGPIE_ASSERT(!detail::hot_buffer_lent &&
                  "a lease is still out on this worker: a task kept one across a suspension");
    detail::hot_buffer_lent = true;
  }

  void check_home() const noexcept {
    MAGPIE_ASSERT((home_ == nullptr || home_ == magpie::detail::current_context) &&
                  "a lease was kept across a suspension and is now on another worker");
  }

  std::span<std::byte> bytes_;
  const magpie::detail::context* home_ = nullptr;
};

}  // namespace magpie::net
