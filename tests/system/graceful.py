#!/usr/bin/env python3
"""How the example `graceful` ends: nothing that was begun is lost, in time, and it tells.

    tests/system/graceful.py --build BUILD [--reactor uring|epoll] [--only NAME] [--long]
"""

import contextlib
import re
import signal
import threading
import time

from harness import check, connect, eventually, main, receive_all, test

REPORT = re.compile(r"shutdown \((.*)\): (\d+) tasks were running, (\d+) had to be stopped, "
                    r"(\d+) are stuck; ([\d.]+) s\n")
DRAIN_MS, ABORT_MS = 3000, 500


def server(setting, **settings):
    return setting.server("--drain-ms", str(DRAIN_MS * setting.slack), "--abort-ms",
                          str(ABORT_MS * setting.slack), program="docs/examples/graceful",
                          **settings)


@contextlib.contextmanager
def occupied(setting, request, **settings):
    """A server that is busy with one request that does not end."""
    with server(setting, **settings) as running, connect(running) as peer:
        peer.sendall(request)
        time.sleep(0.1 * setting.slack)
        yield running


def report_of(ended, stopped, stuck, cause="SIGTERM"):
    """What it printed at its end, after a check of the figures; the lines that name tasks."""
    text = ended.process.stdout.read()
    match = REPORT.match(text)
    check(match, f"this is no report: {text!r}")
    found = (match.group(1), int(match.group(3)), int(match.group(4)))
    check(found == (cause, stopped, stuck), f"the report says {text!r}")
    return text[match.end():]


# ---- clients -----------------------------------------------------------------------------------

class Client(threading.Thread):
    """Asks one request after the other until the connection ends."""

    def __init__(self, to, size):
        super().__init__(daemon=True)
        self.peer = connect(to)
        self.size = size
        self.complete = 0
        self.begun = None  # how much of a response has arrived, while one is under way
        self.start()

    def run(self):
        with self.peer, contextlib.suppress(ConnectionError):
            while True:
                self.begun = None
                self.peer.sendall(b"bytes %d\n" % self.size)
                if not self.take_response():
                    return
                self.complete += 1

    def take_response(self):
        wanted = len(b"%d\n" % self.size) + self.size
        got = 0
        while got < wanted:
            part = self.peer.recv(min(1 << 16, wanted - got))
            if not part:
                return False
            got += len(part)
            self.begun = got
        return True

    def check(self):
        self.join(30)
        check(not self.is_alive(), "a connection outlives the server")
        check(self.begun is None, f"a response was cut off after {self.begun} of {self.size} bytes")


# ---- the end -----------------------------------------------------------------------------------

@test
def loses_no_response_that_was_begun(setting):
    """SIGTERM in the middle of many responses, several times over."""
    slowest, responses = 0.0, 0
    for which in (signal.SIGTERM, signal.SIGINT) * (10 if setting.long else 1):
        with server(setting) as running:
            clients = [Client(running, 1000 * (1 + number % 40)) for number in range(40)]
            eventually(lambda: all(client.complete > 1 for client in clients),
                       20 * setting.slack, "the clients are not served")
            running.process.send_signal(which)
            slowest = max(slowest, running.end(0, DRAIN_MS / 1000))
            for client in clients:
                client.check()
            named = report_of(running, 0, 0, which.name)
            check(named == "", f"it names {named!r}")
            check(running.said() == "", f"it said {running.said()!r}")
            responses += sum(client.complete for client in clients)
    return f"at most {slowest * 1e3:.0f} ms, {responses} responses"


@test
def ends_at_once_when_nothing_is_begun(setting):
    with server(setting) as running, contextlib.ExitStack() as peers:
        idle = [peers.enter_context(connect(running)) for _ in range(20)]
        for peer in idle[:10]:
            peer.sendall(b"half a req")
        time.sleep(0.1)
        running.process.send_signal(signal.SIGTERM)
        seconds = running.end(0, 1)
        for peer in idle:
            with contextlib.suppress(ConnectionError):
                check(receive_all(peer) == b"", "an idle connection got something")
        report_of(running, 0, 0)
        return f"{seconds * 1e3:.0f} ms"


@test
def stops_and_names_what_takes_too_long(setting):
    """One handler hangs: the others come to their end, it is stopped at the deadline."""
    with occupied(setting, b"hang\n") as running:
        client = Client(running, 20_000)
        eventually(lambda: client.complete > 0, 20 * setting.slack, "the client is not served")
        running.process.send_signal(signal.SIGTERM)
        seconds = running.end(1, DRAIN_MS / 1000 + 2)
        check(seconds > DRAIN_MS / 1000 * setting.slack - 0.1, f"stopped after {seconds:g} s")
        client.check()
        named = report_of(running, 1, 0)
        check(re.fullmatch(r"  stopped: task \d+ \(session 1\), spawned at .*graceful\.cpp:\d+\n",
                           named), f"it names {named!r}")
        return f"{seconds:.2f} s"


@test
def gives_up_and_names_what_is_stuck(setting):
    """A handler that ignores being stopped holds up nobody: it is named, twice, and left."""
    with occupied(setting, b"stubborn\n",
                  environment={"ASAN_OPTIONS": "detect_leaks=0"}) as running:
        running.process.send_signal(signal.SIGTERM)
        seconds = running.end(3, (DRAIN_MS + ABORT_MS) / 1000 + 2)
        named = report_of(running, 1, 1)
        check(re.search(r"^  stuck: task \d+ \(session 1\), spawned at ", named, re.MULTILINE),
              f"it names {named!r}")
        check("still running" in running.said() and "graceful group" in running.said(),
              f"it said {running.said()!r}")
        return f"{seconds:.2f} s"


@test
def second_signal_ends_it_at_once(setting):
    with occupied(setting, b"hang\n") as running:
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.3 * setting.slack)
        running.check_alive()
        running.process.send_signal(signal.SIGINT)
        seconds = running.end(128 + signal.SIGINT, 1)
        check(running.process.stdout.read() == "", "it reported")
        return f"{seconds * 1e3:.0f} ms"


@test
def accepts_nothing_while_it_drains(setting):
    with occupied(setting, b"hang\n") as running:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3 * setting.slack)
        with contextlib.suppress(OSError), connect(running, 1) as late:
            late.sendall(b"bytes 10\n")  # the kernel may have taken it
            late.settimeout(0.5)
            try:
                check(receive_all(late) == b"", "a late connection is served")
            except TimeoutError:
                pass
        running.process.send_signal(signal.SIGTERM)
        running.end(128 + signal.SIGTERM, 1)


if __name__ == "__main__":
    main()
