#!/usr/bin/env python3
"""What signals do to the echo server: how it ends, and what must not disturb it.

    tests/system/signals.py --build BUILD [--reactor uring|epoll] [--only NAME] [--long]
"""

import contextlib
import ctypes
import os
import signal
import socket
import statistics
import time

from harness import (HOST, Failed, Server, ask, check, check_serves, connect, finish,
                     in_background, main, receive_all, stuff, stuffed_bytes, test)

REBIND_SECONDS = 0.1


# ---- the end -----------------------------------------------------------------------------------

@test
def drains_under_load(setting):
    """SIGTERM under load, with peers that do not read and peers that are silent: 0, soon."""
    slowest = 0.0
    for which in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        with setting.server() as server, contextlib.ExitStack() as peers:
            load = setting.load(server, "--connections", 50, "--seconds", 20, "--warmup", 0)
            peers.callback(load.communicate)
            peers.callback(load.kill)
            for _ in range(3):
                peers.enter_context(connect(server))
            unread = peers.enter_context(connect(server))
            stuff(unread)
            check(load.poll() is None, "the load ended too early")
            server.process.send_signal(which)
            slowest = max(slowest, server.end(0, 3))
            check(server.said() == "", f"it said {server.said()!r}")
            check(receive_everything(unread) is not None, "a connection outlives the server")
    return f"at most {slowest * 1e3:.0f} ms"


def receive_everything(peer):
    """Until the connection ends, in whichever way."""
    try:
        return receive_all(peer)
    except ConnectionError:
        return b""
    except TimeoutError:
        return None


@test
def drains_when_idle(setting):
    with setting.server() as server, contextlib.ExitStack() as peers:
        for _ in range(100):
            peers.enter_context(connect(server))
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        return f"{server.end(0, 3) * 1e3:.0f} ms with 100 connections"


@test
def second_signal_ends_at_once(setting):
    """Two different signals that arrive together: no time to drain."""
    with setting.server() as server, connect(server) as peer:
        ask(peer)
        server.process.send_signal(signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGCONT)
        server.process.wait(10)
        status = server.process.returncode
        check(status in (128 + signal.SIGTERM, 128 + signal.SIGINT), f"exit status {status}")


@test
def second_signal_during_a_long_computation(setting):
    """While a task computes nothing can be drained; a second signal ends the program anyway."""
    with setting.server("--compute-us", str(10_000_000),
                        program="bench/echo_server_bench") as server, connect(server) as peer:
        peer.sendall(b"Compute")
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        server.check_alive()
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.end(128 + signal.SIGTERM, 1)
        return f"{(time.monotonic() - begin) * 1e3:.0f} ms"


@test
def killed_and_bound_again(setting):
    """After kill -9 under load a new server has the port within 100 ms of trying."""
    delays = []
    for _ in range(50 if setting.long else 5):
        with setting.server() as server:
            begin = time.monotonic()
            with setting.server():
                starting = time.monotonic() - begin  # what a start costs anyway
            peers = [connect(server) for _ in range(20)]
            load = setting.load(server, "--connections", 20, "--seconds", 20, "--warmup", 0)
            time.sleep(0.1)
            server.kill()
            begin = time.monotonic()
            with start_again(setting, server.port, begin + 10) as again:
                delays.append(time.monotonic() - begin - starting)
                check(again.port == server.port, "another port")
                check_serves(again)
            load.communicate()
            check(load.returncode == 1, f"the load did not notice: {load.returncode}")
            for peer in peers:
                peer.close()
    middle = statistics.median(delays)
    check(middle < REBIND_SECONDS * setting.slack, f"{middle * 1e3:.0f} ms until it is bound again")
    return f"median {max(middle, 0) * 1e3:.0f} ms, worst {max(*delays, 0) * 1e3:.0f} ms"


def start_again(setting, port, deadline):
    """Tries until the port is free."""
    while True:
        try:
            return Server([setting.program("docs/examples/echo_server"), "--listen",
                           f"{HOST}:{port}", "--workers", "2", "--reactor", setting.reactor],
                          setting.slack)
        except Failed as failed:
            check("in use" in str(failed) and time.monotonic() < deadline, str(failed))


