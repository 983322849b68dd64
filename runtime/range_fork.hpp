/// A fork into as many branches as a range has elements, all of one type.
///
/// The elements move into one block of memory when the fork is made; that is the only allocation.
#pragma once

#include <magpie/runtime/fork.hpp>
#include <magpie/runtime/frame_pool.hpp>

#include <cstddef>
#include <new>
#include <ranges>
#include <utility>

namespace magpie::detail {

/// A range whose elements a fork may take: owned by the caller no more, and of known size.
template <class R>
concept branch_range =
    std::ranges::input_range<R> && std::ranges::sized_range<R> && !std::is_lvalue_reference_v<R>;

template <class R>
using branch_of = operation_for<std::ranges::range_value_t<R>>;

/// The block: `size` branches, of which `made` are alive.
template <class A>
struct branch_block {
  struct slot {
    template <class Inner>
    explicit slot(Inner&& inner) noexcept : operation(std::forward<Inner>(inner)) {}
    branch_base branch;
    A operation;
  };
  static_assert(alignof(slot) <= alignof(std::max_align_t));

  explicit branch_block(std::size_t count) noexcept : size(count) {
    if (count != 0 && count <= ~std::size_t{0} / sizeof(slot))
      slots = static_cast<slot*>(frame_allocate(count * sizeof(slot)));
  }
  branch_block(branch_block&& other) noexcept
      : size(other.size),
        made(std::exchange(other.made, 0)),
        slots(std::exchange(other.slots, nullptr)) {}
  branch_block& operator=(branch_block&&) = delete;
  ~branch_block() {
    for (std::size_t i = 0; i < made; ++i) slots[i].~slot();
    if (slots != nullptr) frame_free(slots, size * sizeof(slot));
  }

  template <class Inner>
  void add(Inner&& inner) noexcept {
    MAGPIE_ASSERT(made < size);
    ::new (static_cast<void*>(slots + made)) slot(std::forward<Inner>(inner));
    ++made;
  }

  std::size_t size;
  std::size_t made = 0;
  slot* slots = nullptr;
};

template <class A>
class range_fork : public fork_base {
 protected:
  /// `extra` branches follow those of the range, for a derived class.
  template <class R>
  range_fork(ends_on decides, fork_order from, R&& range, std::size_t extra = 0)
      : fork_base(decides, from, std::ranges::size(range) + extra),
        block_(std::ranges::size(range)) {
    if (block_.size != 0 && block_.slots == nullptr) {
      fail_with(std::make_error_code(std::errc::not_enough_memory));
      return;
    }
    for (auto at = std::ranges::begin(range); at != std::ranges::end(range); ++at)
      block_.add(std::ranges::iter_move(at));
    MAGPIE_ASSERT(block_.made == block_.size);
  }
  range_fork(range_fork&&) noexcept = default;
  ~range_fork() = default;

  branch_base& at(std::size_t i) noexcept override { return block_.slots[i].branch; }
  bool try_branch(std::size_t i, stop_scope& scope, std::error_code& error) noexcept override {
    if (!operation(i).try_complete(scope)) return false;
    error = operation(i).failed();
    return true;
  }
  bool is_leaf(std::size_t) const noexcept override { return is_leaf_operation<A>; }
  std::coroutine_handle<> start_branch(std::size_t i, continuation to,
                                       stop_scope& scope) noexcept override {
    return operation(i).start(to, scope);
  }
  bool close_branch(std::size_t i) noexcept override { return close_operation(operation(i)); }

  A& operation(std::size_t i) noexcept { return block_.slots[i].operation; }
  std::size_t size() const noexcept { return block_.size; }

  /// How branch `i`, which has ended, did so.
  result<typename A::value_type> outcome_of(std::size_t i) {
    if (at(i).error) return std::unexpected(at(i).error);
    return operation(i).take();
  }

  void rethrow() {
    if (threw() != none) static_cast<void>(operation(threw()).take());
  }

 private:
  branch_block<A> block_;
};

}  // namespace magpie::detail
