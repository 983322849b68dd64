/// Makes reactors without showing them: what a scheduler needs to know of its backends.
///
/// Each function returns a reactor made with `new`, which the caller deletes, or null and the
/// reason why this machine does not give one.  Called at the start of a runtime, on any thread.
#pragma once

#include <system_error>

namespace magpie {

class reactor;
struct sim_world;

/// An epoll instance and an eventfd of its own.
/// Errors: what epoll_create1 and eventfd give, not_enough_memory.
[[nodiscard]] reactor* make_epoll_reactor(std::error_code& error) noexcept;

/// A ring of its own; `single_thread` when no other thread will ever enter it.
/// Errors: what the kernel refuses a ring with, unsupported.
[[nodiscard]] reactor* make_uring_reactor(bool single_thread, std::error_code& error) noexcept;

/// The reactor of one logical worker of a simulation; null when memory is out.
[[nodiscard]] reactor* make_sim_reactor(sim_world& world) noexcept;

}  // namespace magpie
