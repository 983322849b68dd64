/// Adapters of several streams, and of streams and tasks: `chain`, `zip`, `merge`, `flatten`,
/// `then`.
///
/// Stop: an item that was taken from a source stays in the adapter until it is given.  So a `zip`
/// that has the one half keeps it, and a `merge` both; `then` keeps an item whose task was stopped,
/// and calls its function again.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/sync/stream.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

#include <cstddef>
#include <functional>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

template <class A, class B>
class chain_stream : public adapter<stream_value<A>> {
  static_assert(std::is_same_v<stream_value<A>, stream_value<B>>, "both give the same type");

 public:
  using pulls = pull<stream_next<A>, stream_next<B>>;

  chain_stream(A&& first, B&& second) : first_(std::move(first)), second_(std::move(second)) {}

  adapted_next<chain_stream> next() noexcept { return adapted_next<chain_stream>(*this); }

  bool ask(pulls& into) noexcept {
    if (this->settled()) return false;
    if (in_first_) {
      into.template emplace<0>(first_.next());
    } else {
      into.template emplace<1>(second_.next());
    }
    return true;
  }
  std::error_code came(pulls& ended) {
    if (ended.index() == 0) {
      this->held_ = ended.template take<0>();
      in_first_ = this->held_.has_value();
    } else {
      this->held_ = ended.template take<1>();
      this->ended_ = !this->held_;
    }
    return no_error;
  }

 private:
  A first_;
  B second_;
  bool in_first_ = true;
};

template <class A, class B>
class zip_stream : public adapter<std::pair<stream_value<A>, stream_value<B>>> {
 public:
  using pulls = pull<stream_next<A>, stream_next<B>>;

  zip_stream(A&& first, B&& second) : first_(std::move(first)), second_(std::move(second)) {}

  adapted_next<zip_stream> next() noexcept { return adapted_next<zip_stream>(*this); }

  bool ask(pulls& into) noexcept {
    if (this->settled()) return false;
    if (!half_) {
      into.template emplace<0>(first_.next());
    } else {
      into.template emplace<1>(second_.next());
    }
    return true;
  }
  std::error_code came(pulls& ended) {
    if (ended.index() == 0) {
      half_ = ended.template take<0>();
      this->ended_ = !half_;
      return no_error;
    }
    auto other = ended.template take<1>();
    if (other) {
      this->held_.emplace(*std::move(half_), *std::move(other));
    } else {
      this->ended_ = true;
    }
    half_.reset();
    return no_error;
  }

 private:
  A first_;
  B second_;
  std::optional<stream_value<A>> half_;
};

/// Takes from both by turns: asks the one whose turn it is, then the other, and then waits for
/// both. What the slower of the two has by then is kept for the next time.
template <class A, class B>
class merge_stream : public adapter<stream_value<A>> {
  static_assert(std::is_same_v<stream_value<A>, stream_value<B>>, "both give the same type");
  using item = std::optional<stream_value<A>>;
  using both =
      decltype(select(as_result(std::declval<A&>().next()), as_result(std::declval<B&>().next())));

 public:
  using pulls = pull<stream_next<A>, stream_next<B>, both>;

  merge_stream(A&& first, B&& second) : first_(std::move(first)), second_(std::move(second)) {}

  adapted_next<merge_stream> next() noexcept { return adapted_next<merge_stream>(*this); }

  /// An error of the one that was not waited for.
  std::error_code refused() noexcept {
    asked_ = 0;  // one that asked may not have begun to wait
    return std::exchange(later_error_, {});
  }

