// A library to preload: it aborts a program that frees heap or mapped memory while an operation in
// flight on an io_uring still points there. No sanitizer sees that fault, since the kernel writes.
//
// Every entry into the kernel goes through liburing's exported functions, which stand here in front
// of the real ones. A look at a ring's submission queue tells what the kernel has been lent, a look
// at its completion queue what it has given back; both happen at each entry and at each free.
// A pool that recycles memory by itself can tell of it with kernel_ownership_released().

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <liburing.h>
#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" void __libc_free(void* memory);                        // NOLINT
extern "C" void* __libc_realloc(void* memory, std::size_t size);  // NOLINT

namespace {

struct loan {
  const char* begin;
  const char* end;
  std::uint64_t user_data;
  std::uint64_t number;
  int ring;
  unsigned opcode;
};

struct watched_ring {
  int descriptor = -1;
  bool wide = false;  // 32-byte completions
  bool wide_entries = false;
  io_uring_sq submissions{};
  io_uring_cq completions{};
  unsigned seen_submissions = 0;
  unsigned seen_completions = 0;
};

constexpr std::size_t rings_max = 256;
constexpr std::size_t loans_max = 65536;

// All below is guarded by `lock`; nothing in this file allocates.
std::atomic_flag lock = ATOMIC_FLAG_INIT;
watched_ring rings[rings_max];
std::size_t ring_count = 0;
loan loans[loans_max];
std::uint64_t loan_numbers = 0;
std::atomic<std::size_t> loan_count = 0;
std::atomic<bool> watching = false;

class guard {
 public:
  guard() {
    while (lock.test_and_set(std::memory_order_acquire)) ::usleep(1);
  }
  ~guard() { lock.clear(std::memory_order_release); }
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
};

unsigned load(const unsigned* shared) {
  return std::atomic_ref(*const_cast<unsigned*>(shared)).load(std::memory_order_acquire);
}

void lend(const watched_ring& ring, const io_uring_sqe& entry, const void* begin,
          std::size_t size) {
  const auto count = loan_count.load(std::memory_order_relaxed);
  if (begin == nullptr || size == 0 || count == loans_max) return;
  const auto* first = static_cast<const char*>(begin);
  loans[count] = {first,          first + size,    entry.user_data,
                  ++loan_numbers, ring.descriptor, entry.opcode};
  loan_count.store(count + 1, std::memory_order_relaxed);
}

const void* pointer(std::uint64_t address) { return reinterpret_cast<const void*>(address); }

void lend_vectors(const watched_ring& ring, const io_uring_sqe& entry, const iovec* vectors,
                  std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    lend(ring, entry, vectors[i].iov_base, vectors[i].iov_len);
}

void lend_message(const watched_ring& ring, const io_uring_sqe& entry) {
  const auto* message = static_cast<const msghdr*>(pointer(entry.addr));
  if (entry.opcode == IORING_OP_RECVMSG) lend(ring, entry, message, sizeof(msghdr));
  lend(ring, entry, message->msg_name, message->msg_namelen);
  lend(ring, entry, message->msg_control, message->msg_controllen);
  if ((entry.flags & IOSQE_BUFFER_SELECT) == 0)
    lend_vectors(ring, entry, message->msg_iov, message->msg_iovlen);
}

/// Notes the memory that an entry lends. One completion ends all loans of its entry.
void note(const watched_ring& ring, const io_uring_sqe& entry) {
  if ((entry.flags & IOSQE_CQE_SKIP_SUCCESS) != 0) return;
  switch (entry.opcode) {
    case IORING_OP_READ:
    case IORING_OP_RECV:
    case IORING_OP_WRITE:
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE_FIXED:
      if ((entry.flags & IOSQE_BUFFER_SELECT) == 0)
        lend(ring, entry, pointer(entry.addr), entry.len);
      break;
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
      lend_vectors(ring, entry, static_cast<const iovec*>(pointer(entry.addr)), entry.len);
      break;
    case IORING_OP_RECVMSG:
    case IORING_OP_SENDMSG:
      lend_message(ring, entry);
      break;
    case IORING_OP_ACCEPT:
      lend(ring, entry, pointer(entry.addr), entry.addr == 0 ? 0 : sizeof(sockaddr));
      break;
    case IORING_OP_STATX:
      lend(ring, entry, pointer(entry.off), 256);
      break;
    default:
      break;
  }
}

void look_at_submissions(watched_ring& ring) {
  const unsigned shift = ring.wide_entries ? 1 : 0;
  const unsigned tail = load(ring.submissions.ktail);
  for (; ring.seen_submissions != tail; ++ring.seen_submissions) {
    const unsigned slot = ring.seen_submissions & ring.submissions.ring_mask;
    const unsigned index = ring.submissions.array[slot];
    if (index < ring.submissions.ring_entries) note(ring, ring.submissions.sqes[index << shift]);
  }
}

/// Ends the oldest entry in flight of this number, with all that it lent.
void give_back(const watched_ring& ring, std::uint64_t user_data) {
  auto count = loan_count.load(std::memory_order_relaxed);
  std::size_t kept = 0;
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool ours = loans[i].ring == ring.descriptor && loans[i].user_data == user_data;
    // The loans of one entry are numbered without a gap.
    if (ours && (last == 0 || loans[i].number == last + 1)) {
      last = loans[i].number;
    } else {
      loans[kept++] = loans[i];
    }
  }
  loan_count.store(kept, std::memory_order_relaxed);
}

