#!/usr/bin/env python3
"""Where io_uring is refused, everything runs on epoll, and says so once.

    tests/system/fallback.py --build BUILD [--only NAME] [--long]

--long: the unit tests of the runtime too, and all under each way of refusing, not under one.
"""

import os
import re
import signal
import subprocess

from harness import (HOST, Failed, Server, Skipped, check, check_serves, finish, kernel_has_uring,
                     main, run, test)

# How a machine may refuse io_uring, and what is then said about it.
REFUSALS = {
    "io_uring_setup=EPERM": "Operation not permitted",
    "io_uring_setup=ENOSYS": "Function not implemented",
    "io_uring_enter=EPERM": "Operation not permitted",
    "memlock=0": "Cannot allocate memory",
}
EXIT_NO_RUNTIME = 4
EXIT_SKIPPED = 77


def refusing(setting, *refusals):
    return [setting.program("tests/support/refuse"), *refusals, "--"]


def serving(setting, reactor="auto", program="docs/examples/echo_server"):
    return [setting.program(program), "--listen", f"{HOST}:0", "--workers", "2",
            "--reactor", reactor]


def try_server(setting, command, **settings):
    try:
        return Server(command, setting.slack, **settings)
    except Failed as failed:
        if "refuse: " in str(failed):
            raise Skipped(str(failed)) from None
        raise


def check_fails(command, *words, status=EXIT_NO_RUNTIME, environment=None):
    """It ends by itself, with an error that a person understands."""
    variables = {**os.environ, **(environment or {})}
    got, said = run(command, env=variables)
    if got == EXIT_SKIPPED:
        raise Skipped(said.strip())
    check(got == status, f"exit status {got} instead of {status}: {said.strip()}")
    for word in words:
        check(word in said, f"{word!r} is not in {said!r}")


def check_works(setting, server, reactor):
    check(server.reactor == reactor, f"it runs on {server.reactor} instead of {reactor}")
    check_serves(server)
    finish(setting.load(server, "--connections", 20, "--seconds", 0.2, "--warmup", 0), 60)


@test
def refused_falls_back(setting):
    """`--reactor auto` runs on epoll with one log line."""
    for refusal, why in REFUSALS.items():
        with try_server(setting, refusing(setting, refusal) + serving(setting)) as server:
            check_works(setting, server, "epoll")
            server.stop()
            said = server.said().splitlines()
            check(len(said) == 1 and "io_uring" in said[0] and "epoll" in said[0] and
                  why in said[0], f"{refusal}: not one log line: {said}")


@test
def refused_but_forced(setting):
    """`--reactor uring`, or the variable, fails with a clear error."""
    for refusal, why in REFUSALS.items():
        command = refusing(setting, refusal)
        check_fails(command + serving(setting, "uring"), "uring", why)
        check_fails(command + serving(setting), "uring", why,
                    environment={"MAGPIE_REACTOR": "uring"})


@test
def epoll_asks_for_no_ring(setting):
    """With epoll chosen there is no probe: even a filter that kills does not notice."""
    command = refusing(setting, "io_uring_setup=kill", "io_uring_enter=kill")
    for chosen, environment in (("epoll", {}), ("auto", {"MAGPIE_REACTOR": "epoll"})):
        with try_server(setting, command + serving(setting, chosen),
                        environment=environment) as server:
            check_works(setting, server, "epoll")
            server.stop()
            check(server.said() == "", f"it said {server.said()!r}")
    load = subprocess.run(command + [setting.program("docs/examples/echo_server"), "--listen",
                                     f"{HOST}:0"], capture_output=True, check=False, timeout=30)
    check(load.returncode == -signal.SIGSYS, f"the filter does not kill: {load.returncode}")


@test
def refused_clients_too(setting):
    """The load generator, on the current-thread flavour, falls back as well."""
    with try_server(setting, serving(setting, "epoll")) as server:
        for refusal in REFUSALS:
            command = [*refusing(setting, refusal), setting.program("docs/examples/load"),
                       "--connect", f"{HOST}:{server.port}", "--seconds", "0.2", "--warmup", "0"]
            status, said = run(command)
            check(status == 0, f"{refusal}: exit status {status}: {said.strip()}")
            check(len(said.splitlines()) == 1 and "using epoll" in said,
                  f"{refusal}: not one log line: {said!r}")


