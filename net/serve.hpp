/// `net::serve`: a task for each connection, and no more of them at once than there are permits.
///
///     task<> echo(net::tcp_stream peer);
///     …
///     co_await net::serve(std::move(listener), at_most(1000), echo);
///
/// The permit comes first and then the connection.  The other way round there is always one that
/// was accepted and that nobody serves: its client believes it is connected, and waits.  While all
/// permits are out the connections wait in the kernel's queue, where they cost next to nothing.
///
/// A permit belongs to its connection until the frames of the handler are gone, however it ends: by
/// a value, an error, an exception or a stop.  A handler that fails concerns nobody else.  What is
/// the fault of one connection, or that the kernel has no descriptors or memory, does not end it
/// either: see tcp_listener.hpp, whose `accept` skips the one and waits the other out, with pauses
/// that double up to a second.
///
///     what happens                       new connections   those that are served
///     a stop                             none              are stopped, and waited for
///     the semaphore is closed            none, but one     go on, and are waited for; then it ends
///                                        that came at the
///                                        same moment
///     the listener is closed, or broken  none              are stopped, and waited for; its error
///     a handler fails                    go on             go on
///
/// A semaphore may be the limit of several servers, of one process or one client; then who has
/// waited longest gets the next permit, whichever listener it belongs to.  Each listener holds one
/// permit while it waits for a connection: have more of them than listeners.
#pragma once

#include <magpie/net/tcp_listener.hpp>
#include <magpie/net/tcp_stream.hpp>
#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/select.hpp>
#include <magpie/runtime/task.hpp>
#include <magpie/runtime/task_group.hpp>
#include <magpie/sync/semaphore.hpp>
#include <magpie/util/errc.hpp>

#include <cstddef>
#include <system_error>
#include <type_traits>
#include <utility>

namespace magpie::net {
namespace detail {

/// What fails is logged by the group.
struct logged {};

/// Ends when the handler has; the permit goes last.
template <class Handler, class Failed>
task<> serve_one(Handler& handler, [[maybe_unused]] Failed& failed, sync::semaphore_permit,
                 tcp_stream peer) {
  if constexpr (std::is_same_v<Failed, logged>) {
    co_await handler(std::move(peer));
  } else {
    const auto ended = co_await as_result(handler(std::move(peer)));
    if (!ended && ended.error() != errc::stopped) failed(ended.error());
  }
}

template <class Handler, class Failed>
task<> serve_all(tcp_listener& listener, sync::semaphore& limit, Handler handler, Failed failed) {
  co_await with_task_group([&](task_group& sessions) -> task<> {
    for (;;) {
      auto permit = co_await as_result(limit.acquire());
      if (!permit && permit.error() == errc::closed) co_return;
      if (!permit) co_await fail(permit.error());
      auto first = co_await select(as_result(listener.accept()), limit.closed());
      auto& peer = first.template get<0>();
      if (!peer || !*peer) continue;                               // closed
      if (!**peer && (**peer).error() == errc::stopped) continue;  // by the close
      if (!**peer) co_await fail((**peer).error());
      sessions.spawn_isolated(serve_one(handler, failed, *std::move(permit), *std::move(**peer)));
    }
  });
}

template <class Handler, class Failed>
task<> serve_at_most(tcp_listener listener, std::size_t most, Handler handler, Failed failed) {
  sync::semaphore limit(most);
  co_await serve_all(listener, limit, std::move(handler), std::move(failed));
}

template <class F>
constexpr bool may_be_kept =
    std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<std::remove_cvref_t<F>>;

}  // namespace detail

/// Accepts a connection whenever there is a permit, and runs `handler(net::tcp_stream)`, which
/// gives a `task<>`, with it.  What handlers fail with goes to `failed(std::error_code)`, on
/// whichever worker that was, or to the log, as do exceptions; `stopped` is no failure.  The
/// listener and the semaphore must outlive it; both functions are copied.
/// Errors: bad_file_descriptor and its like, when the listener does not listen;
/// not_enough_memory, when there was none for a connection's task; stopped.
/// Stop: no connection is accepted any more, those that are served are stopped and waited for.
/// Threads: one server for each listener.  Cost: for each connection a permit, and a pooled frame
/// and a block besides those of the handler.
/// As everywhere with GCC 12, closures with owning captures must be named before.
template <class Handler, class Failed = detail::logged>
task<> serve(tcp_listener& listener, sync::semaphore& limit, Handler&& handler,
             Failed&& failed = Failed()) {
  static_assert(detail::may_be_kept<Handler&&> && detail::may_be_kept<Failed&&>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  return detail::serve_all<std::decay_t<Handler>, std::decay_t<Failed>>(
      listener, limit, std::forward<Handler>(handler), std::forward<Failed>(failed));
}

/// The same with a listener and a limit of its own.  It is closed when the server has ended.
template <class Handler, class Failed = detail::logged>
task<> serve(tcp_listener&& listener, at_most limit, Handler&& handler,
             Failed&& failed = Failed()) {
  static_assert(detail::may_be_kept<Handler&&> && detail::may_be_kept<Failed&&>,
                "name the closure first: GCC 12 destroys an owning temporary twice");
  MAGPIE_ASSERT(limit.count != 0 && "a server that never accepts");
  return detail::serve_at_most<std::decay_t<Handler>, std::decay_t<Failed>>(
      std::move(listener), limit.count, std::forward<Handler>(handler),
      std::forward<Failed>(failed));
}

}  // namespace magpie::net
