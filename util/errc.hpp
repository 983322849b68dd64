/// Magpie's own error codes, and what they compare equal to.
///
/// `stopped` and `deadline` are told apart from the kernel's ECANCELED and ETIMEDOUT by their
/// category, and still compare equal to `std::errc::operation_canceled` and `std::errc::timed_out`,
/// so that code written against the standard conditions works.
#pragma once

#include <system_error>

namespace magpie {

enum class errc {
  stopped = 1,       ///< The stop scope of the operation was stopped before it had a result.
  deadline,          ///< A `timeout` ended what it was put around.
  aborted,           ///< The joined task was aborted through its handle.
  runtime_shutdown,  ///< The runtime no longer takes work.
  unsupported,       ///< The reactor or the kernel cannot do this.
  closed,            ///< What was asked was closed, or its other side has gone.
  refused,           ///< It was not tried: a limit or a breaker said no.
};

/// The category of `errc`: name "magpie".
const std::error_category& magpie_category() noexcept;

inline std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), magpie_category()};
}

/// Success, to be copied: to default-construct a `std::error_code` costs a call into the standard
/// library each time, which is a twentieth of a spawn.
extern const std::error_code no_error;

/// An errno value, as the kernel returned it (positive), as an error code.
inline std::error_code errno_code(int number) noexcept { return {number, std::system_category()}; }

}  // namespace magpie

template <>
struct std::is_error_code_enum<magpie::errc> : std::true_type {};
