/// `keyed_rate_limiter`: a `rate_limiter` for each key, such as a client's address.
///
///     sync::keyed_rate_limiter<net::ip_address, hashed> clients(sync::rate_limit(100, 1s, 20));
///     …
///     co_await clients.acquire(peer.ip());             // or, in order to say no at once:
///     if (!clients.try_acquire(peer.ip())) co_return co_await answers(peer, 429);
///
/// What rate_limiter.hpp says holds for each key by itself: a burst and then an even rate, the
/// order of coming, and stops that cost nothing.  Keys do not wait for each other.
///
/// Only so many keys are remembered.  A key that is back at its full burst is like one that never
/// came, so it is forgotten when new ones come.  If there are as many as there may be and none of
/// those that were used longest ago is back at its burst, *a new key is refused*.  To forget one
/// that has used its tokens up would be to give it new ones: whoever can come under many names
/// would wash off its debts, and those of everybody else.  The keys that are known are served as
/// ever, and as soon as one has been quiet for a burst's time there is a place.  Let `keys_max` be
/// so large that this is an attack and no busy day.
///
/// The table is in keyed_entries.hpp.
/// Threads: any, for all but `acquire`, which is awaited on workers.
#pragma once

#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/sync/keyed_entries.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>
#include <magpie/util/spin_lock.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {

/// `Equal` is called under a lock: it must be short, and must not throw.
template <class Key, class Hash = std::hash<Key>, class Equal = std::equal_to<>>
class keyed_rate_limiter {
  static_assert(std::is_nothrow_destructible_v<Key> && std::is_copy_constructible_v<Key>);
  static_assert(noexcept(std::declval<const Equal&>()(std::declval<const Key&>(),
                                                      std::declval<const Key&>())),
                "keys are compared under a lock, and that must not throw");

 public:
  static constexpr std::size_t keys_max_default = 65'536;

  /// Each key has this limit; so many keys are remembered, from one on (asserted).  They are spread
  /// over parts of the table, each with its share of that number.
  /// Cost: the table takes 8 to 16 bytes for each key of `keys_max`.
  explicit keyed_rate_limiter(const rate_limit& each, std::size_t keys_max = keys_max_default)
      : limit_(each), parts_(keys_max < keys_of_many_parts ? 1 : parts_max) {
    MAGPIE_ASSERT(keys_max != 0);
    for (std::size_t i = 0; i != parts_; ++i)
      shards_[i].set_bound((keys_max + parts_ - 1) / parts_);
  }
  keyed_rate_limiter(const keyed_rate_limiter&) = delete;
  keyed_rate_limiter& operator=(const keyed_rate_limiter&) = delete;
  /// Nobody may be waiting (asserted).
  ~keyed_rate_limiter() {
    for (detail::keyed_shard& part : shards_)
      while (detail::keyed_entry* const one = part.take_any()) destroy(one);
  }

  /// Waits until `count` tokens of this key are there, and takes them.  None are had at once.
  /// Errors: refused, when the key is new and no more are remembered; invalid_argument if that is
  /// more than a burst; not_enough_memory; stopped.
  /// Stop: the place in the key's line is given up, and no token is taken.
  /// Threads: any number of tasks.  Cost: two frames and three spin locks; for who waits a timer,
  /// once it is first in its line; a pooled block for a key that is new.
  task<> acquire(Key key, std::uint64_t count = 1) {
    co_await consume_budget();  // a loop that is refused lets others run, and is stopped
    if (count == 0) co_return;
    if (count > limit_.burst) co_await fail(std::make_error_code(std::errc::invalid_argument));
    const visit at(*this, key);
    if (at.error()) co_await fail(at.error());
    co_await at.limiter().acquire(count);
  }

  /// Takes `count` tokens of this key if they are there and nobody waits for any.  Otherwise the
  /// error is the time after which it is worth while to try again, as of `rate_limiter`; `max` if
  /// that is never; a token's interval, if the key is new and refused.
  /// Threads: any.  Cost: three spin locks and the clock; a pooled block for a key that is new.
  std::expected<void, clock::duration> try_acquire(const Key& key, std::uint64_t count = 1) {
    if (count == 0) return {};
    if (count > limit_.burst) return std::unexpected(clock::duration::max());
    const visit at(*this, key);
    if (at.error()) return std::unexpected(interval());
    return at.limiter().try_acquire(count);
  }

