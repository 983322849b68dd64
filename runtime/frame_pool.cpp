#include <magpie/runtime/frame_pool.hpp>

#include <magpie/util/assert.hpp>
#include <magpie/util/atomic.hpp>
#include <magpie/util/cache_line.hpp>
#include <magpie/util/spin_lock.hpp>

#include <cstdlib>

namespace magpie {
namespace detail {

__thread frame_cache frame_cache_of_thread [[gnu::tls_model("initial-exec")]];

namespace {

constexpr std::size_t depot_chains_max = 64;
constexpr bool bypass = MAGPIE_FRAME_POOL_BYPASS != 0;

/// How many blocks of a class a thread keeps: 32 KiB of them, but 16 at least and 128 at most.
constexpr std::uint32_t bound_of(std::size_t frame_class) noexcept {
  const std::size_t blocks = 32768 / (frame_class * frame_class_bytes);
  return static_cast<std::uint32_t>(blocks < 16 ? 16 : blocks > 128 ? 128 : blocks);
}

/// One class of the depot: a stack of chains.  Everything under its lock.
struct alignas(cache_line_size) depot_shelf {
  spin_lock lock;
  free_frame* top = nullptr;
  std::size_t chains = 0;
};

constinit depot_shelf depot[frame_classes];

/// What a thread's slow path needs to know.
struct thread_state {
  bool registered = false;     // the exit hook below will run
  bool ended = false;          // it has run: nothing may be kept any more
  std::uint32_t counted = 0;   // events in `counts` that have not been published
  std::uint64_t fail_nth = 0;  // allocations until the one that fails; 0: not armed
  frame_pool_counts counts;
};
constinit thread_local thread_state state;

/// The counts of all threads together.
struct published_counts {
  atomic<std::uint64_t> mallocs{0};
  atomic<std::uint64_t> frees{0};
  atomic<std::uint64_t> depot_puts{0};
  atomic<std::uint64_t> depot_gets{0};
};
constinit published_counts published;

void publish_counts() noexcept {
  // Relaxed: statistics, which publish nothing but themselves.
  published.mallocs.fetch_add(state.counts.mallocs, order::relaxed);
  published.frees.fetch_add(state.counts.frees, order::relaxed);
  published.depot_puts.fetch_add(state.counts.depot_puts, order::relaxed);
  published.depot_gets.fetch_add(state.counts.depot_gets, order::relaxed);
  state.counts = {};
  state.counted = 0;
}

void register_thread() noexcept;

void count(std::uint64_t frame_pool_counts::* which) noexcept {
  constexpr std::uint32_t publish_each = 64;  // or large frames would contend for one line
  register_thread();
  ++(state.counts.*which);
  if (++state.counted == publish_each || state.ended) {
    publish_counts();
  }
}

void free_block(void* memory) noexcept {
  count(&frame_pool_counts::frees);
  std::free(memory);
}

void free_chain(free_frame* frame) noexcept {
  while (frame != nullptr) {
    free_frame* next = frame->next;
    free_block(frame);
    frame = next;
  }
}

/// Puts a chain on its shelf, or frees it if that is full.
void put_chain(std::size_t frame_class, free_frame* chain, std::uint32_t size) noexcept {
  depot_shelf& shelf = depot[frame_class];
  chain->chain_size = size;
  {
    lock_scope guard(shelf.lock);
    if (shelf.chains != depot_chains_max) {
      chain->next_chain = shelf.top;
      shelf.top = chain;
      ++shelf.chains;
      chain = nullptr;
    }
  }
  if (chain == nullptr) {
    count(&frame_pool_counts::depot_puts);
  } else {
    free_chain(chain);
  }
}

free_frame* take_chain(std::size_t frame_class) noexcept {
  depot_shelf& shelf = depot[frame_class];
  lock_scope guard(shelf.lock);
  free_frame* chain = shelf.top;
  if (chain != nullptr) {
    shelf.top = chain->next_chain;
    --shelf.chains;
  }
  return chain;
}

/// Gives all the calling thread's blocks to the depot and leaves its lists without room.
void flush_thread() noexcept {
  for (std::size_t i = 1; i != frame_classes; ++i) {
    frame_class_list& list = frame_cache_of_thread.lists[i];
    if (list.first != nullptr) {
      put_chain(i, list.first, bound_of(i) - list.room);
    }
    list = {};
  }
}

struct exit_hook {
  ~exit_hook() {
    flush_thread();
    state.ended = true;
    publish_counts();
  }
  void touch() noexcept {}  // makes the thread construct it, and so destroy it at its end
};
thread_local exit_hook hook;

void register_thread() noexcept {
  if (!state.registered) {
    state.registered = true;
    hook.touch();
  }
}

/// Whether blocks may be kept in the calling thread's lists.
bool may_keep() noexcept {
  if (bypass || state.ended || state.fail_nth != 0) {
    return false;
  }
  register_thread();
  return true;
}

bool must_fail() noexcept { return state.fail_nth != 0 && --state.fail_nth == 0; }

}  // namespace

void* frame_allocate_slowly(std::size_t size) noexcept {
  if (must_fail()) {
    return nullptr;
  }
  const bool pooled = size <= frame_bytes_max && size != 0;
  if (pooled && may_keep()) {
    const std::size_t frame_class = frame_class_of(size);
    frame_class_list& list = frame_cache_of_thread.lists[frame_class];
    free_frame* chain = take_chain(frame_class);
    if (chain != nullptr) {
      count(&frame_pool_counts::depot_gets);
      list.first = chain->next;
      list.room = bound_of(frame_class) - (chain->chain_size - 1);
      return chain;
    }
    list.room = bound_of(frame_class);
  }
  // Whole classes, even when the pool is off: a block may come back when it is on again.
  void* memory = std::malloc(pooled && !bypass ? frame_class_of(size) * frame_class_bytes : size);
  if (memory != nullptr) {
    count(&frame_pool_counts::mallocs);
  }
  return memory;
}

void frame_free_slowly(void* memory, std::size_t size) noexcept {
  if (memory == nullptr) {
    return;
  }
  if (size > frame_bytes_max || size == 0 || !may_keep()) {
    free_block(memory);
    return;
  }
  const std::size_t frame_class = frame_class_of(size);
  frame_class_list& list = frame_cache_of_thread.lists[frame_class];
  const std::uint32_t bound = bound_of(frame_class);
  MAGPIE_DEBUG_ASSERT(list.room == 0);
  auto* frame = static_cast<free_frame*>(memory);
  if (list.first == nullptr) {
    frame->next = nullptr;  // the first use of this class
    list = {frame, bound - 1};
    return;
  }
  // Full: the half that was freed first, the colder one, goes to the depot.
  const std::uint32_t kept = bound / 2;
  free_frame* last = list.first;
  for (std::uint32_t i = 1; i != kept; ++i) {
    last = last->next;
  }
  free_frame* chain = last->next;
  last->next = nullptr;
  frame->next = list.first;
  list = {frame, bound - kept - 1};
  put_chain(frame_class, chain, bound - kept);
}

}  // namespace detail

frame_pool_counts frame_pool_stats() noexcept {
  detail::publish_counts();
  const auto& all = detail::published;
  // Relaxed: statistics, each by itself.
  return {all.mallocs.load(order::relaxed), all.frees.load(order::relaxed),
          all.depot_puts.load(order::relaxed), all.depot_gets.load(order::relaxed)};
}

void frame_pool_trim() noexcept {
  detail::flush_thread();
  for (std::size_t i = 1; i != detail::frame_classes; ++i) {
    while (detail::free_frame* chain = detail::take_chain(i)) {
      detail::free_chain(chain);
    }
  }
}

void frame_pool_fail_nth(std::uint64_t n) noexcept {
  detail::flush_thread();
  detail::state.fail_nth = n;
}

}  // namespace magpie
