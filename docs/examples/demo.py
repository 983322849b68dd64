#!/usr/bin/env python3
"""The echo server under load, on each reactor, next to bare loops without a runtime.

    docs/examples/demo.py [BUILD]        BUILD: a release build (build/release)

Each server runs as a process of its own; the load comes from the `load` example in another one. CPU
is what the server process used, user and system time, divided by the answered requests. On a small
machine server and load share the cores, so the figures tell how the rows compare, not how fast the
machine is.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

WORKERS = 2
CONNECTIONS = 50
OPEN_LOOP_SHARE = 0.6

BARE = ["--listen", "127.0.0.1:0", "--workers", str(WORKERS)]
SERVERS = [
    ("bare io_uring loop", ["bench/bare/bare_echo_uring", "--form", "poll", *BARE]),
    ("Magpie on io_uring", ["docs/examples/echo_server", "--reactor", "uring", *BARE]),
    ("bare epoll loop", ["bench/bare/bare_echo_epoll", "--form", "level", *BARE]),
    ("Magpie on epoll", ["docs/examples/echo_server", "--reactor", "epoll", *BARE]),
]
LISTENING = re.compile(r"listening on (\S+) reactor=(\S+) workers=(\d+)")
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A program did not do what it should; the message says what."""


class Unavailable(Failed):
    """A server did not start: its reactor is not to be had on this machine."""


class Server:
    """A server process, from its `listening on` line to its exit by SIGTERM."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        match = LISTENING.match(self.process.stdout.readline())
        if not match:
            _, said = self.process.communicate(timeout=10)
            said = said.strip().splitlines()
            raise Unavailable(said[-1] if said else "it did not start")
        self.address = match.group(1)

    def cpu_seconds(self):
        # The scheduler's own account is finer than the ticks of `stat`, where there is one.
        root = pathlib.Path("/proc") / str(self.process.pid)
        try:
            accounts = [thread / "schedstat" for thread in (root / "task").iterdir()]
            return sum(int(account.read_text().split()[0]) for account in accounts) / 1e9
        except (OSError, ValueError, IndexError):
            fields = (root / "stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / TICK

    def stop(self):
        self.process.terminate()
        try:
            self.process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise Failed("it did not stop after SIGTERM") from None
        if self.process.returncode != 0:
            raise Failed(f"it exited with {self.process.returncode} after SIGTERM")


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def run_load(build, address, seconds, rate=None):
    command = [build / "docs/examples/load", "--connect", address, "--json",
               "--connections", str(CONNECTIONS), "--seconds", str(seconds), "--warmup", "0.5"]
    if rate:
        command += ["--rate", f"{rate:.0f}"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise Failed(f"load exited with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def measure(build, command, seconds):
    """One row: throughput in a closed loop, latencies in an open loop at a share of it."""
    server = Server([build / command[0], *command[1:]])
    try:
        before = server.cpu_seconds()
        closed = run_load(build, server.address, seconds)
        # All answers: those of the warm-up took CPU time too.
        cpu = (server.cpu_seconds() - before) / closed["answers"] * 1e6
        opened = run_load(build, server.address, seconds, closed["rate"] * OPEN_LOOP_SHARE)
    except BaseException:
        server.process.kill()
        raise
    server.stop()
    return {"rate": closed["rate"], "cpu_us": cpu, **opened["latency_us"]}


def show(rows):
    share = f"latency at {OPEN_LOOP_SHARE:.0%}, us"
    print(f"\n64-byte messages, {CONNECTIONS} connections, {WORKERS} workers\n")
    print(f"{'':<20} {'requests/s':>11} {'CPU us/req':>11}   {share:>28}")
    print(f"{'':<20} {'':>11} {'':>11} {'p50':>10} {'p99':>10} {'p99.9':>10}")
    for name, row in rows:
        if isinstance(row, str):
            print(f"{name:<20} {row}")
            continue
        print(f"{name:<20} {row['rate']:>11,.0f} {row['cpu_us']:>11.2f} "
              f"{row['p50']:>10.0f} {row['p99']:>10.0f} {row['p99.9']:>10.0f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", default="build/release", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (4)")
    arguments = parser.parse_args()
    rows, failed = [], False
    for number, (name, command) in enumerate(SERVERS, 1):
        left = (len(SERVERS) - number + 1) * 2 * (arguments.seconds + 0.7)
        progress(f"{number}/{len(SERVERS)} {name}, {left:.0f} s left")
        try:
            rows.append((name, measure(arguments.build, command, arguments.seconds)))
        except (Failed, OSError, subprocess.TimeoutExpired) as error:
            # Without io_uring on this machine its rows are left out; epoll works anywhere.
            skipped = isinstance(error, Unavailable) and "uring" in name
            rows.append((name, f"skipped: {error}" if skipped else f"failed: {error}"))
            failed |= not skipped
    progress("")
    show(rows)
    if failed:
        sys.exit("demo: a server did not work")


if __name__ == "__main__":
    begin = time.monotonic()
    main()
    print(f"\ntook {time.monotonic() - begin:.0f} s")
