"""Replay of scheduler scenarios of v7.3, on one CPU or several, event by event, in the format of their traces.

Kernel work takes no time: reschedules follow at the same instant, that of the yielder first, then by CPU.
"""

from collections.abc import Iterator
from typing import Any

from vcpu_env.base.jit import NIL, call
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import (
    pick_and_switch,
    sched_yield,
    set_user_nice,
    tick_running,
    try_to_block_task,
    try_to_wake_up,
    wake_up_new_task,
    yield_to,
)
from vcpu_env.kernel.features import CGROUP_MODES
from vcpu_env.kernel.group_weight import sched_group_set_shares
from vcpu_env.kernel.load_avg import remove_entity_load_avg, update_blocked_averages
from vcpu_env.kernel.runqueue import migrate_task
from vcpu_env.kernel.types import (
    TASK_DEAD,
    TASK_INTERRUPTIBLE,
    TASK_PARKED,
    WF_RQ_SELECTED,
    WF_SYNC,
)
from vcpu_env.kernel.v7_3.fair import hrtick
from vcpu_env.trace.flat_record import FlatRecorder
from vcpu_env.trace.flat_scenario import FlatScenario, load_flat_scenario

MUST_RUN = ("block", "yield", "yield_to", "exit")
DETAILS = ("task", "to", "group", "nice", "weight", "mode")


