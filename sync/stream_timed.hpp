/// Adapters that look at the clock: `throttle`, `timeout`, `chunks_timeout`, `debounce`.
///
/// Stop: nothing that was taken from the source is lost; the times go on as if nothing had
/// happened.
#pragma once

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/clock.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/sync/stream.hpp>
#include <magpie/util/errc.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace magpie::sync {
namespace detail {

template <class S, class = clock::duration>
class throttle_stream : public adapter<stream_value<S>> {
 public:
  using pulls = pull<magpie::detail::sleep_operation, stream_next<S>>;

  throttle_stream(S&& source, clock::duration distance)
      : source_(std::move(source)), distance_(distance) {}

  adapted_next<throttle_stream> next() noexcept { return adapted_next<throttle_stream>(*this); }

  bool ask(pulls& into) noexcept {
    if (this->settled()) return false;
    if (clock::now() < from_) {
      into.template emplace<0>(sleep_until(from_));
    } else {
      into.template emplace<1>(source_.next());
    }
    return true;
  }
  std::error_code came(pulls& ended) {
    if (ended.index() == 0) {
      from_ = clock::time_point::min();  // it is over, and nobody needs to look again
      return no_error;
    }
    this->held_ = ended.template take<1>();
    this->ended_ = !this->held_;
    from_ = time_after(distance_);
    return no_error;
  }

 private:
  S source_;
  clock::duration distance_;
  clock::time_point from_ = clock::time_point::min();
};

/// The time of a gap runs from its first `next` on, also while that is stopped and begun anew.
template <class S, class = clock::duration>
class timeout_stream : public adapter<stream_value<S>> {
 public:
  using pulls = pull<decltype(timeout_at(clock::time_point(), std::declval<S&>().next()))>;

  timeout_stream(S&& source, clock::duration most) : source_(std::move(source)), most_(most) {}

  adapted_next<timeout_stream> next() noexcept { return adapted_next<timeout_stream>(*this); }

  bool ask(pulls& into) noexcept {
    if (this->settled()) return false;
    if (!waits_) until_ = time_after(most_);
    waits_ = true;
    into.template emplace<0>(timeout_at(until_, source_.next()));
    return true;
  }
  std::error_code came(pulls& ended) {
    waits_ = false;
    this->held_ = ended.template take<0>();
    this->ended_ = !this->held_;
    return no_error;
  }
  std::error_code failed(pulls&, std::error_code error) noexcept {
    waits_ = waits_ && error == errc::stopped;
    return error;
  }

 private:
  S source_;
  clock::duration most_;
  clock::time_point until_;
  bool waits_ = false;
};

/// Collects items until a time that the first, or each, of them sets.
template <class Self, class S, class T>
class until_quiet : public adapter<T> {
  using item = std::optional<stream_value<S>>;
  using timed = decltype(timeout_at(clock::time_point(), as_result(std::declval<S&>().next())));

 public:
  using pulls = pull<stream_next<S>, timed>;

  adapted_next<Self> next() noexcept { return adapted_next<Self>(self()); }

  bool ask(pulls& into) {
    if (this->settled()) return false;
    if (!self().has_some()) {
      into.template emplace<0>(source_.next());
    } else if (clock::now() >= until_) {  // a source that always has something meets no timer
      self().give();
      return false;
    } else {
      into.template emplace<1>(timeout_at(until_, as_result(source_.next())));
    }
    return true;
  }
  std::error_code came(pulls& ended) {
    if (ended.index() == 0) {
      got(ended.template take<0>());
      return no_error;
    }
    // A deadline of the source's own is its error; ours has stopped it.
    auto outcome = ended.template take<1>();
    if (outcome) {
      got(*std::move(outcome));
    } else if (outcome.error() == errc::stopped && clock::now() >= until_) {
      self().give();
    } else {
      return outcome.error();
    }
    return no_error;
  }

 protected:
  until_quiet(S&& source, clock::duration most) : source_(std::move(source)), most_(most) {}

  void begin() noexcept { until_ = time_after(most_); }

 private:
  void got(item&& one) {
    if (one) {
      self().add(*std::move(one));
      return;
    }
    this->ended_ = true;
    if (self().has_some()) self().give();
  }
  Self& self() noexcept { return static_cast<Self&>(*this); }

  S source_;
  clock::duration most_;
  clock::time_point until_;
};

template <class S, class = std::size_t, class = clock::duration>
class chunks_timeout_stream
    : public until_quiet<chunks_timeout_stream<S>, S, std::vector<stream_value<S>>> {
  using base = until_quiet<chunks_timeout_stream<S>, S, std::vector<stream_value<S>>>;

 public:
  chunks_timeout_stream(S&& source, std::size_t size, clock::duration most)
      : base(std::move(source), most), size_(size) {}

  std::error_code refused() const noexcept {
    return size_ != 0 ? no_error : std::make_error_code(std::errc::invalid_argument);
  }
  bool has_some() const noexcept { return !collected_.empty(); }
  void add(stream_value<S>&& item) {
    if (collected_.empty()) this->begin();
    collected_.push_back(std::move(item));
    if (collected_.size() == size_) give();
  }
  void give() { this->held_.emplace(std::exchange(collected_, {})); }

 private:
  std::size_t size_;
  std::vector<stream_value<S>> collected_;
};

template <class S, class = clock::duration>
class debounce_stream : public until_quiet<debounce_stream<S>, S, stream_value<S>> {
 public:
  debounce_stream(S&& source, clock::duration quiet)
      : until_quiet<debounce_stream, S, stream_value<S>>(std::move(source), quiet) {}

  bool has_some() const noexcept { return latest_.has_value(); }
  void add(stream_value<S>&& item) {
    latest_.emplace(std::move(item));
    this->begin();
  }
  void give() {
    this->held_ = std::move(latest_);
    latest_.reset();
  }

 private:
  std::optional<stream_value<S>> latest_;
};

}  // namespace detail

namespace streams {

/// Gives what its source gives, and after each item takes none for `distance`.
/// Cost: a look at the clock for each item, and a sleep where one comes too soon.
template <class Rep, class Period>
auto throttle(std::chrono::duration<Rep, Period> distance) {
  return detail::adapts<detail::throttle_stream>(clock_duration(distance));
}

/// Gives what its source gives; where that takes longer than `most`, from the first `next` that
/// waits for it on, `next` fails with `errc::deadline`, and the stream can be gone on with, if its
/// source can after a stop.
template <class Rep, class Period>
auto timeout(std::chrono::duration<Rep, Period> most) {
  return detail::adapts<detail::timeout_stream>(clock_duration(most));
}

/// Gives the items in vectors: of `size`, or of fewer when `most` has passed since the first of
/// them came, or at the end.  Never an empty one.  An error comes out at once; what was collected
/// before it is given with what follows.  When the time has passed it stops the `next` of its
/// source, which unwinds a generator.
/// Errors: invalid_argument for a size of 0.  Cost: the vector; a timer for each item but the
/// first.
template <class Rep, class Period>
auto chunks_timeout(std::size_t size, std::chrono::duration<Rep, Period> most) {
  return detail::adapts<detail::chunks_timeout_stream>(size, clock_duration(most));
}

/// Gives an item when no other has followed it for `quiet`; those that were followed are destroyed.
/// At the end of its source it gives the last one at once.  It stops the `next` of its source,
/// which unwinds a generator.
/// Cost: a timer for each item.
template <class Rep, class Period>
auto debounce(std::chrono::duration<Rep, Period> quiet) {
  return detail::adapts<detail::debounce_stream>(clock_duration(quiet));
}

}  // namespace streams
}  // namespace magpie::sync
