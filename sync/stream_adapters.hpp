/// Adapters of one stream: what is given for each item, and which items are given.
///
/// The functions that they are given are called by whoever awaits `next`, one at a time, and are
/// plain: what has to wait is `then` (stream_joins.hpp) or `buffered` (stream_buffered.hpp).  An
/// exception of a function comes out of `next`; its item is gone, and the stream goes on.
///
/// Stop: an item that was taken from the source is given, or stays in the adapter for the `next`
/// that follows.
#pragma once

#include <magpie/sync/stream.hpp>
#include <magpie/util/errc.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace magpie::sync {
namespace detail {

/// An adapter of one source: `Self::got(item)` says what becomes of each.
template <class Self, class S, class T>
class one_source : public adapter<T> {
 public:
  using pulls = pull<stream_next<S>>;

  adapted_next<Self> next() noexcept { return adapted_next<Self>(self()); }

  bool ask(pulls& into) noexcept {
    if (this->settled()) return false;
    into.template emplace<0>(source_.next());
    return true;
  }
  std::error_code came(pulls& ended) {
    auto item = ended.template take<0>();
    if (item) {
      self().got(*std::move(item));
    } else {
      self().source_ended();
    }
    return no_error;
  }
  void source_ended() noexcept { this->ended_ = true; }

 protected:
  explicit one_source(S&& source) : source_(std::move(source)) {}

  S source_;

 private:
  Self& self() noexcept { return static_cast<Self&>(*this); }
};

template <class S, class F>
using map_result = std::remove_cvref_t<std::invoke_result_t<F&, stream_value<S>>>;

template <class S, class F>
class map_stream : public one_source<map_stream<S, F>, S, map_result<S, F>> {
 public:
  map_stream(S&& source, F f)
      : one_source<map_stream, S, map_result<S, F>>(std::move(source)), f_(std::move(f)) {}
  void got(stream_value<S>&& item) { this->held_.emplace(std::invoke(f_, std::move(item))); }

 private:
  F f_;
};

template <class S, class F>
class filter_map_stream
    : public one_source<filter_map_stream<S, F>, S, typename map_result<S, F>::value_type> {
  using base = one_source<filter_map_stream, S, typename map_result<S, F>::value_type>;

 public:
  filter_map_stream(S&& source, F f) : base(std::move(source)), f_(std::move(f)) {}
  void got(stream_value<S>&& item) { this->held_ = std::invoke(f_, std::move(item)); }

 private:
  F f_;
};

enum class sieve : std::uint8_t { filter, take_while, skip_while };

template <class S, class P, sieve kind>
class sieve_stream : public one_source<sieve_stream<S, P, kind>, S, stream_value<S>> {
 public:
  sieve_stream(S&& source, P accepts)
      : one_source<sieve_stream, S, stream_value<S>>(std::move(source)),
        accepts_(std::move(accepts)) {}

  void got(stream_value<S>&& item) {
    if constexpr (kind == sieve::skip_while) {
      if (skips_ && std::invoke(accepts_, std::as_const(item))) return;
      skips_ = false;
    } else if (!std::invoke(accepts_, std::as_const(item))) {
      this->ended_ = kind == sieve::take_while;
      return;
    }
    this->held_.emplace(std::move(item));
  }

 private:
  P accepts_;
  bool skips_ = true;
};

template <class S, class = std::size_t>
class take_stream : public one_source<take_stream<S>, S, stream_value<S>> {
 public:
  take_stream(S&& source, std::size_t most)
      : one_source<take_stream, S, stream_value<S>>(std::move(source)), left_(most) {
    this->ended_ = most == 0;
  }
  void got(stream_value<S>&& item) {
    this->held_.emplace(std::move(item));
    this->ended_ = --left_ == 0;
  }

 private:
  std::size_t left_;
};

template <class S, class = std::size_t>
class skip_stream : public one_source<skip_stream<S>, S, stream_value<S>> {
 public:
  skip_stream(S&& source, std::size_t count)
      : one_source<skip_stream, S, stream_value<S>>(std::move(source)), left_(count) {}
  void got(stream_value<S>&& item) {
    if (left_ == 0) {
      this->held_.emplace(std::move(item));
    } else {
      --left_;
    }
  }

 private:
  std::size_t left_;
};

template <class S, class State, class F>
using scanned =
    typename std::remove_cvref_t<std::invoke_result_t<F&, State&, stream_value<S>>>::value_type;

template <class S, class State, class F>
class scan_stream : public one_source<scan_stream<S, State, F>, S, scanned<S, State, F>> {
 public:
  scan_stream(S&& source, State state, F f)
      : one_source<scan_stream, S, scanned<S, State, F>>(std::move(source)),
        state_(std::move(state)),
        f_(std::move(f)) {}
  void got(stream_value<S>&& item) {
    this->held_ = std::invoke(f_, state_, std::move(item));
    this->ended_ = !this->held_;
  }

