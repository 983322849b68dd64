#!/usr/bin/env python3
"""An idle server does nothing: none of its threads wakes up, and it takes no CPU time.

    tests/system/idle.py --build BUILD [--reactor uring|epoll] [--only NAME] [--long]
"""

import contextlib
import socket
import time

from harness import ask, check, connect, finish, main, stuff, test

CONNECTIONS = 100
SETTLING = 0.5


def check_silence(server, seconds):
    """Nobody wakes up any more after a short while."""
    time.sleep(SETTLING * server.slack)
    switches, cpu = server.switches(), server.cpu_seconds()
    time.sleep(seconds)
    woken = server.switches() - switches
    used = server.cpu_seconds() - cpu
    check(woken == 0, f"{woken} wake-ups in {seconds} s without anything to do")
    check(used == 0 or server.slack != 1,
          f"{used * 1e3:.3f} ms of CPU time in {seconds} s without anything to do")


@test
def silent_connections(setting):
    """From the start, and with connections: half of them have never sent anything."""
    with setting.server() as server, contextlib.ExitStack() as peers:
        check_silence(server, 1)
        for number in range(CONNECTIONS):
            peer = peers.enter_context(connect(server))
            if number % 2 == 0:
                ask(peer)
        check_silence(server, 20 if setting.long else 2)


@test
def silent_after_load(setting):
    """Both workers have worked, stolen and watched; then the load goes away."""
    with setting.server() as server, connect(server) as peer:
        finish(setting.load(server, "--connections", 50, "--seconds", 0.5, "--warmup", 0), 60)
        ask(peer)
        check_silence(server, 1)
        ask(peer)


@test
def silent_with_what_nobody_reads(setting):
    """A lasting readiness that nobody waits for does not keep anybody awake."""
    with setting.server() as server, contextlib.ExitStack() as peers:
        for _ in range(4):
            peer = peers.enter_context(connect(server))
            stuff(peer)
            peer.shutdown(socket.SHUT_WR)
        check_silence(server, 1)


if __name__ == "__main__":
    main()
