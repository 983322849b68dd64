/// Where streams come from: what is there already, channels, ticks, signals.
///
///     streams::each(urls)                        // the elements of a range
///     streams::messages(std::move(receiver))     // what a channel brings, until it is closed
///     streams::changes(std::move(settings))      // each new value of a `watch` that is seen
///     streams::ticks(interval(1s))
///     streams::signals(std::move(hangups))
///     streams::by_ref(other)                     // a stream that stays where it is
///
/// and a `generator`, which is a stream itself.
/// All give what their `next` waits for, and lose nothing by a stop.
#pragma once

#include <magpie/runtime/interval.hpp>
#include <magpie/sync/stream.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

#include <concepts>
#include <iterator>
#include <optional>
#include <ranges>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie {
class signal_stream;
}

namespace magpie::sync {
namespace detail {

/// The elements of a range, which is kept, and which is moved with the stream before it begins.
template <class R>
class range_stream : public adapter<std::ranges::range_value_t<R>> {
 public:
  using value_type = std::ranges::range_value_t<R>;
  using pulls = pull<>;

  explicit range_stream(R&& range) : range_(std::forward<R>(range)) {}
  range_stream(range_stream&& other) : range_(std::forward<R>(other.range_)) {
    MAGPIE_ASSERT(!other.at_ && "a stream stays where it is once it has begun");
  }

  /// The next element, moved from a range that was moved in, else copied.
  /// Errors: stopped.  Stop: takes no element.  Cost: a unit of the budget.
  adapted_next<range_stream> next() noexcept { return adapted_next<range_stream>(*this); }

  bool ask(pulls&) {
    if (this->settled()) return false;
    if (!at_) at_.emplace(std::ranges::begin(range_));
    if (*at_ == std::ranges::end(range_)) {
      this->ended_ = true;
    } else {
      if constexpr (std::is_lvalue_reference_v<R> || std::ranges::view<R>) {
        this->held_.emplace(**at_);
      } else {
        this->held_.emplace(std::ranges::iter_move(*at_));
      }
      ++*at_;
    }
    return false;
  }
  static std::error_code came(pulls&) noexcept { return no_error; }

 private:
  R range_;
  std::optional<std::ranges::iterator_t<R>> at_;
};

/// What `Call` gives, called with what is kept, again and again; `closed` is the end.
template <class Kept, class Call>
class call_stream : public adapter<typename Call::template value_type<Kept>> {
  using operation = magpie::detail::operation_for<decltype(Call::wait(std::declval<Kept&>()))>;

 public:
  using value_type = typename Call::template value_type<Kept>;
  using pulls = pull<operation>;

  explicit call_stream(Kept&& from) : kept_(std::move(from)) {}
  call_stream(call_stream&&) = default;

  /// Errors: those of what it waits for, but `closed`, which is the end.  Stop: takes nothing.
  adapted_next<call_stream> next() noexcept { return adapted_next<call_stream>(*this); }

  /// What it gets its values from.
  Kept& get() noexcept { return kept_; }

  bool ask(pulls& into) noexcept {
    if (this->settled()) return false;
    into.template emplace<0>(Call::wait(kept_));
    return true;
  }
  std::error_code came(pulls& ended) {
    this->held_.emplace(Call::taken(kept_, ended.template get<0>()));
    return no_error;
  }
  std::error_code failed(pulls&, std::error_code error) noexcept {
    if (error != errc::closed) return error;
    this->ended_ = true;
    return no_error;
  }

 private:
  Kept kept_;
};

struct receive_call {
  template <class R>
  using value_type = await_value<decltype(std::declval<R&>().receive())>;
  static auto wait(auto& from) noexcept { return from.receive(); }
  static auto taken(auto&, auto& ended) { return *ended.take(); }
};

struct change_call {
  template <class R>
  using value_type = decltype(std::declval<R&>().borrow_and_update());
  static auto wait(auto& from) noexcept { return from.changed(); }
  static auto taken(auto& from, auto& ended) {
    static_cast<void>(ended.take());
    return from.borrow_and_update();
  }
};

struct tick_call {
  template <class R>
  using value_type = clock::time_point;
  static auto wait(interval& from) noexcept { return from.tick(); }
  static auto taken(interval&, auto& ended) { return *ended.take(); }
};

struct signal_call {
  template <class R>
  using value_type = int;
  static auto wait(auto& from) noexcept { return from.next(); }
  static auto taken(auto&, auto& ended) { return *ended.take(); }
};

template <class S>
class lent_stream {
 public:
  using value_type = stream_value<S>;

  explicit lent_stream(S& to) noexcept : to_(&to) {}
  auto next() noexcept { return to_->next(); }

 private:
  S* to_;
};

}  // namespace detail

namespace streams {

/// The elements of `range`, one after the other.  A range that is moved in is kept, and its
/// elements are moved; of one that has a name, and must live as long, they are copied.
template <std::ranges::input_range R>
auto each(R&& range) {
  return detail::range_stream<R>(std::forward<R>(range));
}

/// What `receiver` receives, until its channel is closed: an `mpsc_receiver`, a
/// `broadcast_receiver`, or anything that has such a `receive`.
template <class R>
  requires requires(R& from) { from.receive(); }
auto messages(R receiver) {
  return detail::call_stream<R, detail::receive_call>(std::move(receiver));
}

/// The values of a `watch`, as `shared_value`s: each time the newest that was not seen, until the
/// channel is closed.
template <class R>
  requires requires(R& from) { from.borrow_and_update(); }
auto changes(R receiver) {
  return detail::call_stream<R, detail::change_call>(std::move(receiver));
}

/// The ticks of `every`, as the times at which they were scheduled.  Without an end.
inline auto ticks(interval every) {
  return detail::call_stream<interval, detail::tick_call>(std::move(every));
}

/// The signals of a `signal_stream`, as their numbers; see its `next`.  Without an end.
template <std::same_as<signal_stream> S>
auto signals(S from) {
  return detail::call_stream<S, detail::signal_call>(std::move(from));
}

/// A stream that gives what `source`, which must outlive it, gives: for adapters that are to have
/// it for a while.
template <stream S>
auto by_ref(S& source) noexcept {
  return detail::lent_stream<S>(source);
}

}  // namespace streams
}  // namespace magpie::sync
