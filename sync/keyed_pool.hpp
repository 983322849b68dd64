/// `keyed_pool`: a pool for each key (a host, mostly), with one bound of all their objects.
///
///     struct connections {
///       task<connection> create(const host& to) { return connect(to); }
///     };
///     sync::keyed_pool<host, connections> clients(sync::keyed_pool_options(256, 8));
///     …
///     auto one = co_await clients.get(to);
///
/// The manager is that of a `pool`, but its `create` is told the key.  There are so many objects of
/// a key, and so many in all.  Who finds all of its key in use waits in the line of that key; who
/// finds all in use waits in one line for all keys.  If there are as many as there may be, and some
/// are idle, the one of whichever key that has been idle for longest makes room.
///
/// The object that was used last is taken first, unless the options say otherwise: so those that
/// are too many become idle for good, and go.  A key of which there is no object, and for which
/// nobody waits, takes no memory in the long run: keys are looked through when there are twice as
/// many as last time, and by `reap`.
///
/// Threads: any, for all but `get`, which is awaited on workers.
#pragma once

#include <magpie/sync/pool.hpp>
#include <magpie/sync/pool_core.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace magpie::sync {

struct keyed_pool_options {
  keyed_pool_options() noexcept { each.order = pool_order::lifo; }
  keyed_pool_options(std::size_t in_all, std::size_t of_each) noexcept : size_max(in_all) {
    each = pool_options(of_each);
    each.order = pool_order::lifo;
  }

  std::size_t size_max = 100;      ///< How many objects there are, idle ones included.
  std::size_t waiting_max = 1024;  ///< How many wait, whatever for; the next is refused.
  pool_options each;               ///< Of each key; without `idle_min` and `maintain_every`.
};

/// How many there are of all keys now.
struct keyed_pool_counts {
  std::size_t keys = 0;  ///< Those of which there are objects, or have been lately.
  std::size_t size = 0;
  std::size_t waiting = 0;
  std::uint64_t refused = 0;  ///< The line of a key, or that of all, was full.
};

namespace detail {

/// The manager of one key, over that of all.
template <class Key, class Manager>
struct one_key {
  template <class T>
  static constexpr bool recycles = requires(Manager& by, T& one, const pool_object_metrics& of) {
    by.recycle(one, of);
  } || requires(Manager& by, T& one) { by.recycle(one); };

  auto create() { return all->manager.create(std::as_const(key)); }
  template <class T>
    requires recycles<T>
  decltype(auto) recycle(T& one, const pool_object_metrics& of) {
    return ask_recycle(all->manager, one, of);
  }
  template <class T>
    requires requires(Manager& by, T& one) { by.is_broken(one); }
  bool is_broken(T& one) noexcept {
    return all->manager.is_broken(one);
  }
  template <class T>
    requires requires(Manager& by, T& one) { by.retired(one, pool_end{}); }
  void retired(T& one, pool_end how) noexcept {
    all->manager.retired(one, how);
  }

  /// What all keys share; objects may outlive the pool, and need it.
  struct shared {
    shared(std::size_t most, std::size_t in_line, Manager&& by)
        : group(most, in_line), manager(std::move(by)) {}
    pool_group group;
    Manager manager;
  };

  std::shared_ptr<shared> all;
  Key key;
};

}  // namespace detail

template <class Key, class Manager, class Hash = std::hash<Key>>
class keyed_pool {
  using one_key = detail::one_key<Key, Manager>;
  using state = detail::pool_state<one_key, true>;

 public:
  using value_type = typename state::value_type;

  explicit keyed_pool(const keyed_pool_options& options, Manager manager = Manager())
      : all_(std::make_shared<typename one_key::shared>(options.size_max, options.waiting_max,
                                                        std::move(manager))),
        each_(options.each) {}
  keyed_pool(const keyed_pool&) = delete;
  keyed_pool& operator=(const keyed_pool&) = delete;
  /// Closes it.  Objects that are out, and the manager, live until the last of them comes back.
  ~keyed_pool() { close(); }

