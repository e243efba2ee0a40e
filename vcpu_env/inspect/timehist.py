"""A recording as ``perf sched timehist`` and ``perf sched latency`` print one."""

from collections.abc import Iterator

from vcpu_env.base.jit import NIL
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.turns import turns

HEADER = """\
           time    cpu  task name                       wait time  sch delay   run time
                        [tid/pid]                          (msec)     (msec)     (msec)
--------------- ------  ------------------------------  ---------  ---------  ---------
"""
RULE = "-" * 139


def ms(ns: int) -> str:
    """Nanoseconds as perf prints them: milliseconds, cut to three digits."""
    return f"{ns // 1000 / 1000:9.3f}"


def seconds(ns: int) -> str:
    """A time, cut to microseconds."""
    return f"{ns // 1_000_000_000:5}.{ns % 1_000_000_000 // 1000:06}"


def timehist(recording: Recording) -> Iterator[str]:
    """One line a turn, when it ends: the time off the CPU before it, from wake-up to turn, the turn."""
    yield HEADER
    for turn in turns(recording):
        delay_ns = turn.delay_ns if turn.woken and turn.delay_ns else 0
        times = "  ".join(ms(ns) for ns in (turn.off_ns, delay_ns, turn.run_ns))
        yield f"{seconds(turn.end_ns):>15} [{turn.cpu:04}]  {task_name(recording, turn.task):30}  {times} \n"


def task_name(recording: Recording, task: int) -> str:
    """A task as perf names it: with its thread id, and its process's where that is another."""
    if task == NIL:
        return "<idle>"
    about = recording.tasks[task]
    return f"{about.comm}[{about.pid}]" if about.pid == about.tgid else f"{about.comm}[{about.pid}/{about.tgid}]"


def latency(recording: Recording) -> Iterator[str]:
    """One line a task: its time on CPUs, its turns, and how long it was runnable before them."""
    run_ns: dict[int, int] = {}
    delays: dict[int, list[tuple[int, int]]] = {}
    for turn in turns(recording, under_way=True):
        if turn.task != NIL:
            run_ns[turn.task] = run_ns.get(turn.task, 0) + turn.run_ns
            if turn.delay_ns is not None:
                delays.setdefault(turn.task, []).append((turn.delay_ns, turn.end_ns - turn.run_ns))
    yield f"\n {RULE}\n"
    yield "  Task                  |   Runtime ms  |  Count   | Avg delay ms    | Max delay ms    | "
    yield "Max delay start           | Max delay end          |\n"
    yield f" {RULE}\n"
    rows = [(sum(ns for ns, _ in found) / len(found), task, found) for task, found in delays.items()]
    for average_ns, task, found in sorted(rows, key=lambda row: -row[0]):
        about = recording.tasks[task]
        worst_ns, at_ns = max(found, key=lambda row: row[0])
        yield (
            f"  {f'{about.comm}:{about.pid}':21} | {run_ns[task] / 1e6:10.3f} ms | {len(found):8} | "
            f"avg: {average_ns / 1e6:7.3f} ms | max: {worst_ns / 1e6:7.3f} ms | "
            f"max start: {seconds(at_ns - worst_ns)} s | max end: {seconds(at_ns)} s\n"
        )
    count = sum(len(found) for found in delays.values())
    total_ns = sum(run_ns[task] for task in delays)
    yield f" {RULE}\n  TOTAL:                | {total_ns / 1e6:10.3f} ms | {count:8} |\n {'-' * 50}\n\n"
