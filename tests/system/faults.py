#!/usr/bin/env python3
"""What peers and limits do to the echo server, and what it must make of it.

    tests/system/faults.py --build BUILD [--reactor uring|epoll] [--only NAME] [--long]

--long: at the lengths that a release is tried with; minutes instead of seconds.
"""

import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
import time

from harness import (HOST, ask, check, check_serves, connect, eventually, in_background, main,
                     receive_all, receive_exactly, reset, run, stuff, stuffed_bytes, test)

MIB = 1 << 20


# ---- limits ------------------------------------------------------------------------------------

def answered(peers, seconds):
    """Peers whose answer comes within `seconds`, taken out of `peers`; more while they pour in."""
    found, deadline = [], time.monotonic() + seconds
    while peers and time.monotonic() < deadline:
        readable, _, _ = select.select(peers, [], [], 0.2)
        if found and not readable:
            break
        for peer in readable:
            check(peer.recv(64) == b"hello", "a peer that waited was dropped")
            peers.remove(peer)
            found.append(peer)
    return found


@test
def too_many_clients_for_the_descriptors(setting):
    """200 clients against 64 descriptors: the rest waits, at no cost, and has its turn."""
    limits = [(resource.RLIMIT_NOFILE, 64)]
    with setting.server(limits=limits) as server, contextlib.ExitStack() as all_peers:
        waiting = [all_peers.enter_context(connect(server)) for _ in range(200)]
        for peer in waiting:
            peer.sendall(b"hello")
        served = answered(waiting, 1)
        check(20 <= len(served) < 64, f"{len(served)} clients served with 64 descriptors")
        at_once = len(served)
        cpu = server.cpu_share(2)
        check(cpu < 0.1, f"{cpu:.1%} of a core while no descriptor is left")
        begin = time.monotonic()
        while waiting:
            for peer in served:
                peer.close()
            served = answered(waiting, 3)
            check(served, f"{len(waiting)} clients still wait although descriptors came free")
        took = time.monotonic() - begin
        for peer in served:
            peer.close()
        eventually(lambda: server.descriptors() < 20, 10, "descriptors are not given back")
        check_serves(server)
        return f"{at_once} at once, {cpu:.2%} of a core meanwhile, the rest within {took:.1f} s"


@test
def limit_lowered_and_raised(setting):
    """The limit falls below what is open already, and rises again."""
    with setting.server() as server, connect(server) as first:
        ask(first)
        before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        with connect(server) as late:
            late.sendall(b"hello")
            cpu = server.cpu_share(1, lambda: ask(first))
            check(cpu < 0.1, f"{cpu:.1%} of a core while no descriptor is to be had")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
            check(receive_exactly(late, 5) == b"hello", "the echo differs")
        check_serves(server)
        return f"{cpu:.2%} of a core meanwhile"


@test
def port_in_use(setting):
    with setting.server() as server:
        status, said = run([setting.program("docs/examples/echo_server"), "--listen",
                            f"{HOST}:{server.port}", "--reactor", setting.reactor])
        check(status == 1, f"exit status {status} instead of 1")
        check("in use" in said and str(server.port) in said and said.count("\n") == 1,
              f"no clear error: {said!r}")
        check_serves(server)


# ---- peers that go away ------------------------------------------------------------------------

def storm_of_resets(server, count):
    for number in range(count):
        peer = socket.socket()
        peer.settimeout(10)
        peer.connect((HOST, server.port))
        stage = number % 4  # at once, after a message, in the middle of an answer, half-closed
        if stage != 0:
            peer.sendall(b"x" * (100 if stage == 1 else 20_000))
        if stage == 2:
            peer.recv(10)
        if stage == 3:
            peer.shutdown(socket.SHUT_WR)
        reset(peer)


