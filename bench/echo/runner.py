"""Starts a server, runs the load generator against it once, and says what came out."""

import json
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time

START_SECONDS = 10
STOP_SECONDS = 3


class Unavailable(Exception):
    """The server cannot run here: not built, or it refuses."""


class Failed(Exception):
    """A run went wrong."""


class Cores:
    """Which cores the server and the generator run on.

    With enough cores the generator has one of its own. With two workers on two cores all share.
    """

    def __init__(self, workers):
        cores = sorted(os.sched_getaffinity(0))
        self.apart = len(cores) > workers
        self.load = set(cores[:1]) if self.apart else set(cores)
        self.server = set(cores[1:workers + 1]) if self.apart else set(cores)

    def describe(self):
        shown = [",".join(map(str, sorted(cores))) for cores in (self.server, self.load)]
        return f"server on core {shown[0]}, generator on core {shown[1]}"


def pinned(cores):
    return lambda: os.sched_setaffinity(0, cores)


class Server:
    """A server process. `command` prints `listening on HOST:PORT ...` when it is ready."""

    def __init__(self, command, cores):
        self.command = shlex.split(command)
        self.cores = cores
        self.process = None
        self.address = None
        if shutil.which(self.command[0]) is None:
            raise Unavailable(f"{self.command[0]} is not built")

    def __enter__(self):
        self.errors = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=self.errors, stdin=subprocess.DEVNULL,
            preexec_fn=pinned(self.cores))
        try:
            self.address = self.read_address()
        except Unavailable:
            self.__exit__()
            raise
        return self

    def read_address(self):
        said = b""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            readable, _, _ = select.select([self.process.stdout], [], [], 0.1)
            if not readable:
                continue
            more = os.read(self.process.stdout.fileno(), 4096)
            if not more:
                break
            said += more
            for line in said.decode(errors="replace").splitlines(keepends=True):
                if line.startswith("listening on ") and line.endswith("\n"):
                    return line.split()[2]
        raise Unavailable(f"'{shlex.join(self.command)}' does not listen: {self.last_words()}")

    def last_words(self):
        self.errors.seek(0)
        return self.errors.read()[-400:].strip() or "no word on stderr"

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def run_load(build, server, cores, options, seconds):
    """One run of the generator; its report as a dict."""
    command = [f"{build}/bench/bare/bare_load", "--connect", server.address, "--json",
               "--server-pid", str(server.process.pid), *map(str, options)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60,
                              preexec_fn=pinned(cores), check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed("the generator hangs") from error
    if done.returncode != 0:
        state = server.process.poll()
        died = f", the server ended with status {state}" if state is not None else ""
        raise Failed(f"{done.stderr.strip()}{died}")
    return json.loads(done.stdout)


def disturbed(report, busy_max):
    """Why this run does not count, or None. `busy_max`: cores that others may take."""
    if report.get("other_cores", 0) > busy_max:
        return f"other processes took {report['other_cores']:.2f} cores"
    if report.get("stolen_cores", 0) > busy_max:
        return f"the hypervisor took {report['stolen_cores']:.2f} cores"
    return None


def measure(build, command, workers, options, seconds):
    """Starts the server afresh, loads it once, stops it."""
    cores = Cores(workers)
    with Server(command, cores.server) as server:
        return run_load(build, server, cores.load, options, seconds)
