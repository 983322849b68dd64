#!/usr/bin/env python3
"""Runs the micro benchmarks and compares them: with their floors, their targets, the baseline.

    table.py BUILD [NAME]...             the table, with floors, targets and the best peers
    table.py BUILD --json FILE           also everything that was measured
    table.py BUILD --check               fails when a counter has grown beyond bench/baseline.json
    table.py BUILD --write-baseline      makes the counters of this run the baseline

NAME is a unit (await, spawn, …) or its program (micro_spawn). Floors and Magpie alternate within a
program, at random; the figures are medians of the repetitions. Time is wall time, unless something
else took more than a tenth of a core meanwhile: then it is the CPU time of the process, which
other programs disturb less, and the table says so.

The best peer of a row is one of those in PERFORMANCE.md, measured elsewhere. Its ratio is Magpie's
figure over the peer's, which moves with the floor as the target does; where the row's floor was not
measured there it is the plain quotient, good for an order of magnitude.

The check looks at counters alone: allocations, system calls, wakes, parks, steals for each
operation, bytes for each parked task, and sleeps that ended early. It takes the least of its
repetitions and fails when that is above the largest of the baseline's by more than the tolerance
there.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rows import ROWS

BASELINE = Path(__file__).resolve().parent.parent / "baseline.json"
COUNTERS = ("allocs", "calls", "wakes", "parks", "steals", "bytes", "early")
UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
# Some take long; and in parked_task freed memory would serve a second repetition.
REPETITIONS_MAX = {"wake": 3, "parked_task": 1, "timer": 5, "stop": 5, "token": 5}
MIN_TIME = "0.05"
OTHERS_MAX = 0.1  # of a core
SECONDS_MAX = 300

# One worker on one core does the same every time; two race. Where operations wait for the clock or
# for threads of the pool, it depends on the machine how many waits one park serves.
TOLERANCE = {"1w": {"relative": 0.02, "absolute": 0.001},
             "2w": {"relative": 0.25, "absolute": 0.02},
             "timed": {"relative": 1.0, "absolute": 0.5}}
TIMED = ("sleeps", "run_blocking", "wake_other_core")
STEADY = ("allocs", "bytes")


def busy_seconds():
    """CPU seconds that all processes have used, by the kernel's count."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_program(build, unit, repetitions):
    """One program: its compiler, name -> list of measurements, and the others' load."""
    program = build / "bench" / "micro" / f"micro_{unit}"
    count = min(repetitions, REPETITIONS_MAX.get(unit, repetitions))
    begin, busy, own = time.monotonic(), busy_seconds(), own_seconds()
    command = [program, f"--benchmark_min_time={MIN_TIME}", f"--benchmark_repetitions={count}",
               "--benchmark_enable_random_interleaving=true", "--benchmark_format=json"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        sys.exit(f"{program.name}: still running after {SECONDS_MAX} seconds")
    if done.returncode != 0:
        sys.exit(f"{program.name}: exit status {done.returncode}")
    wall = time.monotonic() - begin
    others = max(0.0, busy_seconds() - busy - (own_seconds() - own)) / wall
    measured = {}
    report = json.loads(done.stdout)
    for entry in report["benchmarks"]:
        if entry.get("run_type") != "iteration":
            continue
        if entry.get("error_occurred"):
            sys.exit(f"{program.name}: {entry['name']}: {entry.get('error_message')}")
        name = entry["run_name"]
        for suffix in ("/real_time", "/manual_time", "/process_time"):
            name = name.replace(suffix, "")
        name = "/".join(p for p in name.split("/") if not p.startswith("iterations:"))
        scale = UNITS[entry["time_unit"]]
        measured.setdefault(name, []).append(
            {"wall_ns": entry["real_time"] * scale,
             "cpu_ns": entry.get("span_cpu_ns", entry["cpu_time"] * scale),
             **{key: value for key, value in entry.items()
                if key in COUNTERS or key.endswith(("_us", "_turns"))}})
    return report["context"]["compiler"], measured, others


class Figures:
    """Everything that was measured, as medians."""

    def __init__(self, measured, quiet):
        self.measured = measured
        self.quiet = quiet

    def of(self, name, counter=None, unit="ns"):
        """The median of a benchmark in `unit`, or None where it did not run."""
        runs = self.measured.get(name)
        if not runs:
            return None
        if counter:
            return statistics.median(run[counter] for run in runs)
        key = "wall_ns" if self.quiet[name] else "cpu_ns"
        return statistics.median(run[key] for run in runs) / UNITS[unit]

    def of_row(self, row, name):
        value = self.of(name, row.counter, row.unit) if name else None
        if value is not None and row.less:
            value -= self.of(f"{row.less}/{name.rsplit('/', 1)[1]}", None, row.unit) or 0.0
        return value


def number(value):
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def verdict(value, target, scale):
    """yes; abs: the absolute target is met, but not the ratio to the floor; ratio: the reverse."""
    if value is None or target is None:
        return "–"
    absolute, relative = value <= target, value <= target * scale
    if absolute and relative:
        return "yes"
    return "no" if not absolute and not relative else "abs" if absolute else "ratio"


def ratio(value, peer, scale):
    return f"{value / (peer[1] * scale):.2f} {peer[0]}" if value is not None and peer else "–"


def table_lines(figures, units):
    yield ("row", "unit", "floor", "Magpie 1w", "2w", "target 1w / 2w", "met?",
           "ratio to the best peer")
    for row in ROWS:
        if row.program not in units:
            continue
        one, two = figures.of_row(row, row.one), figures.of_row(row, row.two)
        if one is None and two is None:
            continue
        floor = figures.of(row.floor, row.counter, row.unit) if row.floor else None
        scale = floor / row.floor_then if floor and row.floor_then else 1.0
        targets = [row.target_one, row.target_two]
        if row.over:
            targets[0] = figures.of(row.over, None, row.unit) * 1.1
        met = [verdict(one, targets[0], scale), verdict(two, targets[1], scale)]
        wanted = [number(target) for target, value in zip(targets, (row.one, row.two)) if value]
        peers = [ratio(one, row.peer_one, scale), ratio(two, row.peer_two, scale)]
        yield (row.title, row.unit, number(floor), number(one), number(two), " / ".join(wanted),
               " / ".join(met[:len(wanted)]), " / ".join(peers[:len(wanted)]))


def print_aligned(lines):
    lines = list(lines)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for at, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
        if at == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def print_counters(measured):
    print("\nCounters for each operation that are not zero:")
    for name, runs in measured.items():
        shown = [f"{counter} {statistics.median(run[counter] for run in runs):.4g}"
                 for counter in COUNTERS if counter in runs[0]
                 and statistics.median(run[counter] for run in runs) > 1e-3]
        if shown:
            print(f"  {name}: {', '.join(shown)}")


def counters_of(measured, choose):
    return {name: {counter: choose(run[counter] for run in runs)
                   for counter in COUNTERS if counter in runs[0]}
            for name, runs in measured.items() if not name.endswith("/floor")}


def write_baseline(compiler, measured, whole):
    """Frames differ in size between compilers, so each has its own baseline."""
    known = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {"rows": {}}
    rows = {} if whole else known["rows"].get(compiler, {})
    for name, counters in counters_of(measured, max).items():
        rows[name] = {counter: float(f"{value:.4g}") for counter, value in counters.items()}
    known["tolerance"] = TOLERANCE
    known["rows"][compiler] = dict(sorted(rows.items()))
    known["rows"] = dict(sorted(known["rows"].items()))
    text = json.dumps(known, indent=1)
    text = re.sub(r"\{\s+([^{}]*?)\s+\}", lambda m: "{" + " ".join(m[1].split()) + "}", text)
    BASELINE.write_text(text + "\n", encoding="utf-8")
    print(f"{compiler}: {len(rows)} benchmarks in the baseline")


def tolerance_of(known, name, counter):
    base, workers = name.rsplit("/", 1)
    return known["timed" if base.startswith(TIMED) and counter not in STEADY else workers]


def check(compiler, measured):
    """The exit status: 1 when a counter has grown."""
    baseline = json.loads(BASELINE.read_text(encoding="utf-8"))
    rows = baseline["rows"].get(compiler, {})
    grown = compared = 0
    for name, counters in counters_of(measured, min).items():
        known = rows.get(name)
        if known is None:
            print(f"{name}: not in the baseline (table.py --write-baseline)")
            grown += 1
            continue
        for counter, value in counters.items():
            compared += 1
            tolerance = tolerance_of(baseline["tolerance"], name, counter)
            most = known[counter] * (1 + tolerance["relative"]) + tolerance["absolute"]
            if value > most:
                print(f"{name}: {counter} {value:.4g} for each operation, "
                      f"the baseline allows {most:.4g}")
                grown += 1
    print(f"benchmark counters: {compared} compared, {grown} too large")
    return 1 if grown else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--repetitions", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write-baseline", action="store_true")
    return parser.parse_args()


def main():
    given = arguments()
    known = list(dict.fromkeys(row.program for row in ROWS))
    units = [name.removeprefix("micro_") for name in given.names] or known
    for unit in units:
        if unit not in known:
            sys.exit(f"no such benchmark: {unit} (there are {', '.join(known)})")
    repetitions = given.repetitions or (3 if given.check else 9)
    compiler, measured, quiet = "", {}, {}
    for unit in units:
        compiler, of_unit, others = run_program(given.build, unit, repetitions)
        measured.update(of_unit)
        quiet.update(dict.fromkeys(of_unit, others <= OTHERS_MAX))
        if others > OTHERS_MAX:
            print(f"{unit}: others took {others:.0%} of a core: CPU time, not wall time, below")
    if given.json:
        everything = {"compiler": compiler, "quiet": quiet, "measured": measured}
        given.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    if given.write_baseline:
        write_baseline(compiler, measured, units == known)
        return 0
    if given.check:
        return check(compiler, measured)
    print_aligned(table_lines(Figures(measured, quiet), units))
    print_counters(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
