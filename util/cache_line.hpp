/// The size of a cache line, as a constant.
///
/// `std::hardware_destructive_interference_size` changes with compiler flags and would make the
/// layout of our types depend on them, so the number stands here.
#pragma once

#include <cstddef>

namespace magpie {

inline constexpr std::size_t cache_line_size = 64;

}  // namespace magpie
