#include <magpie/tests/support/matrix.hpp>

#include <csignal>
#include <cstdio>
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  std::printf("matrix: reactor=%s workers=%u io_uring=%s\n",
              std::string(magpie::tests::matrix_reactor()).c_str(), magpie::tests::matrix_workers(),
              magpie::tests::kernel_has_uring() ? "yes" : "no");
  ::signal(SIGINT, SIG_DFL);  // a job in the background of a script is started without
  return RUN_ALL_TESTS();
}
