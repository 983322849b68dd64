/// Floors: coroutines and a run queue with nothing in them but what the loop at hand needs.
///
/// One thread, one free list of frames, no errors, no stop, no scheduler.  What is left of the
/// runtime's figure above these is what Magpie costs.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

namespace magpie::bench::bare {

/// A free list for each frame size, in steps of 64 bytes up to 1024; one thread.
struct frames {
  struct block {
    block* next;
  };
  static inline block* lists[17] = {};

  static void* take(std::size_t size) noexcept {
    block*& list = lists[(size + 63) / 64];
    if (list == nullptr) [[unlikely]]
      return ::operator new((size + 63) / 64 * 64);
    return std::exchange(list, list->next);
  }
  static void give(void* memory, std::size_t size) noexcept {
    block*& list = lists[(size + 63) / 64];
    list = ::new (memory) block{list};
  }
};

struct pooled {
  static void* operator new(std::size_t size) { return frames::take(size); }
  static void operator delete(void* memory, std::size_t size) noexcept {
    frames::give(memory, size);
  }
};

/// A lazy task with an int for its value, awaited once, by symmetric transfer.
class lazy {
 public:
  struct promise_type : pooled {
    std::coroutine_handle<> waiter;
    int value = 0;

    lazy get_return_object() noexcept {
      return lazy(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    auto final_suspend() const noexcept {
      struct hand_over {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(
            std::coroutine_handle<promise_type> ended) const noexcept {
          return ended.promise().waiter;
        }
        void await_resume() const noexcept {}
      };
      return hand_over{};
    }
    void return_value(int given) noexcept { value = given; }
    void unhandled_exception() noexcept { std::terminate(); }
  };

  explicit lazy(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  lazy(lazy&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  ~lazy() {
    if (frame_) frame_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) noexcept {
    frame_.promise().waiter = waiter;
    return frame_;
  }
  int await_resume() noexcept {
    const int value = frame_.promise().value;
    std::exchange(frame_, nullptr).destroy();
    return value;
  }

 private:
  std::coroutine_handle<promise_type> frame_;
};

/// Starts at once, ends by itself.
struct detached {
  struct promise_type : pooled {
    detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
};

/// A run queue: a ring of frames.
class run_queue {
 public:
  void push(std::coroutine_handle<> frame) noexcept { ring_[tail_++ % size] = frame; }
  void run() noexcept {
    while (head_ != tail_) ring_[head_++ % size].resume();
  }

  /// `co_await queue.turn()`: goes to the tail.
  auto turn() noexcept {
    struct to_the_tail {
      run_queue* queue;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> frame) const noexcept { queue->push(frame); }
      void await_resume() const noexcept {}
    };
    return to_the_tail{this};
  }

 private:
  static constexpr std::size_t size = 4096;
  std::coroutine_handle<> ring_[size];
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
};

/// Counts children down; the last one puts the waiter into the queue.
class countdown {
 public:
  explicit countdown(run_queue& queue) noexcept : queue_(&queue) {}
  void begin() noexcept { ++left_; }
  void end() noexcept {
    if (--left_ == 0 && waiter_) queue_->push(std::exchange(waiter_, nullptr));
  }

  bool await_ready() const noexcept { return left_ == 0; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
  void await_resume() const noexcept {}

 private:
  run_queue* queue_;
  std::size_t left_ = 0;
  std::coroutine_handle<> waiter_;
};

/// Wakes one waiter, or keeps one wake for the next.
class baton {
 public:
  explicit baton(run_queue& queue) noexcept : queue_(&queue) {}
  void post() noexcept {
    if (waiter_)
      queue_->push(std::exchange(waiter_, nullptr));
    else
      set_ = true;
  }

  bool await_ready() noexcept { return std::exchange(set_, false); }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
  void await_resume() const noexcept {}

 private:
  run_queue* queue_;
  std::coroutine_handle<> waiter_;
  bool set_ = false;
};

}  // namespace magpie::bench::bare
