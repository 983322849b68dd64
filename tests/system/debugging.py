#!/usr/bin/env python3
"""What can be seen of the tasks of a program from outside: on a signal, and in a debugger.

    tests/system/debugging.py --build BUILD [--reactor uring|epoll] [--only NAME]
"""

import contextlib
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from harness import Failed, Skipped, check, main, test

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "runtime" / "magpie-gdb.py"
SESSIONS = 12
# The stacks that the tasks of tests/support/sleepers.cpp wait on, innermost first.
SESSION = ["sleeps_innermost", "session_of_a_peer"]
SERVER = ["serves_its_children"]


@contextlib.contextmanager
def sleepers(setting):
    """The program, once its tasks wait."""
    environment = os.environ | {"MAGPIE_REACTOR": setting.reactor, "MAGPIE_WORKERS": "2"}
    process = subprocess.Popen([setting.program("tests/support/sleepers")], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        readable, _, _ = select.select([process.stdout], [], [], 20 * setting.slack)
        check(readable and process.stdout.readline() == "ready\n", "its tasks do not come to wait")
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process, setting):
    """Ends it orderly; what it said."""
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20 * setting.slack)
    check(process.returncode == 0, f"it exited with {process.returncode}: {errors[-400:]}")
    return errors


def read_until(process, text, seconds):
    """What standard error gives until `text` was in it."""
    said, begin = "", time.monotonic()
    while text not in said:
        readable, _, _ = select.select([process.stderr], [], [], 0.1)
        if readable:
            said += os.read(process.stderr.fileno(), 65536).decode()
        if time.monotonic() > begin + seconds:
            raise Failed(f"{text!r} does not come: {said[-800:]}")
    return said


def check_dump(text):
    """Whether a dump shows the tasks of the program, the equal ones in one paragraph."""
    heads = re.findall(r"^(\d+) tasks?, (\w+)[^:\n]*: (.*)$", text, re.MULTILINE)
    names = {re.sub(r"^\d+ |[()]", "", labels.split(",")[0]): (int(count), state)
             for count, state, labels in heads}
    check(names.get("session") == (SESSIONS, "waiting"), f"no paragraph of the sessions in {text}")
    check(names.get("server") == (1, "waiting"), f"no server in {text}")
    check("waits for the children of a group at" in text, f"nobody waits for a group in {text}")
    for stack in (SESSION, SERVER):
        lines = re.findall(r"^    \S*sleepers\.cpp:\d+.*$", text, re.MULTILINE)
        at = next((i for i, line in enumerate(lines) if stack[0] in line), None)
        check(at is not None, f"{stack[0]} is not in {text}")
        for name, line in zip(stack, lines[at:], strict=False):
            check(name in line, f"{name} expected in {line}")


@test
def dumps_on_a_signal(setting):
    """SIGQUIT prints every live task, and the program goes on."""
    with sleepers(setting) as process:
        for _ in range(3):
            process.send_signal(signal.SIGQUIT)
            check_dump(read_until(process, "main_task", 20 * setting.slack))
        check(process.poll() is None, "the signal ended it")
        end(process, setting)


def gdb(*arguments):
    """What gdb prints when it runs these commands."""
    command = ["gdb", "--batch", "--nx", "-iex", "set debuginfod enabled off", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300, check=False)
    return done.stdout, done.stderr


def need_gdb(program):
    if shutil.which("gdb") is None:
        raise Skipped("gdb is not installed")
    out, _ = gdb("-ex", "python print(6 * 7)")
    if "42" not in out:
        raise Skipped("this gdb has no Python")
    out, _ = gdb(program, "-ex", "ptype magpie::stop_scope")
    if "word_" not in out:
        raise Skipped("the program has no debug information")


@test
def debugger_lists_tasks(setting):
    """The script finds the stacks in a process, and in its core file."""
    program = setting.program("tests/support/sleepers")
    if setting.slack != 1:
        raise Skipped("the core file would hold the sanitizer's shadow memory")
    need_gdb(program)
    with sleepers(setting) as process, tempfile.TemporaryDirectory() as folder:
        core = f"{folder}/core"
        out, errors = gdb(program, "-p", str(process.pid), "-x", str(SCRIPT), "-ex", "magpie-tasks",
                          "-ex", f"generate-core-file {core}", "-ex", "detach")
        if "ptrace" in errors and "magpie: " not in out:
            raise Skipped("processes may not be traced here")
        check("magpie: " in out, f"nothing is listed: {out[-400:]} {errors[-800:]}")
        check_dump(out)
        check("Traceback" not in errors and "Python Exception" not in errors, errors[-800:])
        end(process, setting)
        if not os.path.exists(core):
            raise Skipped(f"gdb writes no core file here: {errors[-200:]}")
        out, errors = gdb(program, core, "-x", str(SCRIPT), "-ex", "magpie-tasks",
                          "-ex", "magpie-tasks all")
        first, _, second = out.partition("magpie: ")[2].partition("magpie: ")
        check_dump(first)
        check(second.count("(session)") == SESSIONS, f"not each by itself: {second}")


if __name__ == "__main__":
    main()