class FlatPlayer:
    """Plays one scenario."""

    def __init__(self, scenario: FlatScenario):
        self.scenario, self.w = scenario, scenario.world.handle
        self.recorder = FlatRecorder(scenario)
        self.rq, self.task = scenario.world["rq"], scenario.world["task_struct"]
        self.cpus = range(scenario.nr_cpus)

    def play(self) -> Iterator[dict[str, Any]]:
        """All records of the scenario."""
        yield self.recorder.record(0, "init", True)
        ticks = 0
        for op in self.scenario.ops:
            while (ticks + 1) * self.scenario.tick_ns <= op["t"]:
                ticks += 1
                yield from self.timers(ticks * self.scenario.tick_ns - 1)
                yield from self.tick(ticks)
            yield from self.timers(op["t"])
            yield from self.operation(op)

    def where(self, cpu: int) -> dict[str, int]:
        """The CPU of an event, on a host of several."""
        return {"cpu": cpu} if self.scenario.nr_cpus > 1 else {}

    def clock(self, cpu: int, t: int) -> None:
        """Bring a CPU's clock to the time."""
        update_rq_clock(self.w, cpu, t)

    def tick(self, number: int) -> Iterator[dict[str, Any]]:
        """A timer tick on every CPU, and the reschedules that it asks for."""
        t, every = number * self.scenario.tick_ns, self.scenario.blocked_update_ticks
        for cpu in self.cpus:
            self.clock(cpu, t)
            tick_running(self.w, cpu)
            if self.scenario.verbose:
                yield self.recorder.record(t, "tick", not self.rq["need_resched"].any(), **self.where(cpu))
            if every and number % every == cpu % every:
                update_blocked_averages(self.w, cpu)
                if self.scenario.verbose:
                    settled = not self.rq["need_resched"].any()
                    yield self.recorder.record(t, "blocked_update", settled, **self.where(cpu))
            yield from self.reschedules(t)

    def timers(self, until: int) -> Iterator[dict[str, Any]]:
        """The slices that are over by then."""
        while True:
            due = [(int(when), cpu) for cpu, when in enumerate(self.rq["hrtick_expires_ns"]) if when != NIL]
            if not due or min(due)[0] > until:
                return
            t, cpu = min(due)
            self.clock(cpu, t)
            call(hrtick, self.w, cpu)
            if self.scenario.verbose:
                yield self.recorder.record(t, "hrtick", not self.rq["need_resched"].any(), **self.where(cpu))
            yield from self.reschedules(t)

    def reschedules(self, t: int) -> Iterator[dict[str, Any]]:
        """Every CPU that was asked to reschedule."""
        for cpu in self.cpus:
            if self.rq["need_resched"][cpu]:
                yield from self.reschedule(cpu, t)

    def reschedule(self, cpu: int, t: int) -> Iterator[dict[str, Any]]:
        """schedule(): the running task leaves its queue if it sleeps; then the next one is picked."""
        recorder = self.recorder
        self.clock(cpu, t)
        prev = int(self.rq["curr"][cpu])
        if prev != NIL and self.task["state"][prev]:
            try_to_block_task(self.w, cpu)
            yield recorder.record(t, "blocked", False, task=recorder.entities[prev], **self.where(cpu))
        pick_and_switch(self.w, cpu)
        if prev != NIL and self.task["state"][prev] == TASK_DEAD:
            remove_entity_load_avg(self.w, prev)
        names = {"task": recorder.running(cpu), "prev": recorder.entities[prev] or "idle"}
        settled = not self.rq["need_resched"].any()
        yield recorder.record(t, "sched", settled, **names, **self.where(cpu))

    def operation(self, op: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One operation and the reschedules that follow."""
        t, name = op["t"], op["op"]
        details: dict[str, Any] = {key: op[key] for key in DETAILS if key in op}
        must_run = name in MUST_RUN
        p = self.scenario.tasks[op["task"]] if "task" in op else NIL
        cpu = int(self.task["cpu"][p]) if p != NIL else 0
        if must_run and self.rq["curr"][cpu] != p:
            yield self.recorder.record(t, name, True, **details, skip=1)
            return
        details |= getattr(self, "do_" + name)(op, p, cpu)
        yields = must_run and details.get("ret", 1) == 1
        if p != NIL:
            details |= self.where(int(self.task["cpu"][p]))
        yield self.recorder.record(t, name, not (yields or self.rq["need_resched"].any()), **details)
        if yields:
            yield from self.reschedule(cpu, t)
        yield from self.reschedules(t)

    def choose_cpu(self, op: dict[str, Any], p: int, cpu: int) -> int:
        """Let the task wake on the CPU that the script says, or where it was; its clock is current."""
        if not self.task["on_rq"][p]:
            cpu = op.get("cpu", cpu)
        self.task["cpus_allowed"][p] = (1 << cpu, 0, 0, 0)
        self.clock(cpu, op["t"])
        return cpu

    def do_run(self, op, p, cpu):
        return {}

    def do_fork(self, op, p, cpu):
        wake_up_new_task(self.w, p, self.choose_cpu(op, p, cpu))
        return {"ret": 1}

    def do_wake(self, op, p, cpu):
        flags = (WF_SYNC if op.get("sync") else 0) | (WF_RQ_SELECTED if op.get("rq_selected") else 0)
        return {"ret": int(try_to_wake_up(self.w, p, self.choose_cpu(op, p, cpu), flags))}

    def do_block(self, op, p, cpu):
        self.clock(cpu, op["t"])
        self.task["state"][p] = TASK_PARKED if op.get("special") else TASK_INTERRUPTIBLE
        return {}

    def do_exit(self, op, p, cpu):
        self.clock(cpu, op["t"])
        self.task["state"][p] = TASK_DEAD
        return {}

    def do_yield(self, op, p, cpu):
        self.clock(cpu, op["t"])
        sched_yield(self.w, cpu)
        return {}

    def do_yield_to(self, op, p, cpu):
        self.clock(cpu, op["t"])
        return {"ret": int(yield_to(self.w, cpu, self.scenario.tasks[op["to"]]))}

    def do_renice(self, op, p, cpu):
        self.clock(cpu, op["t"])
        set_user_nice(self.w, p, op["nice"])
        return {}

    def do_migrate(self, op, p, cpu):
        se = self.scenario.world["sched_entity"][p]
        if not se["on_rq"] or se["sched_delayed"] or self.rq["curr"][cpu] == p or cpu == op["cpu"]:
            return {"ret": 0}
        self.clock(cpu, op["t"])
        migrate_task(self.w, p, op["cpu"])
        return {"ret": 1}

    def do_shares(self, op, p, cpu):
        for other in self.cpus:
            self.clock(other, op["t"])
        sched_group_set_shares(self.w, self.scenario.groups[op["group"]], op["weight"] << 10)
        return {}

    def do_cgroup_mode(self, op, p, cpu):
        self.scenario.world["sched_tunables"]["cgroup_mode"] = CGROUP_MODES.index(op["mode"])
        return {}


def replay_flat(scenario: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Play a scenario; yields records of the recorded format.

    Raises:
        ValueError: the scenario is not valid.
    """
    return FlatPlayer(load_flat_scenario(scenario)).play()