void forget(const watched_ring& ring) {
  const auto count = loan_count.load(std::memory_order_relaxed);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i)
    if (loans[i].ring != ring.descriptor) loans[kept++] = loans[i];
  loan_count.store(kept, std::memory_order_relaxed);
}

void look_at_completions(watched_ring& ring) {
  const unsigned shift = ring.wide ? 1 : 0;
  const unsigned tail = load(ring.completions.ktail);
  // Some were overwritten before we looked: better to know nothing than to accuse wrongly.
  if (tail - ring.seen_completions > ring.completions.ring_entries) {
    forget(ring);
    ring.seen_completions = tail;
  }
  for (; ring.seen_completions != tail; ++ring.seen_completions) {
    const unsigned slot = ring.seen_completions & ring.completions.ring_mask;
    const io_uring_cqe& entry = ring.completions.cqes[slot << shift];
    if ((entry.flags & IORING_CQE_F_MORE) == 0) give_back(ring, entry.user_data);
  }
}

void look() {
  const guard hold;
  for (std::size_t i = 0; i < ring_count; ++i) {
    look_at_submissions(rings[i]);
    look_at_completions(rings[i]);
  }
}

/// A ring seen twice, or whose descriptor was another ring's before, replaces the earlier one.
void watch(const io_uring* ring) {
  const guard hold;
  std::size_t place = 0;
  while (place < ring_count && rings[place].descriptor != ring->ring_fd) ++place;
  if (place == rings_max) return;
  if (place == ring_count) ++ring_count;
  auto& added = rings[place];
  added = {.descriptor = ring->ring_fd,
           .wide = (ring->flags & IORING_SETUP_CQE32) != 0,
           .wide_entries = (ring->flags & IORING_SETUP_SQE128) != 0,
           .submissions = ring->sq,
           .completions = ring->cq};
  added.seen_submissions = load(ring->sq.ktail);
  added.seen_completions = load(ring->cq.ktail);
  forget(added);
  watching.store(true, std::memory_order_relaxed);
}

void unwatch(const io_uring* ring) {
  const guard hold;
  for (std::size_t i = 0; i < ring_count; ++i) {
    if (rings[i].descriptor != ring->ring_fd) continue;
    forget(rings[i]);
    rings[i] = rings[--ring_count];
    return;
  }
}

