"""Sums up a run of `meson test`: what was skipped and why, what failed, and how many passed.

A Google Test program counts as its cases, any other test as one. With --uring it also fails when
this kernel has io_uring but the tests of that reactor did not run, or were skipped.
"""

import argparse
import collections
import ctypes
import json
import os
import pathlib
import sys
import xml.etree.ElementTree

GOOD = {"OK", "EXPECTEDFAIL", "SKIP"}
IO_URING_SETUP = 425


class Summary:
    """The counts of one build folder."""

    def __init__(self, folder):
        logs = pathlib.Path(folder) / "meson-logs"
        self.passed = 0
        self.failed = []
        self.skipped = collections.Counter()
        self.uring_passed = {}
        self.uring_skipped = 0
        # With a wrapper around the tests, Meson puts its name behind a dash.
        log = max(logs.glob("testlog*.json"), key=lambda path: path.stat().st_mtime, default=None)
        if log is None:
            sys.exit("summary: no test was run")
        cases = self.cases(log.with_name(log.stem + ".junit.xml"))
        for line in log.read_text(encoding="utf-8").splitlines():
            self.count(json.loads(line), cases)

    @staticmethod
    def cases(path):
        """The Google Test cases by the name of the meson test that ran them."""
        found = collections.defaultdict(list)
        if path.exists():
            for suite in xml.etree.ElementTree.parse(path).getroot():
                test = suite.get("name").partition(" / ")[2].partition(".")[0]
                if suite.get("name").startswith("magpie.") and test:
                    found[test].extend(suite.findall("testcase"))
        return found

    def count(self, test, cases):
        name = test["name"].rpartition(" / ")[2].rpartition(":")[2]
        if "-uring-" in name:
            self.uring_passed[name] = 0
        failed_before = len(self.failed)
        for case in cases.get(name, []):
            self.count_case(name, case)
        good = test["result"] in GOOD
        if not good and len(self.failed) == failed_before:
            self.failed.append(f"{name}: {test['result']}")
        elif good and name not in cases:
            if test["result"] == "SKIP":
                self.skipped[f"{name}: skipped as a whole"] += 1
            else:
                self.passed += 1

    def count_case(self, program, case):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            self.failed.append(f"{program}: {case.get('classname')}.{case.get('name')}")
        elif skipped is not None:
            reason = skipped.get("message", "").partition("\n")[2].strip() or "no reason given"
            self.skipped[reason.splitlines()[0]] += 1
            self.uring_skipped += program in self.uring_passed and "uring" in reason
        elif case.get("status") == "run":
            self.passed += 1
            if program in self.uring_passed:
                self.uring_passed[program] += 1


def kernel_has_uring():
    """Asks the kernel, so that a fault in the library's own probe does not go unseen."""
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(IO_URING_SETUP, 4, ctypes.create_string_buffer(120))
    if ring >= 0:
        os.close(ring)
    return ring >= 0


def uring_complaint(summary):
    if not kernel_has_uring():
        print("io_uring: this kernel has none; its tests prove nothing here")
        return None
    idle = [name for name, passed in summary.uring_passed.items() if passed == 0]
    if idle or not summary.uring_passed:
        return f"io_uring is there, but nothing passed in {', '.join(idle) or 'its suite'}"
    if summary.uring_skipped:
        return f"io_uring is there, but {summary.uring_skipped} tests were skipped for want of it"
    print(f"io_uring: there, and {sum(summary.uring_passed.values())} tests passed on it")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the build folder")
    parser.add_argument("--uring", action="store_true", help="io_uring, when there, has to be used")
    options = parser.parse_args()
    summary = Summary(options.folder)
    for reason, count in summary.skipped.most_common():
        print(f"{count} skipped: {reason}")
    complaint = uring_complaint(summary) if options.uring else None
    if complaint:
        summary.failed.append(complaint)
    for name in summary.failed:
        print(f"FAILED {name}")
    print(f"{summary.passed} passed, {len(summary.failed)} failed")
    sys.exit(1 if summary.failed or summary.passed == 0 else 0)


if __name__ == "__main__":
    main()
