"""The tests that docs/conformance.md and the table of docs/cancellation.md name.

Each test or file named there exists.  Each conformance case that is ours has a row, the tests of a
row have its number in their names, and each test with such a number stands in the row of its case.
Each row of the table of stops names a test that stops its operation at every moment, and each
header with an operation that can be awaited stands for a row.
"""

import re

from tree import CPP, LAYERS, ROOT, Report, files, lines

CONFORMANCE = "docs/conformance.md"
CANCELLATION = "docs/cancellation.md"
TABLE_OF_STOPS = "| operation | what a stop does |"

# The cases whose layers are there.
OURS = {f"C{number:02}" for number in (
    1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29, 31, 32,
    34, 35, 37, 38, 40, 41, 43, 44, 46, 47, 49, 50, 52, 53, 55, 56, 58, 59, 61, 62, 64, 65, 67,
    68, 70, 71, 91, 92, 94, 95)}

# The headers that begin an await, and the row for what they offer; `fail` and the promise wait for
# nothing themselves.
ROWS = {
    "net/socket.hpp": "`tcp_stream::read`",
    "net/tcp_stream.hpp": "`tcp_stream::connect`",
    "runtime/as_completed.hpp": "`completions::next`",
    "runtime/as_result.hpp": "`as_result`",
    "runtime/async_fd.hpp": "`pipe_reader::read`",
    "runtime/bounded_group.hpp": "`bounded_group::spawn_when_free`",
    "runtime/budget.hpp": "`consume_budget`",
    "runtime/cancellation_token.hpp": "`cancellation_token::cancelled`",
    "runtime/cleanup.hpp": "`finally`",
    "runtime/deadline_timer.hpp": "`deadline_timer::wait`",
    "runtime/delay_queue.hpp": "`delay_queue::next`",
    "runtime/fail.hpp": None,
    "runtime/fork.hpp": "`select`",
    "runtime/generator.hpp": "`generator::next`",
    "runtime/grant_operation.hpp": "`semaphore::acquire`, `acquire_owned`",
    "runtime/io_operation.hpp": "`tcp_stream::read`",
    "runtime/live_tasks.hpp": "`current_stack`",
    "runtime/promise.hpp": None,
    "runtime/result_group.hpp": "`next` of a `result_group` or `keyed_group`, `next_in_order`",
    "runtime/run_blocking.hpp": "`run_blocking`",
    "runtime/runtime.hpp": "a `task`",
    "runtime/shielded.hpp": "`shielded`",
    "runtime/sleep.hpp": "`sleep_for`, `sleep_until`",
    "runtime/spawn.hpp": "`join_handle::join`",
    "runtime/stop_token.hpp": "`stopped_by`",
    "runtime/task.hpp": "a `task`",
    "runtime/task_group.hpp": "`with_task_group`",
    "runtime/task_local.hpp": "`task_local::scope`",
    "runtime/task_tracker.hpp": "`task_tracker::wait`",
    "runtime/test_clock.hpp": "`test_clock::advance`",
    "runtime/timeout.hpp": "`timeout`, `timeout_at`",
    "runtime/wait_operation.hpp": "`task_tracker::wait`",
    "sync/condition.hpp": "`condition::wait`",
    "sync/once.hpp": "`once::call`, `once_cell::get_or_init`",
    "sync/stream.hpp": "`next` of a stream's source or adapter, `peek`",
}
STARTS = re.compile(r"\bstart\((?:magpie::)?(?:detail::)?continuation\b")

TEST = re.compile(r"\b(?:MAGPIE_TASK_)?TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)")
NAMED_TEST = re.compile(r"`(\w+\.\w+)`")
NAMED_FILE = re.compile(r"`(tests/[\w/]+\.\w+)`")
NUMBER = re.compile(r"(?<![a-z0-9])c(\d\d)(?=_)")
CASE = re.compile(r"\| (C\d\d) \|")


def tests_of_the_tree():
    """Every Google Test of the tree, by its full name, with its file."""
    found = {}
    for path in files():
        if path.parts[0] == "tests" and path.suffix in CPP:
            for suite, name in TEST.findall((ROOT / path).read_text(encoding="utf-8")):
                found[f"{suite}.{name}"] = path
    return found


def cases_of(test):
    """The numbers of the conformance cases that a test has in its name."""
    return {f"C{number}" for number in NUMBER.findall(test)}


def rows(page):
    """The numbered rows of the tables of a page, without their heads."""
    return [(number, line) for number, line in lines(page)
            if line.startswith("| ") and not line.startswith("|---")]


def check_names(report, page, number, cell, tests):
    for test in NAMED_TEST.findall(cell):
        if test not in tests:
            report.add(page, number, f"{test}: no such test")
    for name in NAMED_FILE.findall(cell):
        if not (ROOT / name).is_file():
            report.add(page, number, f"{name}: no such file")


def check_conformance(report, tests):
    listed, shown = set(), set()
    for number, line in rows(CONFORMANCE):
        shown_by = line.split("|")[-2]
        check_names(report, CONFORMANCE, number, shown_by, tests)
        case = CASE.match(line)
        if not case:
            continue
        listed.add(case.group(1))
        named = NAMED_TEST.findall(shown_by)
        if not named:
            report.add(CONFORMANCE, number, f"{case.group(1)} has no test")
        for test in named:
            shown.add((case.group(1), test))
            if case.group(1) not in cases_of(test):
                report.add(CONFORMANCE, number, f"{test} has not {case.group(1)} in its name")
    for case in sorted(OURS ^ listed):
        report.add(CONFORMANCE, 1, f"{case} is " + ("missing" if case in OURS else "not ours"))
    for test, path in tests.items():
        for case in sorted(cases_of(test)):
            if (case, test) not in shown:
                report.add(path, 1, f"{test} does not stand in {CONFORMANCE} as a test of {case}")


def check_cancellation(report, tests):
    inside, operations = False, set()
    for number, line in lines(CANCELLATION):
        inside = line.startswith(TABLE_OF_STOPS) or inside and line.startswith("|")
        if not inside or line.startswith((TABLE_OF_STOPS, "|---")):
            continue
        shown_by, operation = line.split("|")[-2], line.split("|")[1].strip()
        operations.add(operation)
        check_names(report, CANCELLATION, number, shown_by, tests)
        named = NAMED_TEST.findall(shown_by)
        if not any("torture" in test for test in named):
            report.add(CANCELLATION, number, f"{operation}: no test stops it at every moment")
    for path in files():
        if path.suffix != ".hpp" or path.parts[0] not in LAYERS:
            continue
        if not STARTS.search((ROOT / path).read_text(encoding="utf-8")):
            continue
        row = ROWS.get(str(path), "no row of this check")
        if row is not None and row not in operations:
            report.add(path, 1, f"can be awaited, and {CANCELLATION} has not: {row}")


def main():
    report = Report("conformance")
    tests = tests_of_the_tree()
    check_conformance(report, tests)
    check_cancellation(report, tests)
    report.finish(len(tests))


if __name__ == "__main__":
    main()