 private:
  State state_;
  F f_;
};

template <class S>
class enumerate_stream
    : public one_source<enumerate_stream<S>, S, std::pair<std::size_t, stream_value<S>>> {
 public:
  explicit enumerate_stream(S&& source)
      : one_source<enumerate_stream, S, std::pair<std::size_t, stream_value<S>>>(
            std::move(source)) {}
  void got(stream_value<S>&& item) { this->held_.emplace(count_++, std::move(item)); }

 private:
  std::size_t count_ = 0;
};

template <class Adapter>
class peek_next final : public pulling<Adapter> {
 public:
  using value_type = typename Adapter::value_type*;

  explicit peek_next(Adapter& of) noexcept : pulling<Adapter>(of) {}
  peek_next(peek_next&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    return this->of().held_item();
  }
};

template <class S>
class peekable_stream : public one_source<peekable_stream<S>, S, stream_value<S>> {
 public:
  explicit peekable_stream(S&& source)
      : one_source<peekable_stream, S, stream_value<S>>(std::move(source)) {}
  void got(stream_value<S>&& item) { this->held_.emplace(std::move(item)); }

  /// Waits for the item that the next `next` will give, and gives a pointer to it; null at the end.
  /// Errors, stop, threads: as `next`.
  peek_next<peekable_stream> peek() noexcept { return peek_next<peekable_stream>(*this); }

  stream_value<S>* held_item() noexcept { return this->held_ ? &*this->held_ : nullptr; }
};

template <class S, class = std::size_t>
class chunks_stream : public one_source<chunks_stream<S>, S, std::vector<stream_value<S>>> {
  using base = one_source<chunks_stream, S, std::vector<stream_value<S>>>;

 public:
  chunks_stream(S&& source, std::size_t size) : base(std::move(source)), size_(size) {}

  std::error_code refused() const noexcept {
    return size_ != 0 ? no_error : std::make_error_code(std::errc::invalid_argument);
  }
  void got(stream_value<S>&& item) {
    collected_.push_back(std::move(item));
    if (collected_.size() == size_) give();
  }
  void source_ended() {
    this->ended_ = true;
    if (!collected_.empty()) give();
  }

 private:
  void give() { this->held_.emplace(std::exchange(collected_, {})); }

  std::size_t size_;
  std::vector<stream_value<S>> collected_;
};

template <class S, class P>
using filter_stream = sieve_stream<S, P, sieve::filter>;
template <class S, class P>
using take_while_stream = sieve_stream<S, P, sieve::take_while>;
template <class S, class P>
using skip_while_stream = sieve_stream<S, P, sieve::skip_while>;

}  // namespace detail

namespace streams {

/// Gives `f(item)` for each item.
template <class F>
auto map(F&& f) {
  return detail::adapts<detail::map_stream>(detail::kept(std::forward<F>(f)));
}

/// Gives the items for which `accepts(item)` is true.
template <class P>
auto filter(P&& accepts) {
  return detail::adapts<detail::filter_stream>(detail::kept(std::forward<P>(accepts)));
}

/// Gives what is in `f(item)`, an `std::optional`, if there is something.
template <class F>
auto filter_map(F&& f) {
  return detail::adapts<detail::filter_map_stream>(detail::kept(std::forward<F>(f)));
}

/// Gives the first `most` items; then it is at its end, and takes nothing more from its source.
inline auto take(std::size_t most) { return detail::adapts<detail::take_stream>(most); }

/// Gives all but the first `count` items.
inline auto skip(std::size_t count) { return detail::adapts<detail::skip_stream>(count); }

/// Gives items until the first for which `accepts(item)` is false, which is destroyed.
template <class P>
auto take_while(P&& accepts) {
  return detail::adapts<detail::take_while_stream>(detail::kept(std::forward<P>(accepts)));
}

/// Gives the first item for which `skips(item)` is false, and all that follow.
template <class P>
auto skip_while(P&& skips) {
  return detail::adapts<detail::skip_while_stream>(detail::kept(std::forward<P>(skips)));
}

/// Gives what is in `f(state, item)`, an `std::optional`, for each item; it ends when that is
/// empty. `state` is kept from one to the next.
template <class State, class F>
auto scan(State state, F&& f) {
  return detail::adapts<detail::scan_stream>(std::move(state), detail::kept(std::forward<F>(f)));
}

/// Gives each item in a pair, behind its number; the first is 0.
inline auto enumerate() { return detail::adapts<detail::enumerate_stream>(); }

/// Gives what its source gives, and has `peek`, which waits for the next item and leaves it there.
inline auto peekable() { return detail::adapts<detail::peekable_stream>(); }

/// Gives the items in vectors of `size`; the last may have fewer, and is not empty.  An error comes
/// out at once; what was collected before it is given with what follows.
/// Errors: invalid_argument for a size of 0.  Cost: the vector.
inline auto chunks(std::size_t size) { return detail::adapts<detail::chunks_stream>(size); }

}  // namespace streams
}  // namespace magpie::sync