  /// Tokens of this key that are there; as of `rate_limiter`.
  std::uint64_t available(const Key& key) const {
    const visit at(*this, key, typename visit::known_alone());
    return at.error() ? limit_.burst : at.limiter().available();
  }

  /// How many keys are remembered; a guess while others come.
  std::size_t size() const noexcept {
    std::size_t all = 0;
    for (std::size_t i = 0; i != parts_; ++i) {
      const lock_scope guard(shards_[i]);
      all += shards_[i].size();
    }
    return all;
  }

 private:
  static constexpr std::size_t parts_max = 16;  // a power of two
  static constexpr std::size_t keys_of_many_parts = 64 * parts_max;

  struct entry final : detail::keyed_entry {
    entry(std::uint64_t hashed, const rate_limit& limit, const Key& of)
        : keyed_entry(hashed, limit), key(of) {}
    Key key;
  };
  static_assert(alignof(entry) <= alignof(std::max_align_t));

  /// Being at the entry of a key, which stays meanwhile.
  class visit {
   public:
    struct known_alone {};

    visit(const keyed_rate_limiter& in, const Key& key) : visit(in, key, known_alone()) {
      if (one_ == nullptr) make(in, key);
    }
    visit(const keyed_rate_limiter& in, const Key& key, known_alone)
        : hash_(mixed(in.hash_(key))), part_(&in.part_of(hash_)) {
      const lock_scope guard(*part_);
      one_ = part_->pin(hash_, in.is(key));
    }
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;
    ~visit() {
      if (one_ == nullptr) return;
      const lock_scope guard(*part_);
      part_->unpin(*one_);
    }

    /// Why it is at none.
    std::error_code error() const noexcept { return one_ != nullptr ? no_error : missing_; }
    rate_limiter& limiter() const noexcept { return one_->limiter; }

   private:
    void make(const keyed_rate_limiter& in, const Key& key) {
      detail::keyed_entry* made = create(hash_, in.limit_, key);
      if (made == nullptr) {
        missing_ = std::make_error_code(std::errc::not_enough_memory);
        return;
      }
      detail::keyed_entry* forgotten = nullptr;
      {
        const lock_scope guard(*part_);
        one_ = part_->pin(hash_, in.is(key));  // somebody may have come before us
        if (one_ == nullptr && part_->add(*made, forgotten)) one_ = std::exchange(made, nullptr);
      }
      if (made != nullptr) destroy(made);
      if (forgotten != nullptr) destroy(forgotten);
    }

    std::uint64_t hash_;
    detail::keyed_shard* part_;
    detail::keyed_entry* one_ = nullptr;
    std::error_code missing_ = errc::refused;
  };

  /// Null: there was no memory.
  static entry* create(std::uint64_t hash, const rate_limit& limit, const Key& key) {
    struct memory {
      ~memory() { frame_free(at, sizeof(entry)); }
      void* at;
    } got{frame_allocate(sizeof(entry))};
    if (got.at == nullptr) return nullptr;
    auto* const made = ::new (got.at) entry(hash, limit, key);
    got.at = nullptr;
    return made;
  }
  static void destroy(detail::keyed_entry* one) noexcept {
    static_cast<entry*>(one)->~entry();
    frame_free(static_cast<entry*>(one), sizeof(entry));
  }

  /// Many a standard hash is the value itself: spreads it over all bits.
  static std::uint64_t mixed(std::size_t hash) noexcept {
    std::uint64_t all = hash * 0x9e3779b97f4a7c15U;
    all ^= all >> 32;
    return all * 0x9e3779b97f4a7c15U;
  }
  detail::keyed_shard& part_of(std::uint64_t hash) const noexcept {
    return shards_[static_cast<std::size_t>(hash >> 60) & (parts_ - 1)];
  }
  auto is(const Key& key) const noexcept {
    return [this, &key](const detail::keyed_entry& one) noexcept {
      return equal_(static_cast<const entry&>(one).key, key);
    };
  }
  clock::duration interval() const noexcept {
    const auto one = limit_.per / static_cast<clock::rep>(limit_.tokens);
    return std::max(one, clock::duration(1));
  }

  rate_limit limit_;
  std::size_t parts_;
  [[no_unique_address]] Hash hash_;
  [[no_unique_address]] Equal equal_;
  mutable std::array<detail::keyed_shard, parts_max> shards_;
};

}  // namespace magpie::sync
