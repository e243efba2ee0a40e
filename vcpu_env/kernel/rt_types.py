"""The structs of the real-time class and of the server that keeps fair tasks from starving; only of hosts that use it.

A priority is what chrt(1) and libvirt call so: 1 to 99, the higher goes first (the kernel counts downwards).
"""

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.kernel.types import SCHED_FIFO, SCHED_RR, task_struct

RR_TIMESLICE_NS = 100_000_000
"""sched_rr_timeslice_ms, its default [source]."""

sched_rt_entity = Struct(
    "sched_rt_entity",
    [
        ("priority", "i8"),
        ("time_slice", "i8"),  # ticks that are left to a task of SCHED_RR
        ("next", "i8"),  # on its CPU's list
        ("prev", "i8"),
    ],
)
"""One of every task."""

rt_rq = Struct(
    "rt_rq",
    [
        ("head", "i8"),  # its tasks, the running one too: by priority, then in the order in which they came; NIL
        ("last_update_time_ns", "i8"),
        ("period_contrib", "i8"),
        ("load_sum", "i8"),
        ("load_avg", "i8"),
        ("runnable_sum", "i8"),
        ("runnable_avg", "i8"),
        ("util_sum", "i8"),
        ("util_avg", "i8"),
    ],
)
"""One of every CPU; the sums are its sched_avg, ``rq->avg_rt``."""

fair_server = Struct(
    "fair_server",
    [
        ("dl_runtime_ns", "i8"),  # 0: there is none
        ("dl_period_ns", "i8"),
        ("runtime_ns", "i8"),
        ("deadline_ns", "i8"),
        ("dl_server_active", "i8"),
        ("dl_throttled", "i8"),
        ("dl_defer_armed", "i8"),
        ("dl_defer_running", "i8"),
        ("dl_defer_idle", "i8"),
        ("on_dl_rq", "i8"),
        ("charged_ns", "i8"),  # up to then
        ("timer", "i8"),  # its slot on the timeline; NIL on a machine without one
    ],
)
"""One of every CPU: ``rq->fair_server``, a sched_dl_entity."""


def rt_arrays(nr_cpus: int, nr_tasks: int) -> list[StructArray]:
    """The struct arrays of a host with real-time tasks."""
    return [sched_rt_entity.array(nr_tasks), rt_rq.array(nr_cpus), fair_server.array(nr_cpus)]


def init_rt(world, priorities: dict[int, int], runtime_ns: int, period_ns: int, first_timer: int = NIL) -> None:
    """Give tasks their priorities, and every CPU its server, whose timers have slots from `first_timer` on."""
    world["sched_tunables"]["rt_used"] = 1
    for p, priority in priorities.items():
        world["sched_rt_entity"]["priority"][p] = priority
    tick_ns = int(world["sched_tunables"]["tick_ns"][0])
    world["sched_rt_entity"]["time_slice"] = RR_TIMESLICE_NS // tick_ns
    world["rt_rq"]["head"] = NIL
    world["sched_rt_entity"]["next"] = world["sched_rt_entity"]["prev"] = NIL
    server = world["fair_server"]
    server["dl_runtime_ns"], server["dl_period_ns"] = runtime_ns, period_ns
    server["deadline_ns"] = -period_ns
    server["timer"] = NIL if first_timer == NIL else first_timer + np.arange(len(server))


@kjit
def rt_task(w, p):
    """rt.h: rt_task(). Whether a task is of the real-time class."""
    policy = task_struct(w, p).policy
    return policy == SCHED_FIFO or policy == SCHED_RR