  bool ask(pulls& into) noexcept(std::is_nothrow_move_constructible_v<item>) {
    if (!this->held_ && later_) {
      this->held_ = std::move(later_);
      later_.reset();
    }
    if (this->settled()) return false;
    if (asked_ == 2) {
      into.template emplace<2>(select(as_result(first_.next()), as_result(second_.next())));
    } else if (has_[0] && (!has_[1] || (asked_ == 0) == (turn_ == 0))) {
      into.template emplace<0>(first_.next());
    } else {
      into.template emplace<1>(second_.next());
    }
    return true;
  }
  /// It was asked whether it has something at once, and has not.
  bool asks_again() noexcept {
    if (asked_ == 2 || !has_[0] || !has_[1]) return false;
    ++asked_;
    return true;
  }
  std::error_code came(pulls& ended) {
    asked_ = 0;
    if (ended.index() == 0) {
      got(0, ended.template take<0>());
    } else if (ended.index() == 1) {
      got(1, ended.template take<1>());
    } else {
      auto ends = ended.template take<2>();
      // The first to end comes first.
      const std::error_code one = ends.index() == 0 ? ended_as(0, ends.template get<0>())
                                                    : ended_as(1, ends.template get<1>());
      const std::error_code other = ends.index() == 0 ? ended_as(1, ends.template get<1>())
                                                      : ended_as(0, ends.template get<0>());
      if (one) return one;
      if (other != errc::stopped) later_error_ = other;  // stopped by the select: it had nothing
    }
    return no_error;
  }
  std::error_code failed(pulls&, std::error_code error) noexcept {
    asked_ = 0;
    return error;
  }

 private:
  void got(int which, item&& one) {
    if (!one) {
      has_[which] = false;
      this->ended_ = !has_[0] && !has_[1];
      return;
    }
    turn_ = 1 - which;
    (this->held_ ? later_ : this->held_) = std::move(one);
  }
  template <class Branch>
  std::error_code ended_as(int which, Branch& branch) {
    if (!branch) return no_error;
    result<item>& outcome = **branch;
    if (!outcome) return outcome.error();
    got(which, *std::move(outcome));
    return no_error;
  }

  A first_;
  B second_;
  item later_;  ///< What the slower one had.
  std::error_code later_error_;
  int asked_ = 0;  ///< How many were asked in vain.
  int turn_ = 0;
  bool has_[2] = {true, true};  ///< It has not ended.
};

/// Gives what the streams give that its source gives.
template <class S>
class flatten_stream : public adapter<stream_value<stream_value<S>>> {
  using inner = stream_value<S>;

 public:
  using pulls = pull<stream_next<S>, stream_next<inner>>;

  explicit flatten_stream(S&& source) : source_(std::move(source)) {}
  /// Before it has begun.
  flatten_stream(flatten_stream&& other) : source_(std::move(other.source_)) {
    MAGPIE_ASSERT(!other.inner_);
  }

  adapted_next<flatten_stream> next() noexcept { return adapted_next<flatten_stream>(*this); }

  bool ask(pulls& into) noexcept {
    if (this->settled()) return false;
    if (inner_) {
      into.template emplace<1>(inner_->next());
    } else {
      into.template emplace<0>(source_.next());
    }
    return true;
  }
  std::error_code came(pulls& ended) {
    if (ended.index() == 0) {
      auto one = ended.template take<0>();
      this->ended_ = !one;
      if (one) inner_.emplace(*std::move(one));
    } else {
      this->held_ = ended.template take<1>();
      if (!this->held_) {
        ended.clear();
        inner_.reset();
      }
    }
    return no_error;
  }

 private:
  S source_;
  std::optional<inner> inner_;
};

/// How the function of `then` is called: with a reference to the item that the adapter keeps, if it
/// takes one.
template <class S, class F>
decltype(auto) call_then(F& f, stream_value<S>& item) {
  if constexpr (std::is_invocable_v<F&, stream_value<S>&>) {
    return std::invoke(f, item);
  } else {
    return std::invoke(f, std::move(item));
  }
}

template <class S, class F>
using then_value =
    await_value<decltype(call_then<S, F>(std::declval<F&>(), std::declval<stream_value<S>&>()))>;

/// Calls the function when it is awaited, and not when that is merely prepared: a `next` that was
/// asked and never begun, as `merge` and `select` do, leaves the item.
template <class S, class F>
task<then_value<S, F>> calls_then(F& f, stream_value<S>& item, bool& called) {
  called = true;
  auto work = call_then<S, F>(f, item);
  co_return co_await std::move(work);
}

