/// `join(a, b, …)`: all of several, and the first failure of any.
///
///     auto [user, orders] = co_await join(load_user(id), load_orders(id));
///
/// The branches run by turns, in the awaiting task (see fork.hpp).  Wrap those whose failure is no
/// reason to end the others into `as_result`.
#pragma once

#include <magpie/runtime/fork.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace magpie {
namespace detail {

/// A place in a tuple for what may be void.
template <class T>
using value_or_monostate = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
value_or_monostate<T> value_of(result<T>&& taken) {
  if constexpr (std::is_void_v<T>) {
    return {};
  } else {
    return *std::move(taken);
  }
}

template <class... As>
class join_all_of final : public static_fork<As...> {
  using base = static_fork<As...>;

 public:
  using value_type = std::tuple<value_or_monostate<typename As::value_type>...>;

  template <class... Args>
  explicit join_all_of(Args&&... args) noexcept
      : base(ends_on::failure, fork_order::strict, std::forward<Args>(args)...) {}
  join_all_of(join_all_of&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    return gather(std::index_sequence_for<As...>());
  }

 private:
  template <std::size_t... I>
  value_type gather(std::index_sequence<I...>) {
    return value_type{value_of(this->template get<I>().take())...};
  }
};

}  // namespace detail

/// Waits for all of `branches` and gives a `std::tuple` of their values, with `std::monostate` for
/// those without one.  They are started in the order in which they are written.
/// Errors: the first failure; it stops the other branches and waits for them, and what they had is
/// dropped.  An exception is such a failure, and is rethrown.
/// Stop: passed on to every branch.
/// Cost: nothing beyond that of the branches when they complete at once; else a stop scope for each
/// that is started.  No allocation.
template <class... As>
  requires(sizeof...(As) >= 1)
auto join(As&&... branches) noexcept {
  static_assert((!std::is_lvalue_reference_v<As> && ...), "move the tasks and operations in");
  return detail::join_all_of<detail::operation_for<As>...>(std::forward<As>(branches)...);
}

}  // namespace magpie