void accuse(const loan& lent, const char* begin, std::size_t size) {
  std::fprintf(stderr,
               "kernel_ownership: freeing %zu bytes at %p under the kernel: operation %u of ring %d"
               " with user_data %#llx still uses %zu bytes at %p\n",
               size, static_cast<const void*>(begin), lent.opcode, lent.ring,
               static_cast<unsigned long long>(lent.user_data),
               static_cast<std::size_t>(lent.end - lent.begin),
               static_cast<const void*>(lent.begin));
  std::abort();
}

void check(const void* memory, std::size_t size) {
  if (memory == nullptr || !watching.load(std::memory_order_relaxed)) return;
  look();
  if (loan_count.load(std::memory_order_relaxed) == 0) return;
  const guard hold;
  const auto* begin = static_cast<const char*>(memory);
  const auto count = loan_count.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i)
    if (loans[i].begin < begin + size && begin < loans[i].end) accuse(loans[i], begin, size);
}

template <class Function>
Function* real(const char* name) {
  void* found = ::dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    std::fprintf(stderr, "kernel_ownership: liburing has no %s\n", name);
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

}  // namespace

extern "C" {

void kernel_ownership_released(const void* memory, std::size_t size) { check(memory, size); }

void free(void* memory) noexcept {
  if (memory != nullptr) check(memory, ::malloc_usable_size(memory));
  __libc_free(memory);
}

void* realloc(void* memory, std::size_t size) noexcept {
  if (memory != nullptr) check(memory, ::malloc_usable_size(memory));
  return __libc_realloc(memory, size);
}

int munmap(void* memory, std::size_t size) noexcept {
  check(memory, size);
  return static_cast<int>(::syscall(SYS_munmap, memory, size));
}

int io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params) {
  static auto* const next = real<decltype(io_uring_queue_init_params)>(__func__);
  const int status = next(entries, ring, params);
  if (status == 0) watch(ring);
  return status;
}

int io_uring_queue_init(unsigned entries, io_uring* ring, unsigned flags) {
  io_uring_params params{};
  params.flags = flags;
  return io_uring_queue_init_params(entries, ring, &params);
}

int io_uring_queue_mmap(int descriptor, io_uring_params* params, io_uring* ring) {
  static auto* const next = real<decltype(io_uring_queue_mmap)>(__func__);
  const int status = next(descriptor, params, ring);
  if (status == 0) watch(ring);
  return status;
}

void io_uring_queue_exit(io_uring* ring) {
  static auto* const next = real<decltype(io_uring_queue_exit)>(__func__);
  unwatch(ring);
  next(ring);
}

// An entry by hand was published before: look first, while its place in the queue is not reused.
int io_uring_enter(unsigned descriptor, unsigned count, unsigned wanted, unsigned flags,
                   sigset_t* signals) {
  static auto* const next = real<decltype(io_uring_enter)>(__func__);
  look();
  return next(descriptor, count, wanted, flags, signals);
}

int io_uring_enter2(unsigned descriptor, unsigned count, unsigned wanted, unsigned flags,
                    sigset_t* signals, std::size_t size) {
  static auto* const next = real<decltype(io_uring_enter2)>(__func__);
  look();
  return next(descriptor, count, wanted, flags, signals, size);
}

// These publish by themselves: look after.
int io_uring_submit(io_uring* ring) {
  static auto* const next = real<decltype(io_uring_submit)>(__func__);
  const int status = next(ring);
  look();
  return status;
}

int io_uring_submit_and_wait(io_uring* ring, unsigned wanted) {
  static auto* const next = real<decltype(io_uring_submit_and_wait)>(__func__);
  const int status = next(ring, wanted);
  look();
  return status;
}

int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** entry, unsigned wanted,
                                     __kernel_timespec* timeout, sigset_t* signals) {
  static auto* const next = real<decltype(io_uring_submit_and_wait_timeout)>(__func__);
  const int status = next(ring, entry, wanted, timeout, signals);
  look();
  return status;
}

int io_uring_submit_and_get_events(io_uring* ring) {
  static auto* const next = real<decltype(io_uring_submit_and_get_events)>(__func__);
  const int status = next(ring);
  look();
  return status;
}

}  // extern "C"
