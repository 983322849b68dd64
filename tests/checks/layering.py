"""Includes point down, liburing stays behind its reactor, every unit has a test and is built."""

import re

from tree import LAYERS, ROOT, Report, cpp_files, is_private, lines, listed

# What each folder may include, itself aside. net and fs never include each other.
BELOW = {
    "util": set(),
    "runtime": {"util"},
    "sync": {"util", "runtime"},
    "io": {"util", "runtime", "sync"},
    "net": {"util", "runtime", "sync", "io"},
    "fs": {"util", "runtime", "sync", "io"},
}

# Headers that a core header never includes: what everyone includes has to stay light.
HEAVY = {"functional", "memory", "thread", "mutex", "iostream", "liburing.h"}

# Units without a test of their own name, each with the reason.
NO_TEST_OF_ITS_OWN = {
    "runtime/as_result": "with everything it wraps: task_test, timeout_test, task_group_test",
    "runtime/async_fd": "through its users: pipe_test and process_test",
    "runtime/awaitable": "a concept: every awaitable is checked against it",
    "runtime/context": "fields of the worker: runtime_test",
    "runtime/continuation": "delivery is what task_test and task_depth_test are about",
    "runtime/dump_signal": "raises the signal: task_dump_test, tests/system/debugging.py",
    "runtime/fail": "task_test and error_trace_test",
    "runtime/grant_operation": "through sync: semaphore_test, notify_test, sync_torture_test",
    "runtime/interrupted": "timeout_test, cancellation_token_test, stop_token_test",
    "runtime/io_operation": "through sockets on every reactor: tests/net",
    "runtime/operation": "its protocol: stop_scope_test and stop_torture_test",
    "runtime/options": "data; what it means: runtime_test",
    "runtime/outcome": "the kinds of outcome: task_test",
    "runtime/promise": "task_test",
    "runtime/rescue": "needs a stuck worker: tests/system and the interference benchmark",
    "runtime/root_group": "counting and draining: shutdown_test",
    "runtime/runnable": "data",
    "runtime/runtime_list": "through live_tasks_test and task_dump_test",
    "runtime/runtime_core": "the inside of runtime: runtime_test, shutdown_test",
    "runtime/scheduler": "through runtime_test and shutdown_test",
    "runtime/scope_walk": "live_tasks_test and tests/model/stop_scope_model",
    "runtime/steal": "a part of worker: runtime_test, local_queue_test, fork_deque_test",
    "runtime/task_root": "data",
    "runtime/thread_wait": "through what blocks: tests/sync/blocking_test",
    "runtime/timer": "through sleep_test, timeout_test and timer_wheel_test",
    "runtime/token_node": "through cancellation_token_test and tests/model/token_model",
    "runtime/transfer": "a million awaits in a row: task_depth_test",
    "runtime/uring_abi": "constants of the kernel: uring_reactor_test",
    "runtime/uring_entry": "uring_reactor_test",
    "runtime/uring_probe": "uring_reactor_test and tests/system/fallback.py",
    "runtime/wait_operation": "wait_list_test, cancellation_token_test, task_tracker_test",
    "runtime/worker": "through runtime_test and tests/model/parking_model",
    "sync/channel_message": "data",
    "sync/pool_state": "through pool_test, pool_changes_test and pool_upkeep_test",
    "sync/channel_room": "through mpsc_core_test, mpmc_core_test and their models",
    "sync/pool_options": "data; what it means: pool_test",
    "util/result": "an alias",
}

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def may_use_liburing(path):
    in_reactor = path.parts[0] == "runtime" and path.name.startswith("uring_")
    return path.parts[0] in {"tests", "bench"} or (in_reactor and path.suffix == ".cpp")


def check_project_include(report, path, number, target):
    folder = path.parts[0]
    parts = target.split("/")
    if target == "magpie/magpie.hpp":
        if folder in LAYERS:
            report.add(path, number, "magpie.hpp is for users; name the header itself")
        return
    if len(parts) < 3 or not (ROOT / "/".join(parts[1:])).is_file():
        report.add(path, number, f"<{target}> is no file of this repository")
        return
    if folder in LAYERS and parts[1] != folder and parts[1] not in BELOW[folder]:
        report.add(path, number, f"{folder} may not include {parts[1]}: includes point down")
    if folder != "tests" and parts[1] == "tests":
        report.add(path, number, "only tests include tests")


def check_includes(report, path):
    core = path.parts[0] in {"util", "runtime"} and path.suffix == ".hpp" and not is_private(path)
    for number, line in lines(path):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        if quote == '"':
            report.add(path, number, f'"{target}": write <magpie/folder/file.hpp>')
        if target.startswith("magpie/"):
            check_project_include(report, path, number, target)
        if target.startswith("liburing") and not may_use_liburing(path):
            report.add(path, number, "liburing.h belongs in runtime/uring_*.cpp alone")
        if core and target in HEAVY:
            report.add(path, number, f"a core header never includes <{target}>")


def check_unit(report, path):
    folder = path.parts[0]
    if path.name not in listed(folder):
        report.add(path, 1, f"not listed in {folder}/meson.build")
    test = ROOT / "tests" / folder / f"{path.stem}_test.cpp"
    if not test.exists() and str(path.with_suffix("")) not in NO_TEST_OF_ITS_OWN:
        if path.suffix == ".hpp" or not (ROOT / path.with_suffix(".hpp")).exists():
            report.add(path, 1, f"no test: expected {test.relative_to(ROOT)}")


def check_test_is_built(report, path):
    if len(path.parts) == 3 and path.parts[1] in LAYERS + ["model", "support"]:
        if path.suffix == ".cpp" and path.name not in listed("/".join(path.parts[:2])):
            report.add(path, 1, "not listed in the meson.build next to it")


def main():
    report = Report("layering")
    everything = cpp_files()
    for path in everything:
        check_includes(report, path)
        if path.parts[0] in LAYERS:
            check_unit(report, path)
        elif path.parts[0] == "tests":
            check_test_is_built(report, path)
    for unit in NO_TEST_OF_ITS_OWN:
        if not any((ROOT / f"{unit}{suffix}").exists() for suffix in (".hpp", ".cpp")):
            report.add("tests/checks/layering.py", 1, f"{unit} is exempt but does not exist")
    report.finish(len(everything))


if __name__ == "__main__":
    main()