@test
def environment(setting):
    """MAGPIE_REACTOR and MAGPIE_WORKERS override defaults, and options override both."""
    program = setting.program("docs/examples/echo_server")
    plain = [program, "--listen", f"{HOST}:0"]
    with try_server(setting, plain, environment={"MAGPIE_REACTOR": "epoll",
                                                 "MAGPIE_WORKERS": "3"}) as server:
        check((server.reactor, server.workers) == ("epoll", 3), "the variables were overlooked")
    with try_server(setting, plain + ["--workers", "1", "--reactor", "epoll"],
                    environment={"MAGPIE_REACTOR": "nonsense", "MAGPIE_WORKERS": "7"}) as server:
        check((server.reactor, server.workers) == ("epoll", 1), "the options were overlooked")
    for name, values in {"MAGPIE_REACTOR": ["kqueue", "", "epoll ", "EPOLL", "sim"],
                         "MAGPIE_WORKERS": ["", "0", "-1", "two", "2x", " 2", "513",
                                            "99999999999999999999"]}.items():
        for value in values:
            check_fails(plain, f"{name}={value}", environment={name: value})


@test
def bad_options(setting):
    program = setting.program("docs/examples/echo_server")
    for options in (["--reactor", "kqueue"], ["--workers", "many"], ["--workers", "-1"],
                    ["--workers", "513"], ["--listen", "nowhere"], ["--listen", HOST],
                    ["--listen", f"{HOST}:65536"], ["--no-such-option"], ["surplus"]):
        status, said = run([program, *options])
        check(status == 2, f"{options}: exit status {status} instead of 2")
        check(re.search(r"^usage", said, re.I | re.M), f"{options}: no usage: {said!r}")
    check_fails([program, "--listen", "203.0.113.1:7000"], "203.0.113.1:7000",
                "Cannot assign requested address", status=1)


@test
def other_refusals(setting):
    """What a filter or a limit may also take away: it goes on without, or says why it cannot."""
    best = "uring" if kernel_has_uring() else "epoll"
    for refusal, reactor in (("membarrier=EPERM", best), ("membarrier=ENOSYS", best),
                             ("io_uring_register=EPERM", best), ("epoll_pwait2=ENOSYS", "epoll"),
                             ("epoll_pwait2=EPERM", "epoll")):
        with try_server(setting, refusing(setting, refusal) +
                        serving(setting, reactor)) as server:
            check_works(setting, server, reactor)
            server.stop()
            check(server.said() == "", f"it said {server.said()!r}")
    for refusal, why in (("clone3=EAGAIN", "temporarily unavailable"),
                         ("eventfd2=EMFILE", "Too many open files"),
                         ("threads=8", "temporarily unavailable")):
        for reactor in (best, "epoll"):
            many = ["--workers", "40"] if refusal.startswith("threads") else []
            command = [argument for argument in serving(setting, reactor)
                       if not many or argument not in ("--workers", "2")]
            check_fails(refusing(setting, refusal) + command + many, "cannot start", why)


@test
def unit_tests_pass_where_it_is_refused(setting):
    variables = {**os.environ, "MAGPIE_TEST_REACTOR": "epoll", "MAGPIE_TEST_WORKERS": "2"}
    refusals = REFUSALS if setting.long else ["io_uring_setup=EPERM"]
    counts = []
    for refusal in refusals:
        for suite in ("net", "runtime") if setting.long else ("net",):
            done = subprocess.run(
                refusing(setting, refusal) + [setting.program(f"tests/{suite}_tests")],
                capture_output=True, text=True, env=variables, timeout=170 * setting.slack,
                check=False, cwd="/")
            passed = re.search(r"\[  PASSED  \] (\d+) tests", done.stdout)
            check(done.returncode == 0 and passed, f"{suite} under {refusal}: exit status "
                  f"{done.returncode}: {done.stdout[-600:]} {done.stderr[-400:]}")
            counts.append(f"{suite} {passed.group(1)}")
    return "passed: " + ", ".join(counts)


if __name__ == "__main__":
    main(reactors=("auto",))
