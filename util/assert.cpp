#include <magpie/util/assert.hpp>

#include <cstdio>
#include <cstdlib>

namespace magpie::detail {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "magpie: assertion failed: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace magpie::detail
