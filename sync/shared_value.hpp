/// `shared_value<T>`: a value that does not change and is shared by whoever looks at it.
///
/// Channels that send to many keep their values in such blocks.  Who receives one holds a
/// reference: nothing is copied, no code of the value's type runs under a lock, and a look may last
/// as long as it likes.  Blocks come from the pool of frames; one goes with its last reference.
///
/// (R) a reference is given up: the last one frees the block and sees what the others did.
/// Threads: any, as `std::shared_ptr`.
#pragma once

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace magpie::sync {
namespace detail {

/// A block from the pool of frames that holds a `Block`; null without memory.
template <class Block, class... Args>
Block* make_pooled(Args&&... args) {
  static_assert(alignof(Block) <= alignof(std::max_align_t));
  struct gives_back {
    ~gives_back() {
      if (memory != nullptr) frame_free(memory, sizeof(Block));
    }
    void* memory;
  } made{frame_allocate(sizeof(Block))};
  if (made.memory == nullptr) return nullptr;
  auto* const block = ::new (made.memory) Block(std::forward<Args>(args)...);
  made.memory = nullptr;
  return block;
}
template <class Block>
void free_pooled(Block* block) noexcept {
  block->~Block();  // the value's destructor may do anything: no lock is held
  frame_free(block, sizeof(Block));
}

/// What is counted of a value's block.
class value_block {
 public:
  value_block() noexcept = default;
  value_block(const value_block&) = delete;
  value_block& operator=(const value_block&) = delete;

  /// Relaxed: whoever takes one more has one, or the lock of a channel that has one.
  void add_reference() noexcept { references_.fetch_add(1, order::relaxed); }
  /// True: it was the last one.
  bool drop_reference() noexcept { return references_.fetch_sub(1, order::acq_rel) == 1; }  // (R)

 private:
  atomic<std::uint32_t> references_{1};
};

template <class T>
struct pooled_value final : value_block {
  static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                "send a pointer instead of a reference");
  static_assert(std::is_nothrow_destructible_v<T>);

  template <class... Args>
  explicit pooled_value(Args&&... args) : value(std::forward<Args>(args)...) {}

  T value;
};

}  // namespace detail

/// A reference to a value, which it keeps as it is; null after a move.
template <class T>
class shared_value {
 public:
  shared_value() noexcept = default;
  shared_value(const shared_value& other) noexcept : block_(other.block_) {
    if (block_ != nullptr) block_->add_reference();
  }
  shared_value(shared_value&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  shared_value& operator=(shared_value other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~shared_value() {
    if (block_ != nullptr && block_->drop_reference()) detail::free_pooled(block_);
  }

  /// For the library: takes over a reference.
  explicit shared_value(detail::value_block* block) noexcept
      : block_(static_cast<detail::pooled_value<T>*>(block)) {}
  detail::pooled_value<T>* block() const noexcept { return block_; }
  detail::pooled_value<T>* release() noexcept { return std::exchange(block_, nullptr); }

  explicit operator bool() const noexcept { return block_ != nullptr; }
  const T& operator*() const noexcept {
    MAGPIE_ASSERT(block_ != nullptr && "there is no value");
    return block_->value;
  }
  const T* operator->() const noexcept { return __builtin_addressof(**this); }

 private:
  detail::pooled_value<T>* block_ = nullptr;
};

}  // namespace magpie::sync