@test
def reset_storm(setting):
    count = 100_000 if setting.long else 10_000
    with setting.server() as server, connect(server) as steady:
        storm_of_resets(server, count // 20)
        ask(steady)
        before, memory = server.settled_usage(), server.memory()
        begin = time.monotonic()
        with in_background(lambda stop: keep_asking(steady, stop)):
            storm_of_resets(server, count)
        rate = count / (time.monotonic() - begin)
        server.check_usage(before)
        grown = server.memory() - memory
        check(grown < setting.growth_max, f"{grown / MIB:.1f} MiB of memory more")
        check_serves(server)
        return f"{rate:.0f}/s, {grown / 1024:.0f} KiB more"


@test
def failures_do_not_flood_the_log(setting):
    """Peers decide how often connections fail; not how much is written, nor whether it blocks."""
    with setting.server() as server:
        begin = time.monotonic()
        storm_of_resets(server, 3000)
        lines = server.said().count("failed:")
        most = 60 + 10 * (time.monotonic() - begin)
        check(0 < lines <= most, f"{lines} lines for 3000 connections, {most:.0f} at most")
    reader, writer = os.pipe()  # nobody reads; what it holds is full soon
    with contextlib.closing(os.fdopen(reader)), contextlib.closing(os.fdopen(writer, "w")) as pipe:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
        with setting.server(errors=pipe) as server:
            storm_of_resets(server, 300)
            check_serves(server, 5)
    return f"{lines} lines for 3000 connections"


def keep_asking(peer, stop):
    while not stop.is_set():
        ask(peer)
        time.sleep(0.01)


@test
def sigpipe_does_not_kill(setting):
    """An answer to a peer that closed both ways fails with EPIPE; SIGPIPE is not ignored."""
    with setting.server() as server:
        ignored = int(server.proc("status").read_text().split("SigIgn:")[1].split()[0], 16)
        check(not ignored & 1 << signal.SIGPIPE - 1, "SIGPIPE is ignored: nothing is tested")
        for _ in range(200):
            peer = connect(server)
            peer.sendall(b"x" * 100_000)
            peer.shutdown(socket.SHUT_WR)
            reset(peer)
        check_serves(server)


@test
def half_closed_peers(setting):
    """A peer that has said all it had to say still gets every answer."""
    with setting.server() as server:
        with connect(server) as peer:
            peer.shutdown(socket.SHUT_WR)
            check(receive_all(peer) == b"", "an answer to nothing")
        for size in (1, 4096, 4097, 300_000):
            with connect(server) as peer, in_background(lambda _: check(
                    receive_all(peer) == stuffed_bytes(size), f"{size} bytes come back wrong")):
                peer.sendall(stuffed_bytes(size))
                peer.shutdown(socket.SHUT_WR)
        with connect(server) as peer:  # nobody reads when it closes its side
            sent = stuff(peer)
            peer.shutdown(socket.SHUT_WR)
            cpu = server.cpu_share(1)
            check(cpu < 0.02, f"{cpu:.1%} of a core for a peer that does not read")
            check(receive_all(peer) == stuffed_bytes(sent), "what was sent comes back wrong")
        with connect(server) as peer:  # it does not want to hear anything any more
            peer.shutdown(socket.SHUT_RD)
            peer.sendall(b"x" * 100)
        check_serves(server)
        return f"{sent / MIB:.1f} MiB in flight, {cpu:.2%} of a core meanwhile"


def pump(port, amount):
    """A peer process: sends `amount` bytes, reads them back, exits with 0 if they are right."""
    with socket.create_connection((HOST, port)) as peer:
        block = os.urandom(MIB)
        peer.setblocking(False)
        sent = received = 0
        while received < amount:
            readable, writable, _ = select.select([peer], [peer] if sent < amount else [], [], 60)
            if writable:
                at = sent % MIB
                sent += peer.send(block[at:at + min(MIB, amount - sent)])
            if readable:
                part = peer.recv(256 << 10)
                at = received % MIB
                wanted = block[at:at + len(part)]
                if not part or part != wanted + block[:len(part) - len(wanted)]:
                    os._exit(1)
                received += len(part)


def pump_process(port, amount):
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            pump(port, amount)
            os._exit(0)
        os._exit(2)
    return child


@test
def stopped_peers(setting):
    """Peers that stand still cost nothing, nobody else notices, and they can go on."""
    pause = 30 if setting.long else 2
    with setting.server() as server, connect(server) as other:
        ask(other)
        peers = [pump_process(server.port, 512 * MIB) for _ in range(2)]
        try:
            time.sleep(0.1 * setting.slack)
            memory = server.memory()
            for peer in peers:
                os.kill(peer, signal.SIGSTOP)
            time.sleep(0.1)
            worst = [0.0]

            def others_are_served():
                begin = time.monotonic()
                ask(other)
                worst[0] = max(worst[0], time.monotonic() - begin)

            cpu = server.cpu_share(pause, others_are_served)
            grown = server.memory() - memory
            check(cpu < 0.1 * setting.slack, f"{cpu:.1%} of a core while the peers stand still")
            check(grown < setting.growth_max, f"{grown / MIB:.1f} MiB more while they stand still")
            for peer in peers:
                os.kill(peer, signal.SIGCONT)
            time.sleep(0.3)
            ask(other)
        finally:
            for peer in peers:
                os.kill(peer, signal.SIGKILL)
                os.waitpid(peer, 0)
        check_serves(server)
        return (f"{cpu:.2%} of a core, {grown / 1024:.0f} KiB more, "
                f"others wait {worst[0] * 1e3:.1f} ms at most")


# ---- every byte, every connection --------------------------------------------------------------

@test
def every_byte_comes_back(setting):
    amount = (1 << 30 if setting.long else 64 << 20) // setting.slack
    programs = ["docs/examples/echo_server", "bench/echo_server_bench"]
    rates = []
    for program in programs:
        if program != programs[0] and not (setting.build / program).exists():
            continue
        with setting.server(program=program) as server:
            begin = time.monotonic()
            _, status = os.waitpid(pump_process(server.port, amount), 0)
            check(status == 0, f"{program}: the bytes differ or are not all there ({status})")
            rates.append(f"{amount / MIB / (time.monotonic() - begin):.0f} MiB/s")
    return f"{amount // MIB} MiB at " + ", ".join(rates)


def churn(server, count):
    """Connections opened and closed: with a word or without, orderly or, mostly, by RST."""
    for number in range(count):
        peer = socket.socket()
        peer.settimeout(10)
        orderly = number % 8 < 2
        if orderly:  # occupies its port for a minute: so spread over addresses
            peer.bind((f"127.0.{number // 8192 % 256}.{number // 32 % 250 + 2}", 0))
        peer.connect((HOST, server.port))
        if number % 2 == 0:
            ask(peer, b"hello")
        if orderly:
            peer.close()
        else:
            reset(peer)


@test
def connection_churn(setting):
    """After many connections the server is as large as after a few."""
    count = 1_000_000 if setting.long else 20_000
    with setting.server() as server:
        churn(server, 4000)
        before, memory = server.settled_usage(), server.memory()
        begin = time.monotonic()
        churn(server, count)
        rate = count / (time.monotonic() - begin)
        server.check_usage(before)
        grown = server.memory() - memory
        check(grown < setting.growth_max, f"{grown / MIB:.1f} MiB of memory more")
        check_serves(server)
        return f"{count} at {rate:.0f}/s, {grown / 1024:.0f} KiB more, then {before}"


@test
def many_at_once_and_gone(setting):
    """Thousands at once, and all of them gone in one go."""
    count = 5000 if setting.long else 900
    with setting.server() as server, contextlib.ExitStack() as peers:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        peers.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        before = server.settled_usage()
        for _ in range(2):
            crowd = [connect(server) for _ in range(count)]
            for peer in crowd:
                peer.sendall(b"hello")
            for peer in crowd:
                check(receive_exactly(peer, 5) == b"hello", "the echo differs")
            for number, peer in enumerate(crowd):
                if number % 2 == 0:
                    reset(peer)
                else:
                    peer.close()
            server.check_usage(before)
        check_serves(server)


if __name__ == "__main__":
    main()
