/// Reading a known number of bytes: `io::read_exact` for whatever has a `read`.
#pragma once

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/assert.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <system_error>

namespace magpie::io {

/// Gives at least one byte for a buffer that is not empty, or 0 at the end.
template <class R>
concept byte_reader = requires(R& from, std::span<std::byte> into) {
  { from.read(into) };
  requires std::same_as<await_value<decltype(from.read(into))>, std::size_t>;
};

/// Fills all of `into`.
/// Errors: those of the reader; no_message_available when it ended before `into` was full.
/// Stop: what was read so far is lost: it is in `into`, but nobody knows how much.  Where that
/// matters keep the position in an object that outlives the stop.
/// Cost: a pooled frame, and a `read` for each part.
template <byte_reader R>
task<> read_exact(R& from, std::span<std::byte> into) {
  while (!into.empty()) {
    const std::size_t got = co_await from.read(into);
    if (got == 0) co_await fail(std::make_error_code(std::errc::no_message_available));
    MAGPIE_ASSERT(got <= into.size());
    into = into.subspan(got);
  }
}

}  // namespace magpie::io
