/// Writing everything: `io::write_all` for whatever has a `write`.
///
/// A writer offers `write(span)`, an awaitable of how many bytes were taken.  One that can do
/// better offers `write_all(span)` itself, an awaitable that loops without a coroutine; a
/// `net::tcp_stream` does, so writing a message that fits into the socket's buffer costs one system
/// call and no frame.  Anything else gets the loop below.
#pragma once

#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/util/assert.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <system_error>

namespace magpie::io {

/// Takes at least one byte of what is not empty, or fails.
template <class W>
concept byte_writer = requires(W& to, std::span<const std::byte> bytes) {
  { to.write(bytes) };
  requires std::same_as<await_value<decltype(to.write(bytes))>, std::size_t>;
};

/// Writes everything by itself.
template <class W>
concept whole_writer = requires(W& to, std::span<const std::byte> bytes) {
  { to.write_all(bytes) };
  requires std::same_as<await_value<decltype(to.write_all(bytes))>, void>;
};

/// Writes all of `bytes`; they must stay where they are until it has ended.
/// Errors: those of the writer.  Stop: an unknown part was written; the stream is of no more use
/// unless its protocol can tell.
/// Cost: that of the writer's own; a `net::tcp_stream`'s needs no frame.
template <whole_writer W>
auto write_all(W& to, std::span<const std::byte> bytes) noexcept {
  return to.write_all(bytes);
}

/// The same for a writer that takes part after part.
/// Errors: those of the writer; broken_pipe when it takes nothing at all.
/// Cost: a pooled frame, and a `write` for each part.
template <byte_writer W>
  requires(!whole_writer<W>)
task<> write_all(W& to, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t taken = co_await to.write(bytes);
    // A writer that takes nothing would be asked for ever.
    if (taken == 0) co_await fail(std::make_error_code(std::errc::broken_pipe));
    MAGPIE_ASSERT(taken <= bytes.size());
    bytes = bytes.subspan(taken);
  }
}

}  // namespace magpie::io