# ---- what must not disturb it ------------------------------------------------------------------

@test
def server_stopped_under_load(setting):
    """It stands still for a while and goes on; nothing is lost, and no storm follows."""
    pause = 10 if setting.long else 1
    with setting.server() as server, connect(server) as peer:
        load = setting.load(server, "--connections", 50, "--seconds", pause + 1, "--warmup", 0)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGSTOP)
        peer.sendall(b"sent while it stands still")
        time.sleep(pause)
        server.process.send_signal(signal.SIGCONT)
        check(peer.recv(100) == b"sent while it stands still", "the echo differs")
        finish(load, pause + 30)
        time.sleep(0.5 * setting.slack)
        switches = server.switches()
        time.sleep(0.5)
        woken = server.switches() - switches
        check(woken == 0, f"{woken} wake-ups afterwards without anything to do")


def every_thread(server, number):
    libc = ctypes.CDLL(None, use_errno=True)
    for thread in server.threads():
        libc.tgkill(server.pid, thread, number)


def storm(server, numbers, seconds, count=None):
    """Signals to every thread as fast as they go; how many went per second."""
    begin, sent = time.monotonic(), 0
    while time.monotonic() < begin + seconds:
        for number in numbers:
            every_thread(server, number)
            sent += 1
    return sent / (time.monotonic() - begin)


@test
def signal_storm(setting):
    """Interrupted system calls, thousands of times per second on every thread."""
    seconds = 20 if setting.long else 1
    preload = setting.program("tests/support/libinterruptible.so")
    with setting.server(preload=preload) as server, connect(server) as peer:
        load = setting.load(server, "--connections", 20, "--seconds", seconds, "--warmup", 0)

        def connections_come_and_go(stop):
            while not stop.is_set():
                check_serves(server)

        with in_background(connections_come_and_go):
            rate = storm(server, [signal.SIGUSR1], seconds)
        finish(load, seconds + 30)
        sent = stuff(peer)
        storm(server, [signal.SIGUSR1], 0.2)
        with in_background(lambda _: check(receive_all(peer) == stuffed_bytes(sent),
                                           "the bytes come back wrong")):
            peer.shutdown(socket.SHUT_WR)
            storm(server, [signal.SIGUSR1], 0.2)
        check_serves(server)
        check(server.said() == "", f"it said {server.said()!r}")
        return f"{rate:.0f}/s to each thread"


@test
def stop_and_go_storm(setting):
    """SIGSTOP with SIGCONT interrupts even what no handler interrupts; SIGWINCH is ignored."""
    with setting.server() as server, connect(server) as peer:
        load = setting.load(server, "--connections", 20, "--seconds", 1, "--warmup", 0)
        begin, rounds = time.monotonic(), 0
        while time.monotonic() < begin + 1:
            for number in (signal.SIGWINCH, signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD):
                os.kill(server.pid, number)
            rounds += 1
            time.sleep(0.001)
        finish(load, 30)
        ask(peer)
        check_serves(server)
        return f"{rounds} rounds"


@test
def signal_during_the_start(setting):
    """A signal at any moment of the start ends it: by the signal before `run`, orderly after it."""
    ends = {}
    for number in range(100 if setting.long else 20):
        command = [setting.program("docs/examples/echo_server"), "--listen", f"{HOST}:0",
                   "--workers", "2", "--reactor", setting.reactor]
        child = os.posix_spawn(command[0], command, os.environ, file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
        time.sleep(number * 0.0003 * setting.slack)
        os.kill(child, signal.SIGTERM)
        begin = time.monotonic()
        done = (0, 0)
        with contextlib.suppress(Failed):
            while done[0] == 0:
                done = os.waitpid(child, os.WNOHANG)
                check(time.monotonic() < begin + 5 * setting.slack, "it goes on")
                time.sleep(0.001)
        if done[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise Failed(f"SIGTERM after {number * 0.3:.1f} ms does not end it")
        status = os.waitstatus_to_exitcode(done[1])
        check(status in (0, -signal.SIGTERM), f"exit status {status}")
        ends[status] = ends.get(status, 0) + 1
    return f"ends by status: {ends}"


if __name__ == "__main__":
    main()