  /// Gives an object of `key`: one that is idle and fit, or a new one.
  /// Errors and Stop: as `pool::get`.  The limits of time and of the line are those of the key.
  /// Threads: any number of tasks.  Cost: as `pool::get`, and a look into a table under a mutex; a
  /// few allocations when the key is new.
  task<pooled<value_type>> get(const Key& key) { return state::get(share_of(key)); }

  /// As `pool::try_get`.
  result<pooled<value_type>> try_get(const Key& key)
    requires state::recycles_at_once
  {
    const detail::pool_share share = share_of(key);
    return static_cast<state&>(*share).try_get();
  }

  /// Destroys idle objects that are too old; how many.  Forgets keys that nobody uses.
  /// Threads: any.
  std::size_t reap() {
    const std::size_t count = detail::pool_core::reap_all(all_->group);
    std::vector<state*> unused;
    {
      const std::lock_guard guard(lock_);
      forget_unused(unused);
      look_at_ = std::max(keys_at_first, 2 * keys_.size());
    }
    drop(unused);
    return count;
  }

  /// As `pool::close`, for all keys.  Idempotent.  Threads: any.
  void close() {
    std::unordered_map<Key, state*, Hash> keys;
    {
      const std::lock_guard guard(lock_);
      closed_ = true;
      keys.swap(keys_);
    }
    all_->group.turns.close();
    for (auto& [key, of] : keys) {
      of->close_all();
      of->drop_reference();
    }
  }

  /// Of one key, and of all.  Threads: any.
  pool_counts counts(const Key& key) {
    const std::lock_guard guard(lock_);
    const auto at = keys_.find(key);
    return at != keys_.end() ? at->second->counts() : pool_counts();
  }
  keyed_pool_counts counts() {
    keyed_pool_counts now;
    const std::lock_guard guard(lock_);
    now.keys = keys_.size();
    const lock_scope inner(all_->group.lock);
    now.size = all_->group.size;
    now.waiting = all_->group.waiting;
    now.refused = all_->group.refused;
    return now;
  }

  Manager& manager() noexcept { return all_->manager; }

 private:
  static constexpr std::size_t keys_at_first = 16;

  /// A share of the pool of `key`, which is made if it is not there.
  detail::pool_share share_of(const Key& key) {
    struct drops {
      void operator()(state* of) const noexcept { of->drop_reference(); }
    };
    std::unique_ptr<state, drops> made;
    std::vector<state*> unused;
    bool kept = false;
    {
      const std::lock_guard guard(lock_);
      if (const auto at = keys_.find(key); at != keys_.end())
        return detail::pool_share(*at->second);
      if (keys_.size() >= look_at_) {
        forget_unused(unused);
        look_at_ = std::max(keys_at_first, 2 * keys_.size());
      }
      made.reset(new state(each_, one_key{all_, key}, &all_->group));
      kept = !closed_;
      if (kept) {
        keys_.emplace(key, made.get());
        made->add_reference();  // the table's
      }
    }
    drop(unused);
    if (!kept) made->close_all();
    return detail::pool_share(*made);
  }

  /// Under the lock: whoever takes a share does so too.
  void forget_unused(std::vector<state*>& into) {
    into.reserve(keys_.size());  // no more may fail once the first was taken out
    for (auto at = keys_.begin(); at != keys_.end();) {
      if (at->second->is_last_share()) {
        into.push_back(at->second);
        at = keys_.erase(at);
      } else {
        ++at;
      }
    }
  }
  static void drop(const std::vector<state*>& unused) noexcept {
    for (state* const each : unused) each->drop_reference();
  }

  std::shared_ptr<typename one_key::shared> all_;
  pool_options each_;
  std::mutex lock_;  // for all that follows; no code of the objects runs under it
  std::unordered_map<Key, state*, Hash> keys_;
  std::size_t look_at_ = keys_at_first;
  bool closed_ = false;
};

}  // namespace magpie::sync
