/// The end of a descriptor: what has to happen before its number may be closed.
#pragma once

#include <magpie/runtime/reactor.hpp>

namespace magpie::detail {

/// Makes every reactor forget `io`, whose number is about to be closed.  Nothing to do for a
/// descriptor that was never waited on, nor on io_uring and in simulations.  No wait is pending.
/// Threads: any, alone with `io`; also after the runtime that registered it is gone.
void forget_descriptor(descriptor& io) noexcept;

}  // namespace magpie::detail
