/// The end of a descriptor: what has to happen before its number may be closed.
#pragma once

#include <magpie/runtime/reactor.hpp>

namespace magpie::detail {

/// Makes every reactor forget `io`, whose number is about to be closed.  Nothing to do for a
/// descriptor that was never waited on, nor in simulations.  No wait is pending.
/// Threads: any, alone with `io`; also after the runtime that registered it is gone.  On io_uring a
/// stopped wait may keep the file open, and the peer in the dark, until its worker's next turn; not
/// so when the caller is a worker.
/// Cost: on epoll a system call; on io_uring none, or one or two right after a stopped wait.
void forget_descriptor(descriptor& io) noexcept;

}  // namespace magpie::detail
