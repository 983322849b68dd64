/// What the tests of net and io share: a runtime of the matrix cell, and connected streams.
#pragma once

#include <magpie/net/tcp.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/runtime.hpp>
#include <magpie/runtime/sleep.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/tests/runtime/cell.hpp>
#include <magpie/tests/support/matrix.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <span>
#include <string_view>
#include <vector>

namespace magpie::net {

/// How GoogleTest shows an address; the name is its choice.
// NOLINTNEXTLINE(readability-identifier-naming)
inline void PrintTo(const socket_address& address, std::ostream* out) {
  *out << address.to_string();
}

}  // namespace magpie::net

namespace magpie::tests {

using namespace std::chrono_literals;

inline bool simulated() { return matrix_reactor() == "sim"; }

inline options matrix_options() {
  options chosen;
  chosen.workers = matrix_workers();
  chosen.reactor = simulated()                   ? reactor_kind::sim
                   : matrix_reactor() == "epoll" ? reactor_kind::epoll
                                                 : reactor_kind::uring;
  return chosen;
}

/// Runs `body` in a runtime of this cell of the matrix and expects it to succeed.
inline void run_test(task<> body) {
  if (matrix_reactor() == "uring" && !kernel_has_uring()) GTEST_SKIP() << "no io_uring here";
  runtime on(matrix_options());
  const auto outcome = on.block_on(std::move(body));
  EXPECT_TRUE(outcome) << outcome.error().message();
  EXPECT_TRUE(on.shutdown(10s));
}

/// A test whose body is a coroutine.  ASSERT_… would return from it: use EXPECT_… there.
#define MAGPIE_TASK_TEST(suite, name)                                \
  static ::magpie::task<> suite##_##name();                          \
  TEST(suite, name) { ::magpie::tests::run_test(suite##_##name()); } \
  static ::magpie::task<> suite##_##name()

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A stream of bytes in which each knows its place.
inline std::byte pattern(std::uint64_t position) {
  return static_cast<std::byte>((position * 0x9e3779b97f4a7c15U) >> 56);
}

struct stream_pair {
  stream_pair(net::tcp_stream&& a, net::tcp_stream&& b) noexcept
      : client(std::move(a)), server(std::move(b)) {}
  net::tcp_stream client;
  net::tcp_stream server;
};

inline net::tcp_listener listen_somewhere(const net::listen_options& how = net::listen_options()) {
  auto bound = net::tcp_listener::bind("127.0.0.1:0", how);
  EXPECT_TRUE(bound) << bound.error().message();
  return std::move(bound).value_or(net::tcp_listener());
}

inline task<stream_pair> connected_pair() {
  net::tcp_listener listener = listen_somewhere();
  const auto address = listener.local_address().value();
  auto client = co_await net::tcp_stream::connect(address);
  auto server = co_await listener.accept();
  co_return stream_pair(std::move(client), std::move(server));
}

}  // namespace magpie::tests
