/// `keyed_group<K, T>`: children with keys, at most one for each.
///
///     co_await with_task_group([&](keyed_group<std::string, page>& loads) -> task<> {
///       loads.spawn(url, load(url));              // a second one aborts and replaces the first
///       loads.abort(other);
///       auto one = co_await loads.next();         // a key and its outcome, as they end
///     });
///
/// A `result_group` whose children are found by key as well, in a hash table under the same lock.
/// The links of the table live in the children; what grows is the array of buckets, and if there is
/// no memory for a larger one the table gets slower and nothing else.  A child leaves the table
/// when its outcome is handed out or when it is replaced.
#pragma once

#include <magpie/runtime/result_group.hpp>

#include <cstddef>
#include <new>
#include <optional>
#include <source_location>
#include <string_view>  // std::hash
#include <utility>

namespace magpie {

/// A key and what its child ended with.
template <class K, class T>
struct keyed_result {
  keyed_result(K of, result<T>&& with) : key(std::move(of)), outcome(std::move(with)) {}
  K key;
  result<T> outcome;
};

namespace detail {

template <class K, class T>
struct keyed_child final : result_child<T> {
  keyed_child(task<T>&& t, result_group_base& in, const spawn_how& how, K&& with,
              std::size_t hashed) noexcept
      : result_child<T>(std::move(t), in, how, &drop_this), key(std::move(with)), hash(hashed) {}

  static void drop_this(result_child_base& base) noexcept {
    auto* const self = static_cast<keyed_child*>(&base);
    self->tell();
    self->~keyed_child();
    frame_free(self, sizeof(keyed_child));
  }

  K key;
  std::size_t hash;
  keyed_child* next_in_bucket = nullptr;
};

template <class K, class T>
class next_keyed_operation final : public next_base {
 public:
  using value_type = std::optional<keyed_result<K, T>>;

  explicit next_keyed_operation(result_group_base& group) noexcept : next_base(group, false) {}
  next_keyed_operation(next_keyed_operation&&) noexcept = default;

  result<value_type> take() {
    struct dropper {
      ~dropper() {
        if (child != nullptr) child->drop(*child);
      }
      keyed_child<K, T>* child;
    } const taken{static_cast<keyed_child<K, T>*>(release_item())};
    if (taken.child == nullptr) return value_type();
    taken.child->unseen = false;
    return value_type(std::in_place, std::move(taken.child->key), taken.child->body.take());
  }

  bool has_exception() const noexcept {
    return item() != nullptr && static_cast<keyed_child<K, T>*>(item())->body.has_exception();
  }
};

}  // namespace detail

/// Keys need `==`, and `Hash`, which is called for them once.  What throws in them, or in the move
/// of a key, ends the program.
template <class K, class T, class Hash = std::hash<K>>
class keyed_group : public result_group_base {
 public:
  keyed_group(stop_scope& outer, setup limit) noexcept : result_group_base(outer, limit) {
    handed_ = &forget;
    put_back_ = &remember;
  }
  ~keyed_group() {
    if (buckets_ != first_buckets_) delete[] buckets_;
  }

  /// Starts `t` under `key`.  A child of that key is aborted, and no `next` gives its outcome, not
  /// even if it has ended.  True if there was one.
  /// Errors: none here; when memory runs out the group fails with not_enough_memory.
  /// Threads: the body and children.  Cost: one pooled block, kept until the outcome is taken.
  bool spawn(K key, task<T> t,
             std::source_location where = std::source_location::current()) noexcept {
    return start(std::move(key), std::move(t), {true, where, std::nullopt});
  }
  bool spawn(K key, const task_name& name, task<T> t,
             std::source_location where = std::source_location::current()) noexcept {
    return start(std::move(key), std::move(t), {true, where, name});
  }

  /// Aborts the child of that key if it still runs; its outcome is then `errc::aborted`, if it
  /// gives in.  True if it did run.
  bool abort(const K& key) noexcept {
    child* found;
    {
      lock_scope guard(results_lock_);
      found = *place_of(key, Hash()(key));
      if (found == nullptr || found->ended) return false;
      pin_running(found);
    }
    found->scope.request_stop();
    unpin(*found);
    return true;
  }

