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
RULE = "-" * 131


def timehist(recording: Recording) -> Iterator[str]:
    """One line a turn, when it ends: the time off the CPU before it, the delay in it, the turn."""
    yield HEADER
    for turn in turns(recording):
        seconds, ns = divmod(turn.end_ns, 1_000_000_000)
        times = "  ".join(f"{ns / 1e6:9.3f}" for ns in (turn.off_ns, turn.delay_ns, turn.run_ns))
        yield f"{seconds:8}.{ns // 1000:06} [{turn.cpu:04}]  {task_name(recording, turn.task):30}  {times}\n"


def task_name(recording: Recording, task: int) -> str:
    """A task as perf names it: with its thread id, and its process's where that is another."""
    if task == NIL:
        return "<idle>"
    about = recording.tasks[task]
    return f"{about.comm}[{about.pid}]" if about.pid == about.tgid else f"{about.comm}[{about.pid}/{about.tgid}]"


def latency(recording: Recording) -> Iterator[str]:
    """One line a task: its time on CPUs, its turns, and how long it was runnable before them."""
    rows: dict[int, list[tuple[int, int, int]]] = {}
    for turn in turns(recording):
        if turn.task != NIL:
            rows.setdefault(turn.task, []).append((turn.run_ns, turn.delay_ns, turn.end_ns - turn.run_ns))
    yield f" {RULE}\n"
    yield "  Task                  |   Runtime ms  |  Count   | Avg delay ms    | Max delay ms    | "
    yield "Max delay start           | Max delay end          |\n"
    yield f" {RULE}\n"
    total_ns = count = 0
    by_average = sorted(rows.items(), key=lambda row: -sum(delay for _, delay, _ in row[1]) / len(row[1]))
    for task, of_task in by_average:
        about, run_ns = recording.tasks[task], sum(run for run, _, _ in of_task)
        total_ns, count = total_ns + run_ns, count + len(of_task)
        average_ns = sum(delay for _, delay, _ in of_task) / len(of_task)
        _, worst_ns, at_ns = max(of_task, key=lambda row: row[1])
        yield (
            f"  {f'{about.comm}:{about.pid}':21} | {run_ns / 1e6:10.3f} ms | {len(of_task):8} | "
            f"avg: {average_ns / 1e6:7.3f} ms | max: {worst_ns / 1e6:7.3f} ms | "
            f"max start: {(at_ns - worst_ns) / 1e9:12.6f} s | max end: {at_ns / 1e9:12.6f} s\n"
        )
    yield f" {RULE}\n  TOTAL:                | {total_ns / 1e6:10.3f} ms | {count:8} |\n {'-' * 50}\n\n"
