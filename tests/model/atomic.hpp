/// What `<magpie/util/atomic.hpp>` gives, over the relacy model checker.
///
/// Every operation is a point where the checker may switch threads, and a load may see an older
/// store as far as the orders allow it.  `plain` reports data races.  `assertion_failed` ends the
/// schedule as a failure instead of aborting the process.
/// A model program is one translation unit, so this header defines functions.
///
/// What relacy does not see: a failing compare-exchange always reads the newest value; a load looks
/// back one store (bounded search) or two (random search), not farther; no load is satisfied from
/// the future (nothing here relies on that).
#pragma once

#ifndef MAGPIE_MODEL
#define MAGPIE_MODEL 1
#endif
#define MAGPIE_MODEL_ATOMICS 1

#include <relacy/relacy.hpp>

// relacy.hpp redefines words that other headers and our own code use.
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#undef VAR
#undef VAR_T
#undef TLS_T
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef $

#include <magpie/tests/model/mutation.hpp>
#include <magpie/util/assert.hpp>

#include <atomic>
#include <source_location>

namespace magpie {

namespace order {
inline constexpr std::memory_order relaxed = std::memory_order_relaxed;
inline constexpr std::memory_order acquire = std::memory_order_acquire;
inline constexpr std::memory_order release = std::memory_order_release;
inline constexpr std::memory_order acq_rel = std::memory_order_acq_rel;
inline constexpr std::memory_order seq_cst = std::memory_order_seq_cst;
}  // namespace order

namespace model {

inline rl::memory_order relacy_order(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return rl::mo_relaxed;
    case std::memory_order_acquire:
      return rl::mo_acquire;
    case std::memory_order_release:
      return rl::mo_release;
    case std::memory_order_acq_rel:
      return rl::mo_acq_rel;
    default:
      return rl::mo_seq_cst;
  }
}

inline rl::debug_info relacy_place(const std::source_location& where) {
  return {where.function_name(), where.file_name(), where.line()};
}

/// The halves of a torn read-modify-write.
inline rl::memory_order load_half(std::memory_order order) {
  return order == order::seq_cst                              ? rl::mo_seq_cst
         : order == order::acquire || order == order::acq_rel ? rl::mo_acquire
                                                              : rl::mo_relaxed;
}
inline rl::memory_order store_half(std::memory_order order) {
  return order == order::seq_cst                              ? rl::mo_seq_cst
         : order == order::release || order == order::acq_rel ? rl::mo_release
                                                              : rl::mo_relaxed;
}

}  // namespace model

/// The interface of std::atomic without default orders, conversions and operators.
template <typename T>
class atomic {
  using place = std::source_location;
  using operation = model::operation;

 public:
  atomic() = default;
  atomic(T value) : value_(value) {}

  T load(std::memory_order order, place at = place::current()) const {
    order = model::engine.order_at(operation::load, order, at);
    return value_.load(model::relacy_order(order), model::relacy_place(at));
  }

  void store(T value, std::memory_order order, place at = place::current()) {
    order = model::engine.order_at(operation::store, order, at);
    value_.store(value, model::relacy_order(order), model::relacy_place(at));
  }

  T exchange(T value, std::memory_order order, place at = place::current()) {
    return modify<rl::rmw_type_swap>(value, order, at);
  }
  T fetch_add(T value, std::memory_order order, place at = place::current()) {
    return modify<rl::rmw_type_add>(value, order, at);
  }
  T fetch_sub(T value, std::memory_order order, place at = place::current()) {
    return modify<rl::rmw_type_sub>(value, order, at);
  }
  T fetch_and(T value, std::memory_order order, place at = place::current()) {
    return modify<rl::rmw_type_and>(value, order, at);
  }
  T fetch_or(T value, std::memory_order order, place at = place::current()) {
    return modify<rl::rmw_type_or>(value, order, at);
  }
  T fetch_xor(T value, std::memory_order order, place at = place::current()) {
    return modify<rl::rmw_type_xor>(value, order, at);
  }

  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure, place at = place::current()) {
    return compare_exchange<true>(expected, desired, success, failure, at);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure, place at = place::current()) {
    return compare_exchange<false>(expected, desired, success, failure, at);
  }

 private:
  template <rl::rmw_type_e Type>
  T modify(T value, std::memory_order order, const place& at) {
    if (model::engine.torn_at(operation::rmw, order, at)) {
      const T before = value_.load(model::load_half(order), model::relacy_place(at));
      value_.store(rl::perform_rmw(rl::rmw_type_t<Type>(), before, value), model::store_half(order),
                   model::relacy_place(at));
      return before;
    }
    order = model::engine.order_at(operation::rmw, order, at);
    return value_.rmw(rl::rmw_type_t<Type>(), value, model::relacy_order(order),
                      model::relacy_place(at));
  }

  template <bool Weak>
  bool compare_exchange(T& expected, T desired, std::memory_order success,
                        std::memory_order failure, const place& at) {
    const rl::debug_info info = model::relacy_place(at);
    if (model::engine.torn_at(operation::cas, success, at)) {
      const T before = value_.load(model::load_half(success), info);
      if (before != expected) {
        expected = before;
        return false;
      }
      value_.store(desired, model::store_half(success), info);
      return true;
    }
    success = model::engine.order_at(operation::cas, success, at);
    failure = model::engine.order_at(operation::cas_failure, failure, at);
    // relacy takes no failure order that is stronger than the success order's load half.
    rl::memory_order failure_order = model::relacy_order(failure);
    if (model::load_half(success) == rl::mo_relaxed) {
      failure_order = rl::mo_relaxed;
    } else if (failure == order::seq_cst && success != order::seq_cst) {
      failure_order = rl::mo_acquire;
    }
    return value_.compare_exchange(rl::bool_t<Weak>(), expected, desired,
                                   model::relacy_order(success), failure_order, info);
  }

  rl::atomic<T> value_;
};

/// A variable that no two threads may touch without an order between them.
template <typename T>
class plain {
 public:
  plain() = default;
  plain(T value) : value_(value) {}
  plain(const plain& other) : value_(other.get()) {}

  operator T() const { return get(); }
  T operator->() const { return get(); }
  plain& operator=(T value) {
    value_(rl::debug_info("plain variable")).store(value);
    return *this;
  }
  plain& operator=(const plain& other) { return *this = other.get(); }

 private:
  T get() const { return value_(rl::debug_info("plain variable")).load(); }

  rl::var<T> value_;
};

inline void cpu_relax() { rl::yield(1, rl::debug_info("cpu_relax")); }
inline void thread_yield() { rl::yield(1, rl::debug_info("thread_yield")); }

}  // namespace magpie
