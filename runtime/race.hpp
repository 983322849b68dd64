/// `race` and `any_of`: the first success of several that are as good as each other.
///
///     auto page = co_await race(fetch(mirror_a), fetch(mirror_b));
///
/// The branches run by turns, in the awaiting task (see fork.hpp).  What losers finish with all the
/// same is dropped: where that matters use `select`, which hands it out.
#pragma once

#include <magpie/runtime/range_fork.hpp>
#include <magpie/util/result.hpp>

#include <array>
#include <cstddef>
#include <expected>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace magpie {
namespace detail {

template <class... As>
class race_operation final : public static_fork<As...> {
  using base = static_fork<As...>;

 public:
  using value_type = std::common_type_t<typename As::value_type...>;

  template <class... Args>
  explicit race_operation(Args&&... args) noexcept
      : base(ends_on::value, fork_order::random, std::forward<Args>(args)...) {}
  race_operation(race_operation&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    return this->visit(this->winner(), [](auto& a) { return result<value_type>(a.take()); });
  }
};

template <class... As>
class any_of_operation final : public static_fork<As...> {
  using base = static_fork<As...>;
  using element = std::common_type_t<typename As::value_type...>;
  using errors = std::array<std::error_code, sizeof...(As)>;

 public:
  using value_type = std::expected<element, errors>;

  template <class... Args>
  explicit any_of_operation(Args&&... args) noexcept
      : base(ends_on::value_or_none, fork_order::random, std::forward<Args>(args)...) {}
  any_of_operation(any_of_operation&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    if (this->winner() == this->none) {
      errors all;
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = this->at(i).error;
      return value_type(std::unexpected(all));
    }
    return this->visit(this->winner(), [](auto& a) {
      if constexpr (std::is_void_v<element>) {
        static_cast<void>(a.take());
        return value_type();
      } else {
        return value_type(*a.take());
      }
    });
  }
};

template <class A>
class race_range final : public range_fork<A> {
 public:
  using value_type = typename A::value_type;

  template <class R>
  explicit race_range(R&& range)
      : range_fork<A>(ends_on::value, fork_order::random, std::forward<R>(range)) {
    if (this->size() == 0) this->fail_with(std::make_error_code(std::errc::invalid_argument));
  }
  race_range(race_range&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    return this->operation(this->winner()).take();
  }
};

template <class A>
class any_of_range final : public range_fork<A> {
  using element = typename A::value_type;

 public:
  using value_type = std::expected<element, std::vector<std::error_code>>;

  template <class R>
  explicit any_of_range(R&& range)
      : range_fork<A>(ends_on::value_or_none, fork_order::random, std::forward<R>(range)) {}
  any_of_range(any_of_range&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    if (this->winner() == this->none) {
      std::vector<std::error_code> all(this->size());
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = this->at(i).error;
      return value_type(std::unexpected(std::move(all)));
    }
    if constexpr (std::is_void_v<element>) {
      static_cast<void>(this->operation(this->winner()).take());
      return value_type();
    } else {
      return value_type(*this->operation(this->winner()).take());
    }
  }
};

}  // namespace detail

/// Gives the value of the first of `branches` that succeeds, stops the others and waits for them.
/// Errors: if all fail, that of the first to do so.  An exception wins over values.
/// Stop: passed on to every branch.  Values of losers are dropped.
/// Cost: as `select`.
template <class... As>
  requires(sizeof...(As) >= 2)
auto race(As&&... branches) noexcept {
  static_assert((!std::is_lvalue_reference_v<As> && ...), "move the tasks and operations in");
  return detail::race_operation<detail::operation_for<As>...>(std::forward<As>(branches)...);
}

/// The same for the elements of a range.
/// Errors: also invalid_argument for an empty range, and not_enough_memory.
/// Cost: one block for all elements.
template <class R>
  requires detail::branch_range<R>
auto race(R&& range) {
  return detail::race_range<detail::branch_of<R>>(std::forward<R>(range));
}

/// As `race`, but gives a `std::expected` of the value and, if all fail, the errors of all, in the
/// order of the branches: an array.
/// Errors: none of its own.  Stop: passed on; then the errors are the value.
template <class... As>
  requires(sizeof...(As) >= 2)
auto any_of(As&&... branches) noexcept {
  static_assert((!std::is_lvalue_reference_v<As> && ...), "move the tasks and operations in");
  return detail::any_of_operation<detail::operation_for<As>...>(std::forward<As>(branches)...);
}

/// The same for a range, with a vector of the errors, which is empty for an empty range.
/// Errors: not_enough_memory.
template <class R>
  requires detail::branch_range<R>
auto any_of(R&& range) {
  return detail::any_of_range<detail::branch_of<R>>(std::forward<R>(range));
}

}  // namespace magpie
