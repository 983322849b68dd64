/// The entries of a `keyed_rate_limiter`, without their keys: a table with a bound, whose entries
/// go when they say nothing any more.
///
/// Idea: a limiter that is full again is like one that was never used.  So an entry may be
/// forgotten when its limiter is full and nobody is at it, and no key can tell.  Entries are
/// spread over shards by their hash.  Each shard has a lock, a hash table with chains, and a list
/// of those that nobody is at, in the order in which they were left.
///
///     entry              pins   in the list   may be forgotten
///     somebody is at it  > 0    no            no
///     was left           0      yes           when its limiter is full
///
/// Who brings a new entry looks at some of those that were left longest ago, as they have had the
/// most time to get full, and forgets the first that may be.  Those that may not go to the back, so
/// that who comes next looks at others, and a few that never get full are in nobody's way.  Only
/// when there are as many entries as there may be does it matter if there was none: then the new
/// one is refused.  Entries are made and destroyed without the lock.
///
/// Threads: any.
#pragma once

#include <magpie/sync/rate_limiter.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/cache_line.hpp>
#include <magpie/util/intrusive_list.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace magpie::sync::detail {

/// One key's; what derives from it has the key.
struct keyed_entry : list_node {
  keyed_entry(std::uint64_t hashed, const rate_limit& limit) noexcept
      : hash(hashed), limiter(limit) {}

  std::uint64_t hash;
  keyed_entry* next = nullptr;  ///< Of its chain, or of those that are forgotten.
  std::size_t pins = 0;         ///< How many are at it.
  rate_limiter limiter;
};

/// A part of the entries.
class alignas(cache_line_size) keyed_shard {
 public:
  /// How many entries are looked at for one that may be forgotten.
  static constexpr int looks_max = 8;

  keyed_shard() noexcept = default;
  keyed_shard(const keyed_shard&) = delete;
  keyed_shard& operator=(const keyed_shard&) = delete;
  /// All have been taken out.
  ~keyed_shard() { MAGPIE_ASSERT(size_ == 0 && "destroyed while somebody waits"); }

  /// Before it is used.
  void set_bound(std::size_t entries_max);

  void lock() noexcept { lock_.lock(); }
  void unlock() noexcept { lock_.unlock(); }

  // ---- under the lock ----

  /// The entry of this hash that `is` takes for its own, pinned; or null.
  template <class Is>
  keyed_entry* pin(std::uint64_t hash, const Is& is) noexcept {
    for (keyed_entry* one = *chain_of(hash); one != nullptr; one = one->next) {
      if (one->hash != hash || !is(*one)) continue;
      if (one->pins++ == 0) one->unlink();
      return one;
    }
    return nullptr;
  }

  /// Puts a new entry in, pinned, which is in no shard yet; false if there is no room.  One that
  /// has made room for it is put in front of `forgotten`, for the caller to destroy.
  bool add(keyed_entry& one, keyed_entry*& forgotten) noexcept;

  void unpin(keyed_entry& one) noexcept;

  /// Takes one out that nobody is at, for the caller to destroy; null when there is none.
  keyed_entry* take_any() noexcept;

  std::size_t size() const noexcept { return size_; }

 private:
  keyed_entry** chain_of(std::uint64_t hash) noexcept {
    return &chains_[static_cast<std::size_t>(hash & (chains_.size() - 1))];
  }
  void take_out(keyed_entry& one) noexcept;

  spin_lock lock_;
  std::size_t size_ = 0;
  std::size_t size_max_ = 0;
  std::vector<keyed_entry*> chains_;  // a power of two of them
  intrusive_list<keyed_entry> left_;  // those left, or looked at, longest ago in front
};

}  // namespace magpie::sync::detail
