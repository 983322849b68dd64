"""The rows of PERFORMANCE.md's tables of costs, and the benchmarks that measure them.

A target is what a machine like the one described there must reach; `floor_then` is what the floor
of the row took there. Elsewhere the target moves with the floor measured in the same run.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    title: str
    program: str
    one: str | None = None          # benchmark with one worker
    two: str | None = None          # benchmark with two
    floor: str | None = None
    floor_then: float | None = None
    target_one: float | None = None
    target_two: float | None = None
    less: str | None = None         # a benchmark that is subtracted from one and two
    counter: str | None = None      # this counter instead of the time
    over: str | None = None         # the target: this benchmark's own figure and ten per cent
    unit: str = "ns"


def row(title, program, name, targets=(None, None), floor_then=None, two=True, **more):
    """A row whose benchmarks are called name/1w, name/2w and name/floor."""
    return Row(title, program, one=f"{name}/1w", two=f"{name}/2w" if two else None,
               floor=f"{name}/floor" if floor_then else None, floor_then=floor_then,
               target_one=targets[0], target_two=targets[1], **more)


def frames(count):
    suffix = f"{count}_frames/1w"
    return [
        Row(f"value through {count} frames (plain await)", "await", one=f"nested/{suffix}"),
        Row(f"value through {count} frames, as_result", "await", one=f"value/{suffix}"),
        Row(f"error through {count} frames, as_result", "await", one=f"error/{suffix}",
            over=f"value/{suffix}"),
        Row(f"exception through {count} frames", "await", one=f"exception/{suffix}"),
    ]


def batch(size, floor_then=None):
    floor = f"batch_{size}/floor"
    return [
        Row(f"spawn {size} in a group, join", "spawn", one=f"group_batch_{size}/1w",
            two=f"group_batch_{size}/2w", floor=floor, floor_then=floor_then,
            target_one=40, target_two=100),
        Row(f"spawn {size}, join the handles", "spawn", one=f"handle_batch_{size}/1w",
            two=f"handle_batch_{size}/2w", floor=floor, floor_then=floor_then,
            target_one=40, target_two=100),
    ]


ROWS = [
    row("co_await a child task", "await", "await", (7, None), 4.1, two=False),
    row("co_await a child task<void>", "await", "await_void", (7, None), two=False),
    *frames(1), *frames(5), *frames(9),
    row("spawn + join, one at a time", "spawn", "spawn_join", (20, 60), 8.4),
    row("group of one child", "spawn", "group_of_one"),
    *batch(200, 12), *batch(1000, 12),
    row("yield, 1 task", "yield", "yield_1_task", (12, None), 3.2),
    row("yield, 1000 tasks", "yield", "yield_1000_tasks", (None, 12), 3.0),
    row("ping-pong, round trip", "ping_pong", "ping_pong", (50, 80), 8),
    row("skynet, 1e6 leaves, groups", "fork_join", "skynet", (25, 13), unit="ms"),
    row("skynet, 1e6 leaves, handles", "fork_join", "skynet_with_handles", (25, 13), unit="ms"),
    row("fib(30), spawn at each call", "fork_join", "fib", (45, 28), 17, unit="ms"),
    row("fib(30), awaits alone", "fork_join", "fib_awaits_alone", two=False, unit="ms"),
    row("wake from a foreign thread, same core, p50", "wake", "wake_same_core", (2.2, None), 1.75,
        two=False, counter="p50_us", unit="µs"),
    row("the same, p99", "wake", "wake_same_core", two=False, counter="p99_us", unit="µs"),
    row("the same, p99.9", "wake", "wake_same_core", (1000, None), two=False,
        counter="p99.9_us", unit="µs"),
    Row("the same from another core, p50", "wake", one="wake_other_core/1w",
        floor="wake_other_core/floor", counter="p50_us", unit="µs"),
    Row("parked child of a group", "parked_task", one="parked_child/1w",
        floor="parked_task/floor", target_one=160, counter="bytes", unit="bytes"),
    Row("parked spawned task", "parked_task", one="parked_task/1w",
        floor="parked_task/floor", target_one=160, counter="bytes", unit="bytes"),
    Row("sleeping child of a group", "parked_task", one="sleeping_child/1w", counter="bytes",
        unit="bytes"),
    row("timeout around a pending operation", "timer", "timeout_pending", less="yield_alone"),
    Row("timer create + cancel (timeout_at)", "timer", one="timeout_at_pending/1w",
        two="timeout_at_pending/2w", floor="timer_create_cancel/floor", floor_then=4.7,
        target_one=20, target_two=20, less="yield_alone"),
    row("timeout around a ready operation", "timer", "timeout_ready", (10, None), two=False),
    row("timeout_at around a ready operation", "timer", "timeout_at_ready", (10, None),
        two=False),
    row("1e5 sleeps of 1-1000 ms, CPU each", "timer", "sleeps", (0.7, 0.7), counter="cpu_us",
        unit="µs"),
    row("the same, lateness p50", "timer", "sleeps", (150, 150), counter="late_p50_us",
        unit="µs"),
    row("the same, lateness p99", "timer", "sleeps", (2000, 2000), counter="late_p99_us",
        unit="µs"),
    Row("run_blocking a no-op, one by one", "run_blocking", one="run_blocking/1w",
        two="run_blocking/2w", floor="run_blocking/floor", target_one=5000, target_two=5000),
    row("run_blocking, 1000 at a time", "run_blocking", "run_blocking_1000", (1000, 1000)),
]
