/// `join_all(range)`: all elements of a range of tasks or operations, in the order of the range.
///
///     std::vector<task<page>> fetches = …;
///     std::vector<page> pages = co_await join_all(std::move(fetches));
///
/// The elements run by turns, in the awaiting task (see fork.hpp); for work that should use several
/// workers there are groups.
#pragma once

#include <magpie/runtime/range_fork.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace magpie {
namespace detail {

template <class T>
struct vector_or_void {
  using type = std::vector<T>;
};
template <>
struct vector_or_void<void> {
  using type = void;
};

template <class A>
class join_range final : public range_fork<A> {
  using element = typename A::value_type;

 public:
  using value_type = typename vector_or_void<element>::type;

  template <class R>
  explicit join_range(R&& range)
      : range_fork<A>(ends_on::failure, fork_order::strict, std::forward<R>(range)) {}
  join_range(join_range&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    if constexpr (std::is_void_v<element>) {
      return {};
    } else {
      value_type values;
      values.reserve(this->size());
      for (std::size_t i = 0; i < this->size(); ++i) values.push_back(*this->operation(i).take());
      return values;
    }
  }
};

template <class A>
class join_range_results final : public range_fork<A> {
 public:
  using value_type = std::vector<result<typename A::value_type>>;

  template <class R>
  explicit join_range_results(R&& range)
      : range_fork<A>(ends_on::nothing, fork_order::strict, std::forward<R>(range)) {}
  join_range_results(join_range_results&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    value_type results;
    results.reserve(this->size());
    for (std::size_t i = 0; i < this->size(); ++i) results.push_back(this->outcome_of(i));
    return results;
  }
};

}  // namespace detail

/// Waits for every element of `range` and gives a vector of their values, in the order of the
/// range; nothing (`void`) when they have no values.  An empty range completes at once.
/// Errors: the first failure; it stops the others and waits for them, and what they had is dropped;
/// not_enough_memory.  An exception is such a failure, and is rethrown.
/// Stop: passed on to every element.
/// Cost: one block for all elements, and the vector that it gives.
template <class R>
  requires detail::branch_range<R>
auto join_all(R&& range) {
  return detail::join_range<detail::branch_of<R>>(std::forward<R>(range));
}

/// The same, collecting: a failure stops nobody, and each element is given as a `result`.  Under a
/// `timeout` it keeps what had finished in time: those that had not have `errc::stopped`.
/// Errors: not_enough_memory.  An exception stops the others and is rethrown.
/// Stop: passed on to every element; the results are the value all the same.
template <class R>
  requires detail::branch_range<R>
auto join_all_results(R&& range) {
  return detail::join_range_results<detail::branch_of<R>>(std::forward<R>(range));
}

}  // namespace magpie
