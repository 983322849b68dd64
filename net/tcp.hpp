/// TCP: streams and listeners, and the addresses that they are named by.
#pragma once

#include <magpie/net/address.hpp>       // IWYU pragma: export
#include <magpie/net/tcp_listener.hpp>  // IWYU pragma: export
#include <magpie/net/tcp_stream.hpp>    // IWYU pragma: export
