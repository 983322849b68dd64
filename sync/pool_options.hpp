/// What a pool is told, and what it tells: limits, counts, and what is known of each object.
///
/// Every limit has a default, so that nothing is without one.  A time of `clock::duration::max()`
/// never passes.
#pragma once

#include <magpie/runtime/clock.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace magpie::sync {

/// Which of the idle objects is taken next.
enum class pool_order : std::uint8_t {
  fifo,  ///< The one that has been idle for longest: all are used, and stay alive.
  lifo,  ///< The one that was used last: the others become idle for good, and go.
};

struct pool_options {
  pool_options() noexcept = default;
  explicit pool_options(std::size_t size) noexcept : size_max(size) {}

  std::size_t size_max = 10;  ///< How many objects there are, idle ones included.
  std::size_t idle_min = 0;   ///< How many idle ones `maintain` keeps ready; `idle_max` at most.
  std::size_t idle_max = ~std::size_t{0};  ///< How many are kept when nobody wants them.
  std::size_t waiting_max = 1024;          ///< How many wait in line; the next is refused.
  pool_order order = pool_order::fifo;

  clock::duration wait_time_max = std::chrono::seconds(30);    ///< In line.
  clock::duration create_time_max = std::chrono::seconds(30);  ///< For one `create`.
  clock::duration recycle_time_max = std::chrono::seconds(5);  ///< For one `recycle`.
  clock::duration age_max = std::chrono::minutes(30);          ///< Of an object, since it was made.
  clock::duration idle_time_max = std::chrono::minutes(10);    ///< Since it was used.
  clock::duration maintain_every = std::chrono::seconds(30);   ///< How often `maintain` looks.
};

/// Why an object is no longer in its pool.
enum class pool_end : std::uint8_t {
  unfit,          ///< `recycle` failed, said no, or took too long.
  broken,         ///< `is_broken` said so when it came back, or its user did.
  too_old,        ///< Past `age_max`.
  idle_too_long,  ///< Past `idle_time_max`.
  surplus,        ///< More than `size_max` after a `resize`, or than `idle_max`.
  not_retained,   ///< The predicate of `retain` said no.
  abandoned,      ///< Its `get` was stopped while it was being recycled.
  closed,         ///< The pool was closed.
  detached,       ///< Its user has taken it.
  evicted,        ///< Of a `keyed_pool`: it made room for one of another key.
};
inline constexpr std::size_t pool_end_count = 10;

/// What a pool knows of one object.
struct pool_object_metrics {
  clock::time_point created;
  clock::time_point last_used;  ///< When it came back; when it was made, before that.
  std::uint64_t recycled = 0;   ///< How often it was given out again.
};

/// How many have come to what since the beginning, and how many there are now.
struct pool_counts {
  std::size_t size_max = 0;
  std::size_t size = 0;  ///< Objects: those that are out, idle, and being made.
  std::size_t idle = 0;
  std::size_t being_made = 0;
  std::size_t waiting = 0;  ///< Tasks in line.

  std::uint64_t given = 0;  ///< Objects that somebody got.
  std::uint64_t created = 0;
  std::uint64_t create_failed = 0;  ///< `create` failed, was stopped or took too long.
  std::uint64_t waited = 0;         ///< Those who had to wait in line.
  std::uint64_t timed_out = 0;      ///< Those who waited in line for too long.
  std::uint64_t refused = 0;        ///< The line was full.
  std::array<std::uint64_t, pool_end_count> ended{};

  std::uint64_t ended_by(pool_end how) const noexcept {
    return ended[static_cast<std::size_t>(how)];
  }
  /// How many objects have left the pool; what was created and has not is there.
  std::uint64_t all_ended() const noexcept {
    std::uint64_t sum = 0;
    for (const std::uint64_t each : ended) sum += each;
    return sum;
  }
};

}  // namespace magpie::sync
