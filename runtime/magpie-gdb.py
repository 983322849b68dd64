"""Lists the live tasks of a Magpie program in gdb: of a running process, or of a core file.

    (gdb) source magpie-gdb.py
    (gdb) magpie-tasks              paragraphs, as options::dump_signal prints them
    (gdb) magpie-tasks all          each task by itself
    (gdb) magpie-tasks 17           task 17 by itself

It reads the private fields of the library and calls no function, so it needs the debug information
of the library and nothing else. What it goes by: `magpie::detail::first_runtime` is the list of the
runtimes; the stop scopes of each are a tree; the word of a scope holds the operation that waits in
it; and from there on each continuation leads to the next frame. live_tasks.hpp says the rest.
"""

import re

import gdb

FRAMES_MAX = 64
SCOPES_MAX = 10_000_000
NAMED_MAX = 8
WORD_BITS = 7
STATES = ["ready", "waiting", "running"]


def atomic(value):
    """What a std::atomic of libstdc++ holds."""
    names = {field.name for field in value.type.strip_typedefs().fields()}
    if "_M_b" in names:
        return value["_M_b"]["_M_p"]
    if "_M_base" in names:
        return value["_M_base"]["_M_i"]
    return value["_M_i"]


def pointer(address, type_name):
    return gdb.Value(address).cast(gdb.lookup_type(type_name).pointer())


def symbol_at(address):
    """The function that begins at `address`, or an empty text."""
    found = gdb.execute(f"info symbol {address:#x}", to_string=True)
    match = re.match(r"(.*?)(?: \+ \d+)? in section ", found)
    return match.group(1) if match else ""


def clean(name):
    """A coroutine's name without what compilers add to it."""
    name = re.sub(r" ?\[clone [^\]]*\]", "", name)
    name = re.sub(r" ?\(\.(?:resume|actor|destroy)\)$", "", name)
    gcc = re.match(r"(?:void )?(.*?)\((?:.*)\.Frame\*\)$", name)
    return gcc.group(1) if gcc else name


class Place:
    """A source place: of an await, or where a task was spawned."""

    def __init__(self, location, frame=0):
        impl = location["_M_impl"]
        self.file, self.line, self.function = "?", 0, ""
        if int(impl):
            self.file = impl["_M_file_name"].string()
            self.line = int(impl["_M_line"])
            self.function = clean(impl["_M_function_name"].string())
        if frame:  # the frame begins with the address of its code
            resumes = int(pointer(frame, "unsigned long").dereference())
            self.function = clean(symbol_at(resumes)) or self.function

    def __str__(self):
        return f"{self.file}:{self.line}" + (f" in {self.function}" if self.function else "")


def stack_from(continuation):
    """The places of the frames that wait, innermost first."""
    places, promise = [], "magpie::detail::promise_base"
    for _ in range(4 * FRAMES_MAX):
        target = int(continuation["target"])
        if target == 0 or target & 1:
            return places
        if int(continuation["hook"]):
            continuation = pointer(target, "magpie::detail::boundary")["to_"]
            continue
        if len(places) == FRAMES_MAX:
            break
        frame = pointer(target, promise)
        places.append(str(Place(frame["place"], target - 16)))
        continuation = frame["owner"]["to"]
    return [*places, "… and frames further out"]


class Task:
    def __init__(self, root, parent):
        tag = int(root["tag_"])
        self.id, self.parent, self.state = tag >> 2, parent, "ready"
        self.name, self.worker, self.stacks, self.around = "", None, [], []
        attached = root["attached_"]
        if tag & 3 == 1:
            self.name = attached.cast(gdb.lookup_type("char").pointer()).string()
        elif tag & 3 == 3:
            extra = attached.cast(gdb.lookup_type("magpie::task_root::extra").pointer())
            literal = extra["literal"]
            self.name = (literal.string() if int(literal)
                         else extra["copy"].string(length=int(extra["size"])))
        self.spawned = Place(root["spawned"])
        self.error = self.last_error(root["trace"])

    @staticmethod
    def last_error(trace):
        if not int(trace):
            return []
        code = int(trace["error"]["_M_value"])
        count = min(int(trace["count"]), int(trace["places"].type.range()[1]) + 1)
        return [f"last error: code {code}, its trace:",
                *(f"  {Place(trace['places'][i])}" for i in range(count))]

    def reach(self, state):
        """A task that runs runs, and one that waits for one thing at least waits."""
        self.state = max(self.state, state, key=STATES.index)

    def label(self):
        return f"{self.id} ({self.name})" if self.name else str(self.id)

    def all_stacks(self):
        """Also what lies around a group whose body goes on, unless the body's stack includes it."""
        found = list(self.stacks)
        for stack in self.around:
            if not any(len(other) > len(stack) and other[len(other) - len(stack):] == stack
                       for _, other in found):
                found.append(("within", stack))
        return found

    def body(self):
        text = [f"spawned at {self.spawned.file}:{self.spawned.line}"]
        for head, stack in self.all_stacks():
            text += [head, *(f"  {place}" for place in stack)]
        return "".join(f"  {line}\n" for line in [*text, *self.error])


