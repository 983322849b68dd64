"""The rows of PERFORMANCE.md's tables of costs, and the benchmarks that measure them.

A target is what a machine like the one described there must reach; `floor_then` is what the floor
of the row took there. Elsewhere the target moves with the floor measured in the same run, and so
does what the best peer took there. Rows that the document does not have are compared with their
floor alone. docs/benchmarks.md says what each of them means.
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
    peer_one: tuple | None = None   # the best peer with one worker: its name and its figure there
    peer_two: tuple | None = None   # the same with two
    unit: str = "ns"


def row(title, program, name, targets=(None, None), floor_then=None, two=True, floor=None,
        peers=(None, None), **more):
    """A row whose benchmarks are called name/1w, name/2w and, unless another one is, name/floor."""
    return Row(title, program, one=f"{name}/1w", two=f"{name}/2w" if two else None,
               floor=floor or (f"{name}/floor" if floor_then else None), floor_then=floor_then,
               target_one=targets[0], target_two=targets[1], peer_one=peers[0],
               peer_two=peers[1], **more)


def against(floor, title, program, name, two=True, **more):
    """A row without a peer and without a target: what it costs above that floor."""
    return row(title, program, name, two=two, floor=f"{floor}/floor", **more)


def frames(count):
    suffix = f"{count}_frames/1w"
    return [
        Row(f"value through {count} frames (plain await)", "await", one=f"nested/{suffix}"),
        Row(f"value through {count} frames, as_result", "await", one=f"value/{suffix}"),
        Row(f"error through {count} frames, as_result", "await", one=f"error/{suffix}",
            over=f"value/{suffix}"),
        Row(f"exception through {count} frames", "await", one=f"exception/{suffix}"),
    ]


def fairness(title, name):
    """How long the unluckiest of a hundred tasks waits, and all of them on average."""
    return [
        row(f"{title}: worst wait of 100 tasks", "fairness", name, counter="worst_turns",
            unit="turns"),
        row("the same, mean", "fairness", name, counter="mean_turns", unit="turns"),
    ]


def batch(size, floor_then=None):
    floor = f"batch_{size}/floor"
    return [
        Row(f"spawn {size} in a group, join", "spawn", one=f"group_batch_{size}/1w",
            two=f"group_batch_{size}/2w", floor=floor, floor_then=floor_then,
            target_one=40, target_two=100, peer_one=("monoio", 45), peer_two=("TMC", 102)),
        Row(f"spawn {size}, join the handles", "spawn", one=f"handle_batch_{size}/1w",
            two=f"handle_batch_{size}/2w", floor=floor, floor_then=floor_then,
            target_one=40, target_two=100, peer_one=("monoio", 45), peer_two=("TMC", 102)),
    ]


ROWS = [
    row("co_await a child task", "await", "await", (7, None), 4.1, two=False,
        peers=(("TMC", 3.8), None)),
    row("co_await a child task<void>", "await", "await_void", (7, None), two=False),
    *frames(1), *frames(5), *frames(9),
    row("spawn + join, one at a time", "spawn", "spawn_join", (20, 60), 8.4,
        peers=(("TMC", 22), ("libcoro", 216))),
    row("group of one child", "spawn", "group_of_one"),
    *batch(200, 12), *batch(1000, 12),
    row("yield, 1 task", "yield", "yield_1_task", (12, None), 3.2,
        peers=(("TMC", 14), None)),
    row("yield, 1000 tasks", "yield", "yield_1000_tasks", (None, 12), 3.0,
        peers=(None, ("Tokio", 35))),
    row("ping-pong, round trip", "ping_pong", "ping_pong", (50, 80), 8,
        peers=(("TMC", 56), ("libcoro", 105))),
    row("skynet, 1e6 leaves, groups", "fork_join", "skynet", (25, 13), unit="ms",
        peers=(("libfork", 17), ("libfork", 9.5))),
    row("skynet, 1e6 leaves, handles", "fork_join", "skynet_with_handles", (25, 13), unit="ms",
        peers=(("libfork", 17), ("libfork", 9.5))),
    row("fib(30), spawn at each call", "fork_join", "fib", (45, 28), 17, unit="ms",
        peers=(("TMC", 45), ("libfork", 28))),
    row("fib(30), awaits alone", "fork_join", "fib_awaits_alone", two=False, unit="ms"),
    row("wake from a foreign thread, same core, p50", "wake", "wake_same_core", (2.2, None), 1.75,
        two=False, counter="p50_us", unit="µs", peers=(("Tokio", 1.8), None)),
    row("the same, p99", "wake", "wake_same_core", two=False, counter="p99_us", unit="µs"),
    row("the same, p99.9", "wake", "wake_same_core", (1000, None), two=False,
        counter="p99.9_us", unit="µs"),
    Row("the same from another core, p50", "wake", one="wake_other_core/1w",
        floor="wake_other_core/floor", counter="p50_us", unit="µs"),
    Row("parked child of a group", "parked_task", one="parked_child/1w",
        floor="parked_task/floor", target_one=160, counter="bytes", unit="bytes",
        peer_one=("TMC", 56)),
    Row("parked spawned task", "parked_task", one="parked_task/1w",
        floor="parked_task/floor", target_one=160, counter="bytes", unit="bytes",
        peer_one=("TMC", 56)),
    Row("sleeping child of a group", "parked_task", one="sleeping_child/1w", counter="bytes",
        unit="bytes"),
    row("timeout around a pending operation", "timer", "timeout_pending", less="yield_alone",
        floor="timer_create_cancel/floor"),
    Row("timer create + cancel (timeout_at)", "timer", one="timeout_at_pending/1w",
        two="timeout_at_pending/2w", floor="timer_create_cancel/floor", floor_then=4.7,
        target_one=20, target_two=20, less="yield_alone", peer_one=("Tokio", 314),
        peer_two=("Tokio", 242)),
    row("timeout around a ready operation", "timer", "timeout_ready", (10, None), two=False,
        floor="timeout_ready/floor", peers=(("Tokio", 31), None)),
    row("timeout_at around a ready operation", "timer", "timeout_at_ready", (10, None),
        two=False, floor="timeout_ready/floor", peers=(("Tokio", 31), None)),
    row("1e5 sleeps of 1-1000 ms, CPU each (floor: a park each)", "timer", "sleeps", (0.7, 0.7),
        counter="cpu_us", unit="µs", floor="sleeps/floor",
        peers=(("Tokio", 2.1), ("Tokio", 2.1))),
    row("the same, lateness p50", "timer", "sleeps", (150, 150), 44, counter="late_p50_us",
        unit="µs", peers=(("Tokio", 1140), ("Go", 500))),
    row("the same, lateness p99", "timer", "sleeps", (2000, 2000), counter="late_p99_us",
        unit="µs", floor="sleeps/floor", peers=(("Tokio", 5000), ("Go", 1000))),
    row("the same, woken early", "timer", "sleeps", (0, 0), counter="early", unit="sleeps"),
    against("select_ready", "select, 2 ready operations", "select", "select_ready", two=False),
    against("select_ready_tasks", "select, 2 tasks that end at once", "select",
            "select_ready_tasks", two=False),
    against("select_pending", "select, 2 pending: a yield, a baton that loses", "select",
            "select_pending"),
    against("select_pending", "select, 2 pending: a yield, a sleep that loses", "select",
            "select_pending_sleep"),
    against("select_pending", "select, 2 pending tasks of these", "select",
            "select_pending_tasks"),
    against("join_2_ready", "join of 2 ready operations", "join", "join_2_ready", two=False),
    against("join_2_tasks", "join of 2 tasks that end at once", "join", "join_2_tasks",
            two=False),
    against("join_2_pending", "join of 2 yields", "join", "join_2_pending"),
    against("join_2_pending", "join of 2 tasks that yield", "join", "join_2_pending_tasks"),
    against("join_all_1000", "join_all of 1000 tasks, each", "join", "join_all_1000", two=False),
    against("join_all_1000_pending", "join_all of 1000 tasks that yield, each", "join",
            "join_all_1000_pending"),
    against("spawn_into", "spawn 1000 in a task_group, each", "group", "spawn_into_task_group"),
    against("spawn_into", "the same in a bounded_group, slots for all", "group",
            "spawn_into_bounded_group"),
    against("spawn_into", "the same in a bounded_group of 16", "group",
            "spawn_into_bounded_group_of_16"),
    against("spawn_into", "the same in a graceful_group", "group", "spawn_into_graceful_group"),
    against("spawn_into", "the same with handles", "group", "spawn_with_handles"),
    against("spawn_into", "the same with spawn_local", "group", "spawn_local"),
    against("spawn_local_join", "spawn_local + join, one at a time", "group",
            "spawn_local_join"),
    against("stop", "stop of 1e5 sleeping children, each", "stop", "stop_of_group"),
    against("stop", "stop of a tree of 1e5 sleeping tasks, each", "stop", "stop_of_tree"),
    against("child_token", "child token, made and dropped", "token", "child_token", two=False),
    against("until_cancelled_ready", "run_until_cancelled, ready operation", "token",
            "until_cancelled_ready", two=False),
    row("run_until_cancelled, a yield", "token", "until_cancelled_pending"),
    against("cancel_tokens", "cancel of 1e5 child tokens, each", "token", "cancel_children",
            two=False),
    against("cancel_tokens", "cancel of a tree of 1e5 tokens, each", "token", "cancel_tree",
            two=False),
    against("cancel_waiters", "cancel, 1e5 tasks wait for the token, each", "token",
            "cancel_waiters"),
    against("cancel_waiters", "cancel, 1e5 child tokens with a waiter, each", "token",
            "cancel_children_with_waiters"),
    row("run_blocking a no-op, one by one", "run_blocking", "run_blocking", (5000, 5000),
        floor="run_blocking/floor", peers=(None, ("Tokio", 26600))),
    row("the same on a named pool", "run_blocking", "run_blocking_named", (5000, 5000),
        floor="run_blocking/floor", peers=(None, ("Tokio", 26600))),
    row("run_blocking, 1000 at a time", "run_blocking", "run_blocking_1000", (1000, 1000),
        floor="run_blocking_1000/floor", peers=(None, ("Tokio", 3600))),
    row("the same on a named pool", "run_blocking", "run_blocking_named_1000", (1000, 1000),
        floor="run_blocking_1000/floor", peers=(None, ("Tokio", 3600))),
    row("mutex, nobody else", "sync", "lock", (14, None), 11, two=False,
        peers=(("libcoro", 15), None)),
    row("semaphore, nobody else", "sync", "acquire", (14, None), 11, two=False,
        floor="lock/floor", peers=(("Tokio", 33), None)),
    row("mutex of 8 tasks, empty section", "sync", "lock_of_8_tasks", (None, 40),
        peers=(None, ("libcoro", 16.6))),
    row("mutex of 8 tasks, a yield inside", "sync", "lock_of_8_tasks_that_yield", (None, 120),
        peers=(None, ("Go", 226))),
    row("mpsc(1024), 1 to 1", "channel", "mpsc", (22, 25), floor="mpsc/floor",
        peers=(("TMC", 27), ("TMC", 17))),
    row("mpsc(1024), 4 to 1", "channel", "mpsc_of_4", (None, 45), floor="mpsc/floor",
        peers=(None, ("Go", 78))),
    row("unbounded mpsc, 1 to 1", "channel", "unbounded_mpsc", (20, 25), floor="mpsc/floor",
        peers=(("Tokio", 43), ("Tokio", 99))),
    row("unbounded mpsc, 4 to 1", "channel", "unbounded_mpsc_of_4", floor="mpsc/floor"),
    row("oneshot: made, sent, received", "channel", "oneshot", (15, None), two=False,
        floor="oneshot/floor", peers=(("Tokio", 36), None)),
    row("broadcast(1024) to 4, each send", "channel", "broadcast_to_4", (None, 90),
        peers=(None, ("Tokio", 211))),
    row("watch of 4, each send", "channel", "watch_of_4", (None, 60),
        peers=(None, ("Tokio", 373))),
    *fairness("mutex", "fair_mutex"),
    *fairness("rwlock, one in four writes", "fair_rwlock"),
    *fairness("semaphore of 8, one in four wants all", "fair_semaphore"),
    *fairness("mpsc(8), senders", "fair_senders"),
    *fairness("rate limiter", "fair_rate_limiter"),
    *fairness("pool of 8", "fair_pool"),
]
