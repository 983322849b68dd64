#include <magpie/tests/support/matrix.hpp>

#include <cstdio>
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  std::printf("matrix: reactor=%s workers=%u io_uring=%s\n",
              std::string(magpie::tests::matrix_reactor()).c_str(), magpie::tests::matrix_workers(),
              magpie::tests::kernel_has_uring() ? "yes" : "no");
  return RUN_ALL_TESTS();
}
