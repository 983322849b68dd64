"""What the system tests share: real server processes, accounts of what they use, raw clients.

A test is a function with the `@test` decorator that takes a `Setting`. It raises `Failed` when the
program does not do what it should, and `Skipped` when it cannot be tried here; it returns figures
worth reading. `main` chooses, runs and reports; its exit status is 0, 1, or 77 when all skipped.
"""

import argparse
import contextlib
import ctypes
import os
import pathlib
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HOST = "127.0.0.1"
IO_URING_SETUP = 425
LISTENING = re.compile(r"listening on (\S+):(\d+) reactor=(\S+) workers=(\d+)\n")
TESTS = []


class Failed(Exception):
    """A program did not do what it should; the message says what."""


class Skipped(Exception):
    """This cannot be tried here; the message says why."""


def test(function):
    TESTS.append(function)
    return function


def check(condition, message):
    if not condition:
        raise Failed(message)


def eventually(condition, seconds, message):
    """Waits until `condition()` is true; returns the seconds that it took."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise Failed(f"not within {seconds:g} s: {message() if callable(message) else message}")
        time.sleep(0.005)
    return time.monotonic() - begin


class Setting:
    """Where the programs are, which reactor is tried, and how long it may take."""

    def __init__(self, options):
        self.build = pathlib.Path(options.build)
        self.reactor = options.reactor
        self.long = options.long
        # Sanitizers are slow, and keep what was freed for a while; leaks they find by themselves.
        self.slack = 10 if options.instrumented else 1
        self.growth_max = 400 << 20 if options.instrumented else 1 << 20

    def program(self, name):
        path = self.build / name
        if not path.exists():
            raise Skipped(f"{name} is not built")
        return str(path)

    def server(self, *arguments, program="docs/examples/echo_server", **settings):
        command = [self.program(program), "--listen", f"{HOST}:0", "--workers", "2",
                   "--reactor", self.reactor, *arguments]
        return Server(command, self.slack, **settings)

    def load(self, server, *arguments):
        """The load generator against `server`, as a process."""
        command = [self.program("docs/examples/load"), "--connect", f"{HOST}:{server.port}",
                   "--reactor", "epoll", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, seconds, status=0):
    """What a process says until its end, which is expected to have `status`."""
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed(f"{process.args[0]} hangs") from None
    check(process.returncode == status, f"{os.path.basename(process.args[0])} exited with "
          f"{process.returncode} instead of {status}: {errors.strip()[-400:]}")
    return out, errors


def run(command, seconds=30, **settings):
    """Runs a program to its end; returns its exit status and what it wrote to standard error."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False,
                              **settings)
    except subprocess.TimeoutExpired:
        raise Failed(f"it goes on instead of ending: {' '.join(command)}") from None
    return done.returncode, done.stderr


class Server:
    """A server process, from its `listening on` line to its end."""

    def __init__(self, command, slack=1, limits=(), preload=None, environment=None, errors=None):
        self.slack = slack
        self.errors = errors or tempfile.TemporaryFile(mode="w+")
        variables = {name: value for name, value in os.environ.items()
                     if name not in ("MAGPIE_REACTOR", "MAGPIE_WORKERS")}
        if preload:
            variables["LD_PRELOAD"] = " ".join([preload, variables.get("LD_PRELOAD", "")]).strip()
        variables.update(environment or {})

        def prepare():
            for which, value in limits:
                resource.setrlimit(which, (value, value))

        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=variables, preexec_fn=prepare)
        self.pid = self.process.pid
        match = LISTENING.match(self.first_line(20 * slack))
        if not match:
            self.kill()
            raise Failed(f"{' '.join(command)} does not listen: {self.said().strip() or 'mute'}")
        self.port = int(match.group(2))
        self.reactor = match.group(3)
        self.workers = int(match.group(4))

    def first_line(self, seconds):
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if readable else ""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        status = self.process.poll()
        if status is None:
            self.process.send_signal(signal.SIGCONT)
            if kind is None:
                self.stop()
        self.kill()
        if status and kind and issubclass(kind, OSError):
            raise Failed(f"the server died with status {status}: {self.said()[-400:]}") from error

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def said(self):
        if not self.errors.seekable():
            return ""
        self.errors.seek(0)
        return self.errors.read()

    def end(self, status, seconds):
        """Waits for the end, which is expected to have `status`; the seconds that it took."""
        begin = time.monotonic()
        try:
            self.process.wait(seconds * self.slack)
        except subprocess.TimeoutExpired:
            raise Failed(f"the server still runs after {seconds * self.slack:g} s") from None
        check(self.process.returncode == status, f"the server exited with "
              f"{self.process.returncode} instead of {status}: {self.said().strip()[-400:]}")
        return time.monotonic() - begin

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.end(0, 8)

    def check_alive(self):
        status = self.process.poll()
        check(status is None, f"the server died with status {status}: {self.said()[-400:]}")

    # ---- what it uses ------------------------------------------------------------------------

    def proc(self, name):
        return pathlib.Path("/proc") / str(self.pid) / name

    def threads(self):
        return sorted(int(path.name) for path in self.proc("task").iterdir())

    def cpu_seconds(self):
        return sum(int((self.proc("task") / str(thread) / "schedstat").read_text().split()[0])
                   for thread in self.threads()) / 1e9

    def cpu_share(self, seconds, meanwhile=None):
        """The part of a core that it takes for the next `seconds`."""
        before, begin = self.cpu_seconds(), time.monotonic()
        while time.monotonic() < begin + seconds:
            if meanwhile:
                meanwhile()
            time.sleep(min(0.05, seconds))
        return (self.cpu_seconds() - before) / (time.monotonic() - begin)

    def switches(self):
        """How often its threads have gone to sleep so far; not those of a sanitizer."""
        total = 0
        for thread in self.threads():
            status = (self.proc("task") / str(thread) / "status").read_text()
            if self.slack != 1 and thread != self.pid and "Name:\tmagpie" not in status:
                continue
            total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M).group(1))
        return total

    def descriptors(self):
        return len(list(self.proc("fd").iterdir()))

    def memory(self):
        """Bytes of anonymous memory."""
        return int(re.search(r"^Anonymous:\s+(\d+) kB", self.proc("smaps_rollup").read_text(),
                             re.M).group(1)) * 1024

    def waits(self):
        """Operations that the kernel holds for it: polls in rings, descriptors in epolls."""
        count = 0
        for link in self.proc("fd").iterdir():
            with contextlib.suppress(OSError):
                kind = os.readlink(link)
                if "io_uring" in kind or "eventpoll" in kind:
                    text = (self.proc("fdinfo") / link.name).read_text()
                    count += len(re.findall(r"^tfd:|^\s+op=", text, re.M))
        return count

    def usage(self):
        return {"descriptors": self.descriptors(), "waits": self.waits()}

    def settled_usage(self):
        """What it uses once that has stayed the same for a while."""
        usage, since = self.usage(), time.monotonic()
        deadline = since + 10 * self.slack
        while time.monotonic() - since < 0.2 * self.slack:
            check(time.monotonic() < deadline, f"its use of the kernel does not settle: {usage}")
            time.sleep(0.02)
            if (now := self.usage()) != usage:
                usage, since = now, time.monotonic()
        return usage

    def check_usage(self, wanted):
        eventually(lambda: self.usage() == wanted, 10 * self.slack,
                   lambda: f"{self.usage()} instead of {wanted}")


