/// The io_uring reactor keeps the contract, on shared rings and on those of a single thread, and
/// the set-up ladder reports what the kernel refuses.
#include <magpie/runtime/reactor_factory.hpp>
#include <magpie/runtime/uring_reactor.hpp>
#include <magpie/tests/runtime/reactor_contract.hpp>
#include <magpie/tests/support/matrix.hpp>

#include <gtest/gtest.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <system_error>
#include <vector>

namespace magpie::tests::uring_reactor_test {
namespace {

reactor* make_shared_ring(std::error_code& error) noexcept {
  return make_uring_reactor(false, error);
}

reactor* make_single_ring(std::error_code& error) noexcept {
  return make_uring_reactor(true, error);
}

std::vector<reactor_backend> backends() {
  if (!kernel_has_uring()) return {};
  return {reactor_backend{"shared", &make_shared_ring, true},
          reactor_backend{"single", &make_single_ring, false}};
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(uring, reactor_contract, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return backend.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(reactor_contract);

namespace {

TEST(uring_reactor_test, many_rings_can_be_made_and_unmade) {
  if (!kernel_has_uring()) GTEST_SKIP() << "the kernel refuses io_uring";
  for (int i = 0; i < 200; ++i) {
    std::error_code error;
    const std::unique_ptr<reactor> ring(make_uring_reactor(i % 2 == 0, error));
    ASSERT_NE(ring, nullptr) << error.message();
    EXPECT_EQ(ring->in_flight(), 0u);
  }
}

TEST(uring_reactor_test, a_shared_ring_allows_kicks) {
  if (!kernel_has_uring()) GTEST_SKIP() << "the kernel refuses io_uring";
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) <= 0)
    GTEST_SKIP() << "the kernel refuses membarrier";
  std::error_code error;
  const std::unique_ptr<reactor> ring(make_uring_reactor(false, error));
  ASSERT_NE(ring, nullptr) << error.message();
  // Refused with EPERM in a process that has not announced it.
  EXPECT_EQ(::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), 0);
}

}  // namespace
}  // namespace magpie::tests::uring_reactor_test
