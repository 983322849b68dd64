/// No more descriptors for this process.
#pragma once

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <unistd.h>

namespace magpie::tests {

/// Lets this process open no more descriptors while it lives.
class descriptor_drought {
 public:
  descriptor_drought() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const int next = ::dup(0);  // the lowest free number
    ::close(next);
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(next);
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  descriptor_drought(const descriptor_drought&) = delete;
  descriptor_drought& operator=(const descriptor_drought&) = delete;
  ~descriptor_drought() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

}  // namespace magpie::tests
