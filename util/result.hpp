/// `result<T>`: a value or an error code; what crosses a frontier where errors are looked at.
#pragma once

#include <expected>
#include <system_error>

namespace magpie {

template <class T>
using result = std::expected<T, std::error_code>;

}  // namespace magpie
