/// What nearly every test includes, compiled once per build folder: a fifth of the build's time.
/// Every test still includes what it uses; the first build (`./dev test` with Clang) has no
/// precompiled header and would show what is missing.

#include <magpie/magpie.hpp>

#include <gtest/gtest.h>
