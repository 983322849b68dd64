/// `stream_map`: streams that come and go, by key, and what any of them gives.
///
///     sync::stream_map<std::string, subscription> rooms;
///     rooms.insert("lobby", join("lobby"));
///     …
///     for (;;) {
///       auto one = co_await rooms.next();
///       if (!one) break;                            // no stream is left
///       if (!one->outcome) complain(one->key, one->outcome.error());
///       else if (*one->outcome) show(one->key, **one->outcome);
///       else say(one->key + " has ended");          // and is in the map no more
///     }
///
/// All are asked by turns: who was served goes behind the others.  Only if none has something at
/// once are all waited for, as branches of the awaiting task; what several have by the end of
/// that is kept, and given one after the other.
///
/// Threads: one task at a time; nothing is inserted or erased while a `next` is being awaited.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/range_fork.hpp>
#include <magpie/sync/stream.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <iterator>
#include <list>
#include <optional>
#include <ranges>
#include <system_error>
#include <utility>

namespace magpie::sync {

/// What one of the streams gave: an item, its error, or nothing, at its end.
template <class K, class T>
struct stream_map_item {
  stream_map_item(K whose, result<std::optional<T>>&& what)
      : key(std::move(whose)), outcome(std::move(what)) {}

  K key;
  result<std::optional<T>> outcome;
};

namespace detail {

/// Ends with the first of its branches, and says how each has ended that has.
template <class A>
class first_of_all final : public magpie::detail::range_fork<A> {
  using base = magpie::detail::range_fork<A>;

 public:
  using value_type = std::size_t;

  template <class R>
  explicit first_of_all(R&& range)
      : base(magpie::detail::ends_on::value, magpie::detail::fork_order::random,
             std::forward<R>(range)) {}
  first_of_all(first_of_all&&) noexcept = default;

  result<std::size_t> take() {
    this->rethrow();
    return this->winner();
  }
  bool has_ended(std::size_t i) noexcept { return this->at(i).ended(); }
  auto outcome(std::size_t i) { return *this->outcome_of(i); }
};

}  // namespace detail

template <class K, stream S>
class stream_map : public detail::adapter<stream_map_item<K, stream_value<S>>> {
  using outcome = result<std::optional<stream_value<S>>>;
  struct entry {
    entry(K&& whose, S&& from) : key(std::move(whose)), source(std::move(from)) {}
    K key;
    S source;
    std::optional<outcome> waiting;  ///< What it gave when another had its turn.
  };
  using entries = std::list<entry>;
  using asking = decltype(as_result(std::declval<S&>().next()));

 public:
  /// For the library.
  using pulls = detail::pull<asking, detail::first_of_all<asking>>;

  stream_map() = default;
  /// Before the first `next` alone.
  stream_map(stream_map&&) = default;

  /// Adds a stream; false, and it is gone, if the key is there already.
  /// Cost: a block; a look at each key.
  bool insert(K key, S source) {
    if (contains(key)) return false;
    streams_.emplace_back(std::move(key), std::move(source));
    return true;
  }
  /// Takes a stream out, with what it has; false if there is none with this key.
  bool erase(const K& key) {
    return std::erase_if(streams_, [&](const entry& one) { return one.key == key; }) != 0;
  }
  bool contains(const K& key) const {
    for (const entry& one : streams_)
      if (one.key == key) return true;
    return false;
  }
  std::size_t size() const noexcept { return streams_.size(); }
  bool empty() const noexcept { return streams_.empty(); }

  /// Waits for what any of the streams gives, its error or its end; at its end it is taken out.
  /// Empty when there is no stream, until one is inserted.
  /// Errors: stopped; not_enough_memory, to wait for several.  An exception of a stream is
  /// rethrown.
  /// Stop: nothing is lost, if the streams lose nothing.  While it waits for several it stops the
  /// `next` of those that were slower, which unwinds a generator.
  /// Cost: a look at each stream until one has something; to wait for several, a block, which is
  /// pooled for about fifteen of them and comes from malloc for more.
  detail::adapted_next<stream_map> next() noexcept {
    return detail::adapted_next<stream_map>(*this);
  }

  /// For the library, from here on; see stream.hpp.
  std::error_code refused() noexcept {
    asked_ = 0;  // one that asked may not have begun to wait
    return {};
  }
  bool ask(pulls& into) {
    if (this->held_) return false;
    if (asked_ == 0) {
      for (auto one = streams_.begin(); one != streams_.end(); ++one) {
        if (!one->waiting) continue;
        give(one, *std::exchange(one->waiting, std::nullopt));
        return false;
      }
      at_ = streams_.begin();
    }
    if (streams_.empty()) return false;
    if (asked_ < streams_.size()) {
      into.template emplace<0>(as_result(at_->source.next()));
    } else {
      into.template emplace<1>(detail::first_of_all<asking>(std::views::transform(
          streams_, [](entry& one) { return as_result(one.source.next()); })));
    }
    return true;
  }
  /// One alone is not asked, but waited for.
  bool asks_again() noexcept {
    if (asked_ == streams_.size() || streams_.size() == 1) return false;
    ++asked_;
    ++at_;
    return true;
  }
  std::error_code came(pulls& ended) {
    asked_ = 0;
    if (ended.index() == 0) return give_unless_stopped(at_, ended.template take<0>());
    auto& all = ended.template get<1>();
    const std::size_t first = *all.take();
    std::error_code error;
    auto one = streams_.begin();
    const std::size_t count = streams_.size();
    for (std::size_t i = 0; i < count; ++i) {
      const auto now = one++;  // which may go behind the others
      if (!all.has_ended(i)) continue;
      auto what = all.outcome(i);
      if (i == first) {
        error = give_unless_stopped(now, std::move(what));
      } else if (what || what.error() != errc::stopped) {
        now->waiting.emplace(std::move(what));
      }
    }
    return error;
  }
  std::error_code failed(pulls&, std::error_code error) noexcept {
    asked_ = 0;
    return error;
  }

 private:
  /// A stop is that of `next`: nothing has come.
  std::error_code give_unless_stopped(typename entries::iterator from, outcome&& what) {
    if (!what && what.error() == errc::stopped) return what.error();
    give(from, std::move(what));
    return {};
  }
  void give(typename entries::iterator from, outcome&& what) {
    if (what && !*what) {
      this->held_.emplace(std::move(from->key), std::move(what));
      streams_.erase(from);
    } else {
      this->held_.emplace(from->key, std::move(what));
      streams_.splice(streams_.end(), streams_, from);
    }
  }

  entries streams_;
  typename entries::iterator at_;  ///< Who is being asked.
  std::size_t asked_ = 0;          ///< How many were asked in vain.
};

}  // namespace magpie::sync
