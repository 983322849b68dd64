/// What nearly every test includes, compiled once per build folder: a fifth of the build's time.
/// Every test still includes what it uses: `./dev check` reads each without this header, and shows
/// what is missing.

#include <magpie/magpie.hpp>

#include <gtest/gtest.h>
