/// `buffered` and `buffer_unordered`: several tasks of a stream at a time.
///
///     co_await (streams::each(urls)
///               | streams::map([&](const std::string& url) { return fetch(url); })   // tasks
///               | streams::buffered(8)
///               | streams::for_each([&](page one) -> task<> { … }));
///
/// The tasks are children of a group, so that they go on while the consumer is busy with a value,
/// and while it waits for something else.  A *place* is taken before the next item is, and given
/// back when the value has been taken: so there are never more than so many at work, finished ones
/// that wait for the consumer among them.
///
///     feeder (a child)      takes a place; awaits the source's next; spawns that; again
///     child                 awaits its task; sends number, value and place to the consumer
///     next                  receives; of `buffered`, keeps what is not in turn
///
/// No child may outlive what it works for, and a destructor cannot wait: so a pipeline with one of
/// these is no stream but the *plan* of one, which may be adapted as a stream may, and is run by
/// what ends it (`for_each`, `collect` …), or by `with_stream` for a body that awaits `next`
/// itself.  That opens the group, and is over when all children are.
///
/// Whoever consumes must not take the end of what was cut off for the end of the stream: children
/// that are stopped, or fail, let go of the channel before the stop has come to the consumer.  So
/// the feeder says at its end how many there were, and a `next` that has not got as many, or gets
/// one whose turn could not come yet, waits for the stop.
///
/// What stands to the left of `buffered` is run by the feeder: beside the consumer, and on other
/// workers.
#pragma once

#include <magpie/runtime/task_group.hpp>
#include <magpie/sync/event.hpp>
#include <magpie/sync/mpsc.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/sync/source_wait.hpp>
#include <magpie/sync/stream.hpp>
#include <magpie/util/assert.hpp>
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

/// What a child has made, which one it was, and its place.
template <class T>
struct made_by_child {
  made_by_child(std::size_t which, T&& made, semaphore_permit&& held)
      : number(which), value(std::move(made)), place(std::move(held)) {}

  std::size_t number;
  T value;
  semaphore_permit place;
};

/// What feeder and consumer have in common besides the channel.
struct buffer_state {
  explicit buffer_state(std::size_t most) noexcept : places(most) {}

  static constexpr std::size_t not_all = ~std::size_t{0};

  semaphore places;
  /// How many there were, once the source has ended.  No atomic: it is written before the feeder
  /// lets go of the channel, and read after that is seen to be closed.
  std::size_t fed = not_all;
  event never;  ///< What is awaited by who will be stopped.
};

template <class A, class T>
task<> works_for_stream(A work, semaphore_permit place, std::size_t number,
                        mpsc_sender<made_by_child<T>> to) {
  auto value = co_await std::move(work);
  // There is room for as many as there are places.  If the consumer has gone, nobody wants it.
  static_cast<void>(to.try_send(made_by_child<T>(number, std::move(value), std::move(place))));
}

template <class S, class T>
task<> feeds_stream(S& source, buffer_state& state, mpsc_sender<made_by_child<T>> to,
                    task_group& group) {
  for (std::size_t number = 0;; ++number) {
    auto place = co_await state.places.acquire();
    auto work = co_await source.next();
    if (!work) {
      state.fed = number;
      co_return;
    }
    group.spawn(
        works_for_stream<stream_value<S>, T>(*std::move(work), std::move(place), number, to));
  }
}

template <class T, bool ordered>
class buffered_stream : public adapter<T> {
 public:
  using pulls = pull<receive_message<made_by_child<T>>, source_wait>;

  buffered_stream(mpsc_receiver<made_by_child<T>> from, std::size_t most, buffer_state& state)
      : from_(std::move(from)), early_(ordered ? most : 0), most_(most), state_(&state) {}
  /// One that cannot be had.
  explicit buffered_stream(std::errc refused) noexcept
      : most_(1), refused_(std::make_error_code(refused)) {}

