// Frees a buffer that a read on an io_uring still points to; with an argument, waits for the read's
// completion first. Exits 77 where there is no io_uring.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <liburing.h>
#include <unistd.h>

int main(int count, char**) {
  const bool correct = count > 1;
  io_uring ring;
  if (io_uring_queue_init(8, &ring, 0) != 0) return 77;
  std::array<int, 2> pipe_ends{};
  if (::pipe(pipe_ends.data()) != 0) return 1;

  void* buffer = std::malloc(4096);
  io_uring_prep_read(io_uring_get_sqe(&ring), pipe_ends[0], buffer, 4096, 0);
  io_uring_submit(&ring);
  if (!correct) std::free(buffer);

  if (::write(pipe_ends[1], "late", 4) != 4) return 1;
  io_uring_cqe* entry = nullptr;
  if (io_uring_wait_cqe(&ring, &entry) != 0) return 1;
  std::printf("%d bytes\n", entry->res);
  io_uring_cqe_seen(&ring, entry);
  if (correct) std::free(buffer);
  io_uring_queue_exit(&ring);
}
