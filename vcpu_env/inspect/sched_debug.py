"""A machine's scheduler at one instant, as /sys/kernel/debug/sched/debug has it: CPUs, queues, runnable tasks."""

from collections.abc import Iterator

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.inspect.names import Task, group_names, tasks_of
from vcpu_env.inspect.siblings import levels
from vcpu_env.kernel.types import TASK_RUNNING
from vcpu_env.machine import Machine

CPU_FIELDS = ("nr_running", "nr_switches", "yld_count", "sched_count", "sched_goidle", "ttwu_count", "ttwu_local")
QUEUE_FIELDS = ("nr_queued", "h_nr_queued", "h_nr_runnable", "h_nr_idle", "load_avg", "runnable_avg", "util_avg")
TABLE = (
    " S            task   PID       vruntime   eligible    deadline             slice          sum-exec      switches  "
    "group-path\n"
)


def ms(ns: int) -> str:
    """Nanoseconds as the kernel prints them: milliseconds, a point, six digits."""
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    return f"{sign}{ns // 1_000_000}.{ns % 1_000_000:06}"


def sched_debug(machine: Machine) -> Iterator[str]:
    """The whole text."""
    w, tasks = machine.world, tasks_of(machine.blueprint)
    yield f"Sched Debug Version: v0.11, vcpu_env {machine.scenario.name}\n"
    yield f"sched_clk                               : {ms(machine.now_ns)}\n\n"
    for cpu in range(len(w["rq"])):
        yield f"cpu#{cpu}\n"
        for name in CPU_FIELDS:
            yield f"  .{name:30} : {int(w['rq'][name][cpu])}\n"
        curr = int(w["rq"]["curr"][cpu])
        yield f"  .{'curr->pid':30} : {0 if curr == NIL else tasks[curr].pid}\n"
        yield f"  .{'clock':30} : {ms(int(w['rq']['clock_ns'][cpu]))}\n\n"
        for q in np.flatnonzero((w["cfs_rq"]["cpu"] == cpu) & (w["cfs_rq"]["nr_queued"] > 0)).tolist():
            yield from queue(machine, cpu, q)
        yield f"runnable tasks:\n{TABLE}-{'-' * 120}\n"
        for p, task in enumerate(tasks):
            about = w["task_struct"][p]
            if about["cpu"] == cpu and about["on_rq"] and about["state"] == TASK_RUNNING:
                yield row(machine, p, task, curr)
        yield "\n"


def queue(machine: Machine, cpu: int, q: int) -> Iterator[str]:
    """One queue with somebody in it."""
    cfs = machine.world["cfs_rq"][q]
    yield f"cfs_rq[{cpu}]:/{group_path(machine, int(cfs['tg']))}\n"
    yield f"  .{'zero_vruntime':30} : {ms(int(cfs['zero_vruntime']))}\n"
    for name in QUEUE_FIELDS:
        yield f"  .{name:30} : {int(cfs[name])}\n"
    following = int(cfs["next"])
    yield f"  .{'next':30} : {'none' if following == NIL else following}\n\n"


def group_path(machine: Machine, tg: int) -> str:
    """The path of a task group; empty for the root."""
    parts = []
    while tg > 0:
        parts.append(group_names(machine.blueprint)[tg])
        tg = machine.blueprint.groups[tg - 1].parent
    return "/".join(reversed(parts))


def row(machine: Machine, p: int, task: Task, curr: int) -> str:
    """One runnable task; E: it is eligible, N: it is not."""
    w = machine.world
    se, about = w["sched_entity"][p], w["task_struct"][p]
    able = "E" if levels(machine, p)[0]["eligible"] else "N"
    switches = int(about["nvcsw"] + about["nivcsw"])
    return (
        f"{'>R' if p == curr else ' R'} {task.comm:>15} {task.pid:5} {ms(int(se['vruntime'])):>14}   {able}   "
        f"{ms(int(se['deadline'])):>14}   {ms(int(se['slice_ns'])):>12}   {ms(int(se['sum_exec_runtime_ns'])):>14}   "
        f"{switches:9}  /{group_path(machine, int(about['tg']))}\n"
    )