  /// Whether there is a child of that key whose outcome was not taken yet.
  bool contains(const K& key) noexcept {
    lock_scope guard(results_lock_);
    return *place_of(key, Hash()(key)) != nullptr;
  }

  /// Waits for the next child to end and gives its key and outcome; nothing when no child is left.
  /// As `result_group::next`.
  auto next() noexcept { return detail::next_keyed_operation<K, T>(*this); }

 private:
  using task_group::spawn_isolated;  // every child is
  using keyed = detail::keyed_child<K, T>;

  bool start(K&& key, task<T>&& t, const detail::spawn_how& how) noexcept {
    const std::size_t hash = Hash()(key);
    auto* made = make_child<keyed>(std::move(t), *this, how, std::move(key), hash);
    if (made == nullptr) return false;
    keyed* before;
    bool running = false;
    {
      lock_scope guard(results_lock_);
      keyed** place = place_of(made->key, hash);
      before = *place;
      if (before != nullptr) running = !replace(*place);
      made->next_in_bucket = *place;
      *place = made;
      all_.push_back(*made);
      if (before == nullptr && ++count_ > bucket_count_) grow();
    }
    if (running) {
      before->scope.request_stop();
      unpin(*before);
    } else if (before != nullptr) {
      before->drop(*before);
    }
    detail::post_child(*made);
    return before != nullptr;
  }

  /// Takes the child at `place` out of everything; true if it had ended.  Else it is pinned.
  bool replace(keyed*& place) noexcept {
    keyed& old = *place;
    place = old.next_in_bucket;
    all_.remove(old);
    old.unwanted = true;
    // One that has ended while it is pinned is in the second list no sooner than it is unpinned.
    if (old.by_end::linked()) {
      ended_.remove(old);
      return true;
    }
    ++old.pins;
    return false;
  }

  keyed** place_of(const K& key, std::size_t hash) noexcept {
    keyed** at = &buckets_[hash % bucket_count_];
    while (*at != nullptr && !((*at)->hash == hash && (*at)->key == key))
      at = &(*at)->next_in_bucket;
    return at;
  }

  void grow() noexcept {
    const std::size_t wanted = 2 * bucket_count_ + 1;
    auto** larger = new (std::nothrow) keyed*[wanted]();
    if (larger == nullptr) return;
    for (std::size_t i = 0; i < bucket_count_; ++i) {
      for (keyed* one = buckets_[i]; one != nullptr;) {
        keyed* const next = one->next_in_bucket;
        one->next_in_bucket = larger[one->hash % wanted];
        larger[one->hash % wanted] = one;
        one = next;
      }
    }
    if (buckets_ != first_buckets_) delete[] buckets_;
    buckets_ = larger;
    bucket_count_ = wanted;
  }

  /// The outcome of a child is handed out: its key is free.
  static void forget(result_group_base& base, child& handed) noexcept {
    auto& self = static_cast<keyed_group&>(base);
    auto& gone = static_cast<keyed&>(handed);
    keyed** at = &self.buckets_[gone.hash % self.bucket_count_];
    while (*at != &gone) at = &(*at)->next_in_bucket;
    *at = gone.next_in_bucket;
    --self.count_;
  }

  /// It was not taken after all; false if the key has been used again.
  static bool remember(result_group_base& base, child& handed) noexcept {
    auto& self = static_cast<keyed_group&>(base);
    auto& back = static_cast<keyed&>(handed);
    keyed** place = self.place_of(back.key, back.hash);
    if (*place != nullptr) return false;
    back.next_in_bucket = nullptr;
    *place = &back;
    ++self.count_;
    return true;
  }

  static constexpr std::size_t few = 7;
  keyed* first_buckets_[few] = {};
  keyed** buckets_ = first_buckets_;
  std::size_t bucket_count_ = few;
  std::size_t count_ = 0;
};

}  // namespace magpie