template <class S, class F>
class then_stream : public adapter<then_value<S, F>> {
 public:
  using pulls = pull<stream_next<S>, magpie::detail::task_operation<then_value<S, F>>>;

  then_stream(S&& source, F f) : source_(std::move(source)), f_(std::move(f)) {}

  adapted_next<then_stream> next() noexcept { return adapted_next<then_stream>(*this); }

  bool ask(pulls& into) {
    if (this->settled()) return false;
    if (!input_) {
      into.template emplace<0>(source_.next());
      return true;
    }
    called_ = false;
    into.template emplace<1>(calls_then<S, F>(f_, *input_, called_));
    return true;
  }
  std::error_code came(pulls& ended) {
    if (ended.index() == 0) {
      input_ = ended.template take<0>();
      this->ended_ = !input_;
    } else {
      const lets_go in_any_case(input_);
      this->held_.emplace(ended.template take<1>());
    }
    return no_error;
  }
  std::error_code failed(pulls& ended, std::error_code error) noexcept {
    // Of a task that was stopped the item is kept, if it was lent to it, or it had not begun.
    constexpr bool lent = std::is_invocable_v<F&, stream_value<S>&>;
    const bool still_there = error == errc::stopped && (lent || !called_);
    if (ended.index() == 1 && !still_there) input_.reset();
    return error;
  }

 private:
  struct lets_go {
    explicit lets_go(std::optional<stream_value<S>>& item) noexcept : of(&item) {}
    lets_go(const lets_go&) = delete;
    lets_go& operator=(const lets_go&) = delete;
    ~lets_go() { of->reset(); }
    std::optional<stream_value<S>>* of;
  };

  S source_;
  F f_;
  std::optional<stream_value<S>> input_;
  bool called_ = false;  ///< The function has the item, or a reference to it.
};

/// A stage that joins its source with another stream.
template <template <class...> class Stream, class B>
auto joins(B&& second) {
  static_assert(!std::is_lvalue_reference_v<B>, "move the stream in, or lend it by `by_ref`");
  return adapts<Stream>(std::move(second));
}

}  // namespace detail

namespace streams {

/// Gives what its source gives, and then what `second` gives.
template <class B>
  requires stream<std::remove_cvref_t<B>>
auto chain(B&& second) {
  return detail::joins<detail::chain_stream>(std::forward<B>(second));
}

/// Gives pairs of an item of its source and one of `second`; it ends when one of them ends, and
/// then the item of its source that has no other half is destroyed.
template <class B>
  requires stream<std::remove_cvref_t<B>>
auto zip(B&& second) {
  return detail::joins<detail::zip_stream>(std::forward<B>(second));
}

/// Gives what comes from its source and from `second`, by turns if both have something; it ends
/// when both have ended.  While it waits for both it stops the `next` of the one that was slower:
/// a generator is unwound by that, and what a `then` awaits is begun anew.
/// Errors: those of each, as they come; the stream goes on.
/// Cost: while one of them has something, none; to wait for both is a `select`.
template <class B>
  requires stream<std::remove_cvref_t<B>>
auto merge(B&& second) {
  return detail::joins<detail::merge_stream>(std::forward<B>(second));
}

/// Gives what the streams give that its source gives, one stream after the other.
inline auto flatten() { return detail::adapts<detail::flatten_stream>(); }

/// Awaits `f(item)`, a task or an operation, for each item, one after the other, and gives the
/// value.  What it awaits is stopped with `next`.  An `f` that takes a reference is lent the item,
/// which stays in the adapter until the task has ended: if that was by a stop, the next `next`
/// calls `f` again, with the same item; as it does if `f` takes a copy.  One that can only be given
/// the item itself gets it, and loses it by a stop.
/// Errors: those of its source and of what `f` gives; then the item is gone.
/// Cost: a pooled frame, and that of the task; where several may be under way at a time,
/// `buffered`.
template <class F>
auto then(F&& f) {
  return detail::adapts<detail::then_stream>(detail::kept(std::forward<F>(f)));
}

}  // namespace streams
}  // namespace magpie::sync