class Runtime:
    """The tasks of one runtime."""

    def __init__(self, group):
        self.owner = group["owner_"].dereference()
        self.count = int(self.owner["settings_"]["workers"])
        self.tracked = bool(self.owner["settings_"]["track_tasks"])
        self.tasks, self.torn = [], 0
        self.running = {}
        for i in range(self.count):
            worker = self.owner["workers_"][i].dereference()
            self.running[int(atomic(worker["running"]))] = i
        self.walk(group["scope_"])

    def walk(self, top):
        """Each scope of the tree, parents before children."""
        waiting, seen = [(top["children_"], None)], 0
        while waiting and seen < SCOPES_MAX:
            scope, above = waiting.pop()
            if not int(scope):
                continue
            seen += 1
            try:
                waiting.append((scope["next_"], above))
                waiting.append((scope["children_"], self.look_at(scope, above)))
            except gdb.MemoryError:
                self.torn += 1  # it was stopped in the middle of a change

    def look_at(self, scope, above):
        root = scope["root_"].dereference()
        number = int(root["tag_"]) >> 2
        if number == 0:
            return None
        task = above
        if task is None or task.id != number:
            task = Task(root, above.id if above else 0)
            self.tasks.append(task)
        kind = str(scope["kind_"]).rpartition("::")[2]
        if int(scope) in self.running:
            task.reach("running")
            task.worker = self.running[int(scope)]
        if kind == "aside":
            return task
        if kind == "group":
            group = pointer(int(scope), "magpie::detail::group_scope")
            waits = bool(atomic(group["waits_"]))
            if waits:
                task.reach("waiting")
                task.stacks.append(("waits for the children of a group at",
                                    stack_from(group["ended_"])))
            else:
                task.around.append(stack_from(group["ended_"]))
            return task
        held = int(atomic(scope["word_"])) & ~WORD_BITS
        if held:
            task.reach("waiting")
            stack = stack_from(pointer(held, "magpie::operation")["to_"])
            task.stacks.append(("waits at", stack))
        return task


def threads_of_workers():
    """Which gdb thread each worker is on, as far as thread-locals can be read."""
    found, before = {}, gdb.selected_thread()
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            try:
                context = gdb.parse_and_eval("'magpie::detail::current_context'")
                if int(context):
                    found[int(context["home"]), int(context["index"])] = thread.num
            except gdb.error:
                pass
    finally:
        if before:
            before.switch()
    return found


def paragraphs(tasks, each):
    found = {}
    for task in tasks:
        key = (task.state, task.worker, task.body(), task.id if each else 0)
        found.setdefault(key, []).append(task)
    return found


class MagpieTasks(gdb.Command):
    """List the live tasks of the program: magpie-tasks [all | ID]."""

    def __init__(self):
        super().__init__("magpie-tasks", gdb.COMMAND_STACK)

    def invoke(self, argument, _from_tty):
        wanted = argument.strip()
        symbol = gdb.lookup_global_symbol("magpie::detail::first_runtime")
        if symbol is None:
            raise gdb.GdbError("no debug information of Magpie: is it in the program?")
        group = symbol.value()
        if not int(group):
            gdb.write("magpie: no runtime\n")
        threads = threads_of_workers()
        while int(group):
            self.show(Runtime(group.dereference()), wanted, threads)
            group = group["next_runtime_"]

    @staticmethod
    def show(one, wanted, threads):
        tasks = sorted(one.tasks, key=lambda task: task.id)
        if wanted.isdigit():
            tasks = [task for task in tasks if task.id == int(wanted)]
        gdb.write(f"magpie: {len(tasks)} live tasks; {one.count} workers\n")
        if not one.tracked:
            gdb.write("those that have never waited are not listed: options::track_tasks is off\n")
        for (state, worker, body, _), alike in paragraphs(tasks, wanted != "").items():
            if worker is not None and state == "running":
                state += f" on worker {worker}"
                thread = threads.get((int(one.owner.address), worker))
                state += f", thread {thread} here" if thread else ""
            names = ", ".join(task.label() for task in alike[:NAMED_MAX])
            if len(alike) > NAMED_MAX:
                names += f" and {len(alike) - NAMED_MAX} more"
            noun = "task" if len(alike) == 1 else "tasks"
            gdb.write(f"{len(alike)} {noun}, {state}: {names}\n{body}")
        if one.torn:
            gdb.write(f"{one.torn} scopes could not be read\n")


MagpieTasks()