# ---- clients -----------------------------------------------------------------------------------

def connect(server, seconds=10):
    peer = socket.create_connection((HOST, server.port), timeout=seconds)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def reset(peer):
    """Closes a connection by RST."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def receive_exactly(peer, count):
    parts = []
    while count:
        part = peer.recv(min(count, 1 << 20))
        check(part, f"the connection ended {count} bytes too early")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def receive_all(peer):
    parts = []
    while part := peer.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def ask(peer, message=b"a message and its echo"):
    """One message there and back."""
    peer.sendall(message)
    check(receive_exactly(peer, len(message)) == message, "the echo differs")


def check_serves(server, seconds=10):
    """A new connection is served; returns the seconds that it took."""
    server.check_alive()
    begin = time.monotonic()
    try:
        with connect(server, seconds * server.slack) as peer:
            ask(peer)
    except OSError as error:
        raise Failed(f"a new connection is not served: {error}") from error
    return time.monotonic() - begin


def stuff(peer, limit=64 << 20):
    """Sends without reading until nothing moves any more; returns what was sent."""
    block = bytes(range(256)) * 256
    peer.setblocking(False)
    sent, idle_since = 0, time.monotonic()
    while sent < limit and time.monotonic() - idle_since < 0.3:
        try:
            at = sent % len(block)
            sent += peer.send(block[at:] or block)
            idle_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    check(sent < limit, "the server takes without end what nobody reads")
    peer.settimeout(20)
    return sent


def stuffed_bytes(count):
    block = bytes(range(256)) * 256
    return (block * (count // len(block) + 1))[:count]


@contextlib.contextmanager
def in_background(function):
    """Runs `function(stop)` beside the block, whose end sets the event `stop`."""
    stop, wrong = threading.Event(), []

    def body():
        try:
            function(stop)
        except (Failed, OSError) as error:
            wrong.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
    if wrong:
        raise Failed(f"in the background: {wrong[0]}")


# ---- running -----------------------------------------------------------------------------------

def kernel_has_uring():
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(IO_URING_SETUP, 4, ctypes.create_string_buffer(120))
    if ring >= 0:
        os.close(ring)
    return ring >= 0


def attempt(function, setting):
    """Runs one test; None when it passed, else `failed` or `skipped`."""
    begin = time.monotonic()
    verdict, words = None, ""
    try:
        words = function(setting) or ""
    except Skipped as reason:
        verdict, words = "skipped", str(reason)
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        verdict, words = "failed", str(error)
        if not isinstance(error, Failed):
            traceback.print_exc()
    seconds = time.monotonic() - begin
    print(f"{setting.reactor:<6} {function.__name__:<28} {verdict or 'ok':<8} {seconds:6.1f} s  "
          f"{words}", flush=True)
    return verdict


def main(reactors=("uring", "epoll")):
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--reactor", choices=reactors, action="append", help="only this one")
    parser.add_argument("--only", action="append", default=[], help="tests with this in their name")
    parser.add_argument("--long", action="store_true", help="at full length")
    parser.add_argument("--instrumented", action="store_true",
                        help="built with sanitizers: slower, and memory is not given back")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by a script's jobs
    verdicts = []
    for options.reactor in options.reactor or reactors:
        if options.reactor == "uring" and not kernel_has_uring():
            print("uring: this kernel has no io_uring")
            verdicts.append("skipped")
            continue
        for function in TESTS:
            if not options.only or any(part in function.__name__ for part in options.only):
                verdicts.append(attempt(function, Setting(options)))
    failed = verdicts.count("failed")
    print(f"{verdicts.count(None)} passed, {failed} failed, {verdicts.count('skipped')} skipped")
    if failed:
        sys.exit(1)
    sys.exit(77 if None not in verdicts else 0)
