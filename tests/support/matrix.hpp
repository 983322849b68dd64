#pragma once

#include <string_view>

/// The cell of the test matrix that this process runs in: `meson test` starts every program that
/// uses a reactor once for each reactor and number of workers.
namespace magpie::tests {

/// `uring`, `epoll` or `sim`, from `MAGPIE_TEST_REACTOR`; `sim` when a test is started by hand.
std::string_view matrix_reactor();

/// The number of workers, from `MAGPIE_TEST_WORKERS`; 2 when a test is started by hand.
unsigned matrix_workers();

/// Whether this kernel, and whatever filter stands in front of it, lets us set up an io_uring.
/// Asks the kernel itself, so that a fault in the library's own probe does not go unseen.
bool kernel_has_uring();

}  // namespace magpie::tests
