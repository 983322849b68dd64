/// `select(a, b, …)`: the first of several to finish, without losing what the others had.
///
///     auto first = co_await select(peer.read(buffer), sleep_for(1s));
///     if (first.index() == 0) use(first.value<0>());
///
/// The branches run by turns, in the awaiting task (see fork.hpp).  The first that finishes with a
/// value is the winner; the others are stopped and awaited.  They may have finished all the same:
/// `get<I>()` says what became of each branch.
#pragma once

#include <magpie/runtime/fork.hpp>
#include <magpie/util/result.hpp>

#include <cstddef>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace magpie {

/// The first argument of a `select` whose branches have an order: the first is preferred.
struct biased_t {
  explicit biased_t() = default;
};
inline constexpr biased_t biased;

/// What a `select` ends with: the winner, and what became of every branch.
template <class... Ts>
class select_outcome {
 public:
  static constexpr std::size_t size = sizeof...(Ts);
  template <std::size_t I>
  using type = std::tuple_element_t<I, std::tuple<Ts...>>;

  /// For the library.
  explicit select_outcome(std::size_t winner) noexcept : index_(winner) {}

  /// The first branch that finished with a value.
  std::size_t index() const noexcept { return index_; }

  /// How branch I ended; empty when it was not started: it was switched off, or another had won.
  template <std::size_t I>
  std::optional<result<type<I>>>& get() noexcept {
    return std::get<I>(ended_);
  }
  template <std::size_t I>
  const std::optional<result<type<I>>>& get() const noexcept {
    return std::get<I>(ended_);
  }

  /// The value of branch I, which must have one (asserted).
  template <std::size_t I>
  decltype(auto) value() noexcept {
    MAGPIE_ASSERT(get<I>() && get<I>()->has_value());
    if constexpr (!std::is_void_v<type<I>>) return (**get<I>());
  }

  /// Calls the handler of the winner with its value, moved, and gives what that returns: a value,
  /// or a task to await.  One handler for each branch, all of which return the same type.
  template <class... Fs>
  auto match(Fs&&... handlers) {
    static_assert(sizeof...(Fs) == size, "one handler for each branch");
    std::tuple<Fs&...> all(handlers...);
    return call<0>(all);
  }

 private:
  template <std::size_t I, class Handlers>
  auto call(Handlers& handlers) {
    if constexpr (I + 1 < size) {
      if (index_ != I) return call<I + 1>(handlers);
    }
    if constexpr (std::is_void_v<type<I>>) {
      return std::get<I>(handlers)();
    } else {
      return std::get<I>(handlers)(std::move(value<I>()));
    }
  }

  std::size_t index_;
  std::tuple<std::optional<result<Ts>>...> ended_;
};

namespace detail {

/// A branch that may be switched off.
template <class A>
struct conditional {
  template <class B>
  conditional(bool wanted, B&& a) noexcept : enabled(wanted), inner(std::forward<B>(a)) {}
  bool enabled;
  A inner;
};

template <class A>
struct select_branch {
  using type = operation_for<A>;
  static bool enabled(const A&) noexcept { return true; }
  static A&& inner(A& a) noexcept { return static_cast<A&&>(a); }
};
template <class A>
struct select_branch<conditional<A>> {
  using type = A;
  static bool enabled(const conditional<A>& a) noexcept { return a.enabled; }
  static A&& inner(conditional<A>& a) noexcept { return static_cast<A&&>(a.inner); }
};

template <class... As>
class select_operation final : public static_fork<As...> {
  using base = static_fork<As...>;

 public:
  using value_type = select_outcome<typename As::value_type...>;

  template <class... Branches>
  explicit select_operation(fork_order from, Branches&... branches) noexcept
      : base(ends_on::value, from, select_branch<Branches>::inner(branches)...) {
    std::size_t i = 0;
    bool any = false;
    for (const bool enabled : {select_branch<Branches>::enabled(branches)...}) {
      if (!enabled) this->at(i).at = branch_base::phase::off;
      any = any || enabled;
      ++i;
    }
    if (!any) this->fail_with(std::make_error_code(std::errc::invalid_argument));
  }
  select_operation(select_operation&&) noexcept = default;

  result<value_type> take() {
    this->rethrow();
    value_type outcome(this->winner());
    gather(outcome, std::index_sequence_for<As...>());
    return outcome;
  }

 private:
  template <std::size_t... I>
  void gather(value_type& outcome, std::index_sequence<I...>) {
    // The winner's first: a lease is fetched when it is taken.
    ((I == this->winner() ? gather_one<I>(outcome) : void()), ...);
    ((I != this->winner() ? gather_one<I>(outcome) : void()), ...);
  }

  template <std::size_t I>
  void gather_one(value_type& outcome) {
    const branch_base& branch = this->at(I);
    if (!branch.ended()) return;
    if (branch.error) {
      outcome.template get<I>().emplace(std::unexpected(branch.error));
    } else {
      outcome.template get<I>().emplace(this->template get<I>().take());
    }
  }
};

template <class... As>
auto make_select(fork_order from, As&... branches) noexcept {
  static_assert(sizeof...(As) >= 2 && sizeof...(As) <= 16, "a select has 2 to 16 branches");
  return select_operation<typename select_branch<As>::type...>(from, branches...);
}

}  // namespace detail

/// A branch of a `select` that is left out, and never started, unless `condition` holds.
template <class A>
auto when(bool condition, A&& a) noexcept {
  static_assert(!std::is_lvalue_reference_v<A>, "move the task or operation in");
  return detail::conditional<detail::operation_for<A>>(condition, std::forward<A>(a));
}

/// Waits for the first of `branches` that finishes with a value, stops the others and waits for
/// them; gives a `select_outcome`.  It starts with a branch that chance picks: one that is always
/// ready does not starve the others.
/// Errors: if no branch has a value, that of the first to finish; invalid_argument when all are
/// switched off.  A branch that ends with an exception wins over values, which are then dropped.
/// Stop: passed on to every branch.
/// Cost: nothing beyond that of a branch that completes at once; else a stop scope for each branch
/// that is started, and a trip through the queue for each that is stopped.  No allocation.
template <class... As>
  requires(sizeof...(As) >= 2)
auto select(As&&... branches) noexcept {
  static_assert((!std::is_lvalue_reference_v<As> && ...), "move the tasks and operations in");
  return detail::make_select(detail::fork_order::random, branches...);
}

/// The same in strict order: of two branches that could finish at once the first wins.  A branch
/// behind one that is always ready gets no turn.
template <class... As>
auto select(biased_t, As&&... branches) noexcept {
  static_assert((!std::is_lvalue_reference_v<As> && ...), "move the tasks and operations in");
  return detail::make_select(detail::fork_order::biased, branches...);
}

}  // namespace magpie
