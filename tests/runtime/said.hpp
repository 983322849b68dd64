/// What a runtime says on standard error.
#pragma once

#include <magpie/tests/runtime/cell.hpp>

#include <string>
#include <utility>

namespace magpie::tests {

/// Runs `t`, which must succeed, in a simulation that logs; gives what was printed.
inline std::string said_by(task<> t) {
  options loud = simulation();
  loud.log = true;
  testing::internal::CaptureStderr();
  EXPECT_TRUE(run_on(loud, std::move(t)));
  return testing::internal::GetCapturedStderr();
}

}  // namespace magpie::tests