  /// Errors: invalid_argument, if there is no place; those of tasks and of the source end the whole
  /// pipeline.  Stop: takes no value; the tasks go on.  Cost: no allocation.
  adapted_next<buffered_stream> next() noexcept { return adapted_next<buffered_stream>(*this); }

  std::error_code refused() const noexcept { return refused_; }
  bool ask(pulls& into) {
    if constexpr (ordered) {
      if (!this->held_ && early_[turn_ % most_]) {
        hold(*std::move(early_[turn_ % most_]));
        early_[(turn_ - 1) % most_].reset();
      }
    }
    if (this->settled()) return false;
    if (cut_off_) {
      into.template emplace<1>(state_->never.wait());
    } else {
      into.template emplace<0>(from_.receive());
    }
    return true;
  }
  std::error_code came(pulls& ended) {
    auto one = ended.template take<0>();
    ++received_;
    if (!ordered || one.number == turn_) {
      hold(std::move(one));
    } else if (one.number - turn_ >= most_) {
      cut_off_ = true;  // it has the place of one that will not come
    } else {
      early_[one.number % most_].emplace(std::move(one));
    }
    return no_error;
  }
  std::error_code failed(pulls&, std::error_code error) noexcept {
    if (error != errc::closed) return error;
    this->ended_ = received_ == state_->fed;
    cut_off_ = !this->ended_;
    return no_error;
  }
  std::optional<T> take_item() {
    auto item = adapter<T>::take_item();
    place_.release();
    return item;
  }

 private:
  void hold(made_by_child<T>&& one) {
    this->held_.emplace(std::move(one.value));
    place_ = std::move(one.place);
    ++turn_;
  }

  mpsc_receiver<made_by_child<T>> from_;
  std::vector<std::optional<made_by_child<T>>> early_;  ///< What is not in turn.
  semaphore_permit place_;                              ///< Of what is held.
  std::size_t most_;
  std::size_t turn_ = 0;
  std::size_t received_ = 0;
  buffer_state* state_ = nullptr;
  bool cut_off_ = false;
  std::error_code refused_;
};

/// The plan of a stream: `open` gives it, in a group that ends before the plan does.
template <class P>
concept stream_plan = requires(P& plan, task_group& group) {
  { plan.open(group) } -> stream;
};

template <class S, bool ordered>
class buffered_plan {
  static_assert(can_be_awaited<stream_value<S>>,
                "a stream of tasks, or of operations, is buffered");
  using value = await_value<stream_value<S>>;
  static_assert(std::is_object_v<value>, "what gives no value is for for_each_concurrent");

 public:
  buffered_plan(S&& source, std::size_t most) : source_(std::move(source)), most_(most) {}
  buffered_plan(buffered_plan&& other) : source_(std::move(other.source_)), most_(other.most_) {
    MAGPIE_ASSERT(!other.state_);
  }

  buffered_stream<value, ordered> open(task_group& group) {
    using stream = buffered_stream<value, ordered>;
    if (most_ == 0 || most_ > mpsc_capacity_max) return stream(std::errc::invalid_argument);
    auto ends = mpsc<made_by_child<value>>(most_);
    if (ends.sender.is_closed()) return stream(std::errc::not_enough_memory);
    buffer_state& state = state_.emplace(most_);
    group.spawn(feeds_stream<S, value>(source_, state, std::move(ends.sender), group));
    return stream(std::move(ends.receiver), most_, state);
  }

 private:
  S source_;
  std::size_t most_;
  std::optional<buffer_state> state_;
};

template <class S, class = std::size_t>
using in_order_plan = buffered_plan<S, true>;
template <class S, class = std::size_t>
using unordered_plan = buffered_plan<S, false>;

/// A plan with an adapter behind it, which may make another plan of it.
template <class Plan, class Make>
class staged_plan {
  using made = decltype(std::declval<stage<Make>&>().apply(
      std::declval<Plan&>().open(std::declval<task_group&>())));
  struct nothing {};

