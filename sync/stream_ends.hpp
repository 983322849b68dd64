/// What consumes a stream: `for_each`, `fold`, `collect`, `all`, `any`, `for_each_concurrent`.
///
///     const auto all = co_await (streams::each(urls) | streams::map(parse) | streams::collect());
///
/// Each gives a task.  A stream that is a temporary, or was moved, goes into it; one that has a
/// name is lent, and can be gone on with.
///
/// Functions may be plain, or give something to await.
/// Errors: those of the stream, and of what a function gives; the first ends the task.
/// Stop: ends it between two items, or within what a function gives, whose item is lost.
/// Cost: the task's frame.
#pragma once

#include <magpie/runtime/bounded_group.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/sync/stream.hpp>
#include <magpie/util/errc.hpp>

#include <cstddef>
#include <functional>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace magpie::sync {
namespace detail {

template <class S>
using ended_value = stream_value<std::remove_cvref_t<S>>;

template <class R>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<result<T>> = true;

/// Whether what a function gives is to be awaited: also a `result`, whose error would be lost.
template <class R>
inline constexpr bool awaits =
    can_be_awaited<std::remove_cvref_t<R>> || is_result<std::remove_cvref_t<R>>;
template <>
inline constexpr bool awaits<void> = false;

template <class S, class F>
task<> for_each_of(S source, F f) {
  for (;;) {
    auto item = co_await source.next();
    if (!item) co_return;
    if constexpr (awaits<std::invoke_result_t<F&, ended_value<S>>>) {
      auto then = std::invoke(f, *std::move(item));
      co_await std::move(then);
    } else {
      std::invoke(f, *std::move(item));
    }
  }
}

template <class S, class T, class F>
task<T> fold_of(S source, T value, F f) {
  for (;;) {
    auto item = co_await source.next();
    if (!item) co_return std::move(value);
    using given = std::invoke_result_t<F&, T, ended_value<S>>;
    if constexpr (awaits<given> && !std::is_same_v<std::remove_cvref_t<given>, T>) {
      auto then = std::invoke(f, std::move(value), *std::move(item));
      value = co_await std::move(then);
    } else {
      value = std::invoke(f, std::move(value), *std::move(item));
    }
  }
}

template <class S>
task<std::vector<ended_value<S>>> collect_of(S source) {
  std::vector<ended_value<S>> all;
  for (;;) {
    auto item = co_await source.next();
    if (!item) co_return std::move(all);
    all.push_back(*std::move(item));
  }
}

/// Whether the predicate says `sought` of some item.
template <class S, class P>
task<bool> search_of(S source, P predicate, bool sought) {
  for (;;) {
    auto item = co_await source.next();
    if (!item) co_return false;
    bool says;
    if constexpr (awaits<std::invoke_result_t<P&, ended_value<S>>>) {
      auto then = std::invoke(predicate, *std::move(item));
      says = co_await std::move(then);
    } else {
      says = std::invoke(predicate, *std::move(item));
    }
    if (says == sought) co_return true;
  }
}

template <class S, class P>
task<bool> all_of(S source, P predicate) {
  const bool found = co_await search_of<S&, P&>(source, predicate, false);
  co_return !found;
}

template <class S, class F>
task<> for_each_concurrent_of(S source, std::size_t most, F f) {
  if (most == 0) co_await fail(std::make_error_code(std::errc::invalid_argument));
  auto children = [&](bounded_group& group) -> task<> {
    for (;;) {
      auto item = co_await source.next();
      if (!item) co_return;
      auto child = std::invoke(f, *std::move(item));
      co_await group.spawn_when_free(std::move(child));
    }
  };
  co_await with_task_group(at_most(most), children);
}

}  // namespace detail

namespace streams {

/// Calls `f(item)` for each item, one after the other.
template <class F>
auto for_each(F&& f) {
  return detail::ending([f = detail::kept(std::forward<F>(f))]<class S>(S&& source) mutable {
    return detail::for_each_of<S, std::decay_t<F>>(std::forward<S>(source), std::move(f));
  });
}

/// Gives what `f(value, item)` has made of `value` with the last item.
template <class T, class F>
auto fold(T value, F&& f) {
  return detail::ending([value = std::move(value),
                         f = detail::kept(std::forward<F>(f))]<class S>(S&& source) mutable {
    return detail::fold_of<S, T, std::decay_t<F>>(std::forward<S>(source), std::move(value),
                                                  std::move(f));
  });
}

/// Gives all items, in a vector.
inline auto collect() {
  return detail::ending(
      []<class S>(S&& source) { return detail::collect_of<S>(std::forward<S>(source)); });
}

/// Whether `predicate(item)` is true for all items; takes none behind the first for which it is
/// not.
template <class P>
auto all(P&& predicate) {
  return detail::ending(
      [p = detail::kept(std::forward<P>(predicate))]<class S>(S&& source) mutable {
        return detail::all_of<S, std::decay_t<P>>(std::forward<S>(source), std::move(p));
      });
}

/// Whether `predicate(item)` is true for one; takes none behind the first for which it is.
template <class P>
auto any(P&& predicate) {
  return detail::ending(
      [p = detail::kept(std::forward<P>(predicate))]<class S>(S&& source) mutable {
        return detail::search_of<S, std::decay_t<P>>(std::forward<S>(source), std::move(p), true);
      });
}

/// Runs the task `f(item)` for each item, `most` at a time, as children of a group.  When all
/// places are taken one more item is, and its task waits for the first place that is free.
/// Errors: the first one, which stops the others; invalid_argument for `most` of 0.
/// Stop: stops all, and waits for them.  Cost: a pooled block for each task.
/// Threads: the tasks may run on several at once.
template <class F>
auto for_each_concurrent(std::size_t most, F&& f) {
  return detail::ending([most, f = detail::kept(std::forward<F>(f))]<class S>(S&& source) mutable {
    return detail::for_each_concurrent_of<S, std::decay_t<F>>(std::forward<S>(source), most,
                                                              std::move(f));
  });
}

}  // namespace streams
}  // namespace magpie::sync
