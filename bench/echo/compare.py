#!/usr/bin/env python3
"""Compares echo servers pair by pair: CPU per request and latency, as ratios taken in one run.

    bench/echo/compare.py --build build/release                    ours against the bare loops
    bench/echo/compare.py --set uring --connections 50 --pairs 15
    bench/echo/compare.py --server mine='./mine --threads {workers}' --server its='./its'
    bench/echo/compare.py --open-loop 0.6                          tails at 60 % of saturation
    bench/echo/compare.py --interference                           2 % of the requests compute 5 ms
    bench/echo/compare.py --idle 5000                              bytes per silent connection

A server is a command that prints `listening on HOST:PORT` and then echoes. In commands {build},
{workers}, {size} (of a message), {buffer} (to receive into) and {compute} (`--compute-us 5000` with
--interference, else nothing) are filled in. Absolute figures wobble from hour to hour, so every
round runs every server once, in changing order, and the ratios are taken within a round.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import sys
import time

import runner
from stats import median_interval, paired_ratios

BARE = "{build}/bench/bare/"
BARE_OPTIONS = " --workers {workers} --message-size {buffer} {compute}"
MAGPIE = "{build}/bench/echo_server_bench --reactor "

# Each set: the bare loop with our flags and our way of doing I/O, the best bare loop, ours.
SETS = {
    "uring": {
        "bare-uring-poll": BARE + "bare_echo_uring --form poll" + BARE_OPTIONS,
        "bare-uring-multishot": BARE + "bare_echo_uring --form multishot" + BARE_OPTIONS,
        "magpie-uring": MAGPIE + "uring" + BARE_OPTIONS,
    },
    "epoll": {
        "bare-epoll-edge": BARE + "bare_echo_epoll --form edge" + BARE_OPTIONS,
        "bare-epoll-level": BARE + "bare_echo_epoll --form level" + BARE_OPTIONS,
        "magpie-epoll": MAGPIE + "epoll" + BARE_OPTIONS,
    },
}
REFERENCES = {
    "uring": ["bare-uring-poll", "bare-uring-multishot"],
    "epoll": ["bare-epoll-edge", "bare-epoll-level"],
}
COMPUTE = "--compute-us 5000"


@dataclasses.dataclass
class Contender:
    name: str
    command: str
    references: list  # names of those that it is compared with


@dataclasses.dataclass(frozen=True)
class Setting:
    workers: int
    connections: int
    size: int

    def __str__(self):
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{workers}, {self.connections} connections, {self.size} B"


def numbers(text):
    return [int(part) for part in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--build", default="build/release", help="build directory (build/release)")
    add("--set", default=None, help="default servers: uring, epoll or uring,epoll")
    add("--server", action="append", default=[], metavar="NAME=COMMAND", help="one more server")
    add("--only", default=None, metavar="NAME,...", help="run no other servers than these")
    add("--reference", action="append", default=[], help="compare all with this server")
    add("--pairs", type=int, default=None, help="rounds (15; 5 with --interference, 3 with --idle)")
    add("--seconds", type=float, default=3, help="measured seconds of a run (3)")
    add("--warmup", type=float, default=0.5, help="seconds before them (0.5)")
    add("--connections", type=numbers, default=[50, 500], help="(50,500)")
    add("--size", type=numbers, default=[64], help="bytes of a message (64)")
    add("--workers", type=numbers, default=None, help="(1,2; 2 with --interference)")
    add("--pipeline", type=int, default=1, help="requests in flight per connection (1)")
    add("--retries", type=int, default=2, help="repeats of a disturbed run before giving up (2)")
    add("--busy-max", type=float, default=0.10, metavar="CORES",
        help="drop runs in which other processes took more (0.10)")
    add("--output", default=None, metavar="FILE", help="write everything as JSON")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--open-loop", type=float, metavar="FRACTION", default=None)
    mode.add_argument("--interference", action="store_true")
    mode.add_argument("--idle", type=int, metavar="N", default=None)
    arguments = parser.parse_args()
    if arguments.workers is None:
        arguments.workers = [2] if arguments.interference else [1] if arguments.idle else [1, 2]
    if arguments.pairs is None:
        arguments.pairs = 5 if arguments.interference else 3 if arguments.idle else 15
    if arguments.interference:
        arguments.connections, arguments.size = [16], arguments.size[:1]
    if arguments.idle:
        arguments.connections, arguments.size = [arguments.idle], arguments.size[:1]
    return arguments


def choose_contenders(arguments):
    sets = arguments.set.split(",") if arguments.set else [] if arguments.server else list(SETS)
    chosen, all_references = [], list(arguments.reference)
    for name in sets:
        if name not in SETS:
            sys.exit(f"no set '{name}'; there are {', '.join(SETS)}")
        if not arguments.reference:
            all_references += REFERENCES[name]
        references = arguments.reference or REFERENCES[name]
        chosen += [Contender(server, command, references)
                   for server, command in SETS[name].items()]
    for text in arguments.server:
        name, equals, command = text.partition("=")
        if not equals:
            sys.exit(f"--server {text}: write NAME=COMMAND")
        all_references = all_references or [name]
        chosen.append(Contender(name, command, all_references))
    if arguments.only:
        only = arguments.only.split(",")
        chosen = [contender for contender in chosen if contender.name in only]
    return keep_available(chosen, arguments)


def keep_available(contenders, arguments):
    kept = []
    for contender in contenders:
        command = fill_in(contender, Setting(1, 1, 64), arguments)
        try:
            with runner.Server(command, os.sched_getaffinity(0)):
                kept.append(contender)
        except runner.Unavailable as error:
            print(f"skipped {contender.name}: {error}")
    if not kept:
        sys.exit("no server to measure")
    return kept


def fill_in(contender, setting, arguments):
    # Twice the message: a read that fills its buffer would have to ask whether there is more.
    return contender.command.format(
        build=arguments.build, workers=setting.workers, size=setting.size,
        buffer=max(16384, 2 * setting.size), compute=COMPUTE if arguments.interference else "")


def load_options(setting, arguments, rate):
    options = ["--seconds", arguments.seconds, "--warmup", arguments.warmup, "--size", setting.size]
    if arguments.idle:
        return ["--idle", arguments.idle, "--seconds", 1]
    if arguments.interference:
        return options + ["--interference"]
    options += ["--connections", setting.connections]
    if rate is None:
        return options + ["--pipeline", arguments.pipeline]
    spin = ["--spin"] if runner.Cores(setting.workers).apart else []
    return options + ["--rate", f"{rate:.1f}"] + spin


class Progress:
    """A line on stderr: overwritten on a terminal, else one every ten seconds."""

    def __init__(self, total):
        self.total, self.done, self.begin = total, 0, time.monotonic()
        self.said = self.begin

    def step(self, what):
        self.done += 1
        now = time.monotonic()
        left = (now - self.begin) / self.done * (self.total - self.done)
        line = f"{self.done}/{self.total} {what}, {left:.0f} s left"
        if sys.stderr.isatty():
            print(f"\r{line:<78}", end="" if self.done < self.total else "\r", file=sys.stderr,
                  flush=True)
        elif now - self.said > 10 or self.done == self.total:
            self.said = now
            print(line, file=sys.stderr, flush=True)


class Comparison:
    def __init__(self, arguments, contenders):
        self.arguments, self.contenders = arguments, contenders
        self.runs = []
        self.summary = []

    def run_once(self, contender, setting, number, rate):
        """One run that counts; disturbed ones are recorded, repeated and at last given up."""
        command = fill_in(contender, setting, self.arguments)
        options = load_options(setting, self.arguments, rate)
        for _ in range(self.arguments.retries + 1):
            run = {"server": contender.name, **dataclasses.asdict(setting), "round": number}
            try:
                report = runner.measure(self.arguments.build, command, setting.workers, options,
                                        self.arguments.seconds)
                run["dropped"] = runner.disturbed(report, self.arguments.busy_max)
                run |= report
            except (runner.Failed, runner.Unavailable) as error:
                run["dropped"] = f"failed: {error}"
                print(f"\n{contender.name}, {setting}: {error}", file=sys.stderr)
            if run.get("requests"):
                run["cpu_us"] = run["server_cpu_ns"] / run["requests"] / 1000
            self.runs.append(run)
            if run["dropped"] is None:
                return run
        return None

    def saturation(self, setting):
        """Requests/s that the first server takes in a closed loop."""
        reference = self.contenders[0]
        for number in range(3):
            self.run_once(reference, setting, -1 - number, None)
        rates = [run["rate"] for run in self.counted(reference, setting, rounds=range(-3, 0))]
        if not rates:
            sys.exit(f"no undisturbed run of {reference.name}: no saturation rate")
        return statistics.median(rates)

    def run_setting(self, setting, progress):
        rate = None
        if self.arguments.open_loop:
            full = self.saturation(setting)
            rate = full * self.arguments.open_loop
            print(f"\n{self.contenders[0].name} saturates at {full:.0f} req/s; open loop at "
                  f"{rate:.0f} req/s")
        for number in range(self.arguments.pairs):
            turn = number % len(self.contenders)
            order = self.contenders[turn:] + self.contenders[:turn]
            for contender in order if number % 2 == 0 else reversed(order):
                self.run_once(contender, setting, number, rate)
                progress.step(f"{contender.name}, {setting}")

    def run_all(self):
        settings = [Setting(workers, connections, size)
                    for size in self.arguments.size
                    for workers in self.arguments.workers
                    for connections in self.arguments.connections]
        progress = Progress(len(settings) * len(self.contenders) * self.arguments.pairs)
        for setting in settings:
            self.run_setting(setting, progress)
            self.report(setting)

    def counted(self, contender, setting, rounds=None):
        wanted = dataclasses.asdict(setting)
        return [run for run in self.runs
                if run["server"] == contender.name and run["dropped"] is None
                and (run["round"] in rounds if rounds else run["round"] >= 0)
                and all(run[key] == value for key, value in wanted.items())]

    def figures(self, contender, setting):
        """{name: {round: value}} of the runs that count."""
        runs = self.counted(contender, setting)
        if self.arguments.idle:
            return {"bytes": {run["round"]: run["bytes_each"] for run in runs}}
        figures = {"cpu_us": {run["round"]: run["cpu_us"] for run in runs},
                   "rate": {run["round"]: run["rate"] for run in runs}}
        for name in ("p50", "p99", "p99.9"):
            figures[name] = {run["round"]: run["latency_us"][name] for run in runs}
        return figures

    def report(self, setting):
        figures = {contender.name: self.figures(contender, setting)
                   for contender in self.contenders}
        dropped = [run for run in self.runs if run["dropped"] is not None and all(
            run[key] == value for key, value in dataclasses.asdict(setting).items())]
        print(f"\n{setting}; {runner.Cores(setting.workers).describe()}; "
              f"{self.arguments.pairs} rounds; {len(dropped)} runs dropped")
        for reason in sorted({run["dropped"].split(" took")[0] for run in dropped}):
            count = sum(run["dropped"].startswith(reason) for run in dropped)
            print(f"  dropped {count}: {reason}")
        for contender in self.contenders:
            row = {"server": contender.name, **dataclasses.asdict(setting),
                   "rounds": len(next(iter(figures[contender.name].values())))}
            for name, values in figures[contender.name].items():
                row[name] = median_interval(values.values())
            row["ratios"] = {
                reference: {name: median_interval(paired_ratios(values, figures[reference][name]))
                            for name, values in figures[contender.name].items()}
                for reference in contender.references
                if reference in figures and reference != contender.name}
            self.summary.append(row)
            self.print_row(row)

    def print_row(self, row):
        if row["rounds"] == 0:
            print(f"{row['server']:<22} no undisturbed run")
            return
        shown = {"bytes": " {:8.1f} bytes each", "cpu_us": " {:7.3f} us/request [{:.3f} {:.3f}]",
                 "rate": " {:9.0f} req/s", "p50": "  p50 {:.0f}", "p99": "  p99 {:.0f}",
                 "p99.9": "  p99.9 {:.0f} us"}
        print(f"{row['server']:<22}" + "".join(
            text.format(*row[name]) for name, text in shown.items() if name in row))
        open_loop = self.arguments.open_loop or self.arguments.interference
        compared = ["bytes"] if self.arguments.idle else ["cpu_us", "p99", "p99.9"] \
            if open_loop else ["cpu_us", "p99"]
        for reference, ratios in row["ratios"].items():
            parts = [f"{name} {median:.3f} [{low:.3f} {high:.3f}]"
                     for name, (median, low, high) in ratios.items() if name in compared]
            print(f"{'':<22}   / {reference}: " + "  ".join(parts))


def machine():
    model = next((line.split(":")[1].strip() for line in
                  pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"processor": model, "cores": len(os.sched_getaffinity(0)),
            "kernel": platform.release()}


def main():
    arguments = parse_arguments()
    contenders = choose_contenders(arguments)
    comparison = Comparison(arguments, contenders)
    about = machine()
    print(f"{about['processor']}, {about['cores']} cores, Linux {about['kernel']}; medians with "
          "95 % intervals, ratios within rounds")
    try:
        comparison.run_all()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps(
            {"machine": about, "arguments": vars(arguments), "summary": comparison.summary,
             "runs": comparison.runs}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