 public:
  staged_plan(Plan&& plan, stage<Make>&& adapts)
      : plan_(std::move(plan)), adapts_(std::move(adapts)) {}

  auto open(task_group& group) {
    if constexpr (stream_plan<made>) {
      return next_.emplace(adapts_.apply(plan_.open(group))).open(group);
    } else {
      return adapts_.apply(plan_.open(group));
    }
  }

 private:
  Plan plan_;
  stage<Make> adapts_;
  std::optional<std::conditional_t<stream_plan<made>, made, nothing>> next_;
};

template <class Plan>
using opened_stream = decltype(std::declval<Plan&>().open(std::declval<task_group&>()));

/// Opens the plan's stream in a group, runs `f(stream)`, and stops what is left then.
template <class R, class Plan, class F>
task<R> runs_plan(Plan plan, F f) {
  auto inside = [&](task_group& group) -> task<R> {
    auto source = plan.open(group);
    auto consumes = std::invoke(f, source);
    if constexpr (std::is_void_v<R>) {
      co_await std::move(consumes);
      group.stop();
    } else {
      R value = co_await std::move(consumes);
      group.stop();
      co_return std::move(value);
    }
  };
  if constexpr (std::is_void_v<R>) {
    co_await with_task_group(inside);
  } else {
    co_return co_await with_task_group(inside);
  }
}

template <class Plan, class F>
using plan_value = await_value<std::invoke_result_t<F&, opened_stream<Plan>&>>;

/// Adapts the stream of a plan.
template <stream_plan Plan, class Make>
auto operator|(Plan&& plan, stage<Make> adapts) {
  static_assert(!std::is_lvalue_reference_v<Plan>, "move the plan in");
  return staged_plan<Plan, Make>(std::move(plan), std::move(adapts));
}

/// Consumes it.
template <stream_plan Plan, class Run>
auto operator|(Plan&& plan, ending<Run> consumes) {
  static_assert(!std::is_lvalue_reference_v<Plan>, "move the plan in");
  auto lends = [e = std::move(consumes)](opened_stream<Plan>& source) mutable {
    return e.apply(source);
  };
  return runs_plan<plan_value<Plan, decltype(lends)>>(std::move(plan), std::move(lends));
}

}  // namespace detail

namespace streams {

/// Awaits what its source gives, tasks or operations, `most` of them at a time, each as a child of
/// a group, and gives their values in the order of the source.  One that is slow holds up the
/// others when `most` of them have come after it.
/// Errors: the first of a task or of the source ends the whole pipeline: it stops the other tasks
/// and the consumer, and comes out of what runs the pipeline.  invalid_argument, out of `next`, for
/// `most` of 0 or of more than `mpsc_capacity_max`.
/// Stop: stops the tasks and waits for them.  One of `next` alone leaves them at work.
/// Threads: the tasks, and all that is to the left, run on several at once.
/// Cost: two pooled blocks for each item; room for `most` values from the start.
inline auto buffered(std::size_t most) { return detail::adapts<detail::in_order_plan>(most); }

/// The same in the order in which they finish.
inline auto buffer_unordered(std::size_t most) {
  return detail::adapts<detail::unordered_plan>(most);
}

/// Runs `body(stream)` with the stream of a pipeline that has `buffered` or `buffer_unordered` in
/// it; gives the body's value.  Tasks that are left when the body ends are stopped and awaited.
/// Errors: the body's; the first of a task or of a source.  Stop: stops all, and waits for them.
/// Cost: a frame, a group.
template <detail::stream_plan Plan, class F>
auto with_stream(Plan&& plan, F&& body) {
  static_assert(!std::is_lvalue_reference_v<Plan>, "move the plan in");
  using function = std::decay_t<F>;
  return detail::runs_plan<detail::plan_value<Plan, function>>(std::move(plan),
                                                               detail::kept(std::forward<F>(body)));
}

}  // namespace streams
}  // namespace magpie::sync
