"""Replay of scheduler scenarios: the host scheduler of one CPU, driven event by event, in the format of its traces.

After each operation and tick the whole scheduler state is observed (`observe`, compiled), and what differs from the
last observation goes into the record. Kernel work takes no time: a reschedule follows at the same instant.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.core import (
    pick_and_switch,
    sched_tick,
    sched_yield,
    set_user_nice,
    try_to_block_task,
    try_to_wake_up,
    update_rq_clock,
    wake_up_new_task,
    yield_to,
)
from vcpu_env.kernel.group_weight import sched_group_set_shares
from vcpu_env.kernel.types import (
    TASK_DEAD,
    TASK_INTERRUPTIBLE,
    TASK_PARKED,
    WF_RQ_SELECTED,
    WF_SYNC,
    cfs_rq,
    sched_entity,
)
from vcpu_env.kernel.v6_19.entity import avg_vruntime, entity_eligible
from vcpu_env.kernel.yield_types import SKIP_NAMES
from vcpu_env.trace.sched_compare import compare
from vcpu_env.trace.sched_functions import check_function_line
from vcpu_env.trace.sched_scenario import Scenario, load_scenario

__all__ = ["check_function_line", "compare", "replay_sched"]

U64 = (1 << 64) - 1

ENTITY = (
    *("vruntime", "deadline", "on_rq", "delayed", "curr", "weight", "slice"),
    *("eligible", "vlag", "vprot", "rel_deadline", "custom_slice", "exec"),
)
QUEUE = (
    *("avg_vruntime", "zero_vruntime", "sum_wv", "sum_w", "nr_queued", "h_nr_queued", "h_nr_runnable", "h_nr_idle"),
    *("load", "curr", "next"),
)


@kjit
def observe(w, entity_ids, queue_ids, entities, queues):
    """Write the state of entities and queues into matrices, one row each, columns as in ENTITY and QUEUE."""
    for i in range(len(entity_ids)):
        se = sched_entity(w, entity_ids[i])
        row = entities[i]
        running = cfs_rq(w, se.cfs_rq).curr == entity_ids[i]
        row[0], row[1], row[2], row[3] = se.vruntime, se.deadline, se.on_rq, se.sched_delayed
        row[4], row[5], row[6] = running, se.weight, se.slice_ns
        row[7] = entity_eligible(w, se.cfs_rq, entity_ids[i]) if se.on_rq else 0
        row[8] = 0 if se.on_rq else se.vlag
        row[9] = se.vlag if se.on_rq and running else 0
        row[10] = se.deadline if se.rel_deadline else 0
        row[11], row[12] = se.custom_slice, se.sum_exec_runtime_ns
    for i in range(len(queue_ids)):
        cfs = cfs_rq(w, queue_ids[i])
        row = queues[i]
        row[0], row[1] = avg_vruntime(w, queue_ids[i]), cfs.zero_vruntime
        row[2], row[3], row[4] = cfs.avg_vruntime, cfs.avg_load, cfs.nr_queued
        row[5], row[6], row[7] = cfs.h_nr_queued, cfs.h_nr_runnable, cfs.h_nr_idle
        row[8], row[9], row[10] = cfs.load_weight, cfs.curr, cfs.next


def entity_record(row: list[int]) -> dict[str, int]:
    """One entity as a trace shows it: `eligible` only while queued, and of lag and protection the one that applies."""
    record = dict(zip(ENTITY, row, strict=True))
    on_rq, running = record["on_rq"], record["curr"]
    hidden = {"vlag": on_rq, "eligible": not on_rq, "vprot": not (on_rq and running)}
    for name in ("rel_deadline", "custom_slice"):
        hidden[name] = record[name] == 0
    return {name: value for name, value in record.items() if not hidden.get(name)}


class Recorder:
    """Makes records: the difference of the scheduler's state to the last record."""

    def __init__(self, scenario: Scenario):
        self.scenario, self.world = scenario, scenario.world
        nr_cpus = int(self.world["sched_tunables"]["nr_cpus"][0])
        self.names = {id: name for name, id in scenario.entities.items()} | {NIL: None}
        self.entity_names, self.queue_names = list(scenario.entities), ["root", *scenario.groups]
        self.entity_ids = np.array(list(scenario.entities.values()), np.int64)
        self.queue_ids = np.arange(len(self.queue_names), dtype=np.int64) * nr_cpus
        self.entities = np.zeros((len(self.entity_ids), len(ENTITY)), np.int64)
        self.queues = np.zeros((len(self.queue_ids), len(QUEUE)), np.int64)
        self.last_entities, self.last_queues = self.entities - 1, self.queues - 2
        self.index = 0

    @property
    def curr(self) -> str:
        """Name of the running task."""
        return self.names[int(self.world["rq"]["curr"][0])] or "idle"

    def record(self, t: int, event: str, settled: bool, **details: Any) -> dict[str, Any]:
        """The next record."""
        observe(self.world.handle, self.entity_ids, self.queue_ids, self.entities, self.queues)
        changed_queues = np.flatnonzero((self.queues != self.last_queues).any(axis=1))
        changed_entities = np.flatnonzero((self.entities != self.last_entities).any(axis=1))
        queues = {self.queue_names[i]: self.queue_record(self.queues[i].tolist()) for i in changed_queues}
        entities = {self.entity_names[i]: entity_record(self.entities[i].tolist()) for i in changed_entities}
        self.entities, self.last_entities = self.last_entities, self.entities
        self.queues, self.last_queues = self.last_queues, self.queues
        rq = self.world["rq"][0]
        record = {"i": self.index, "t": t, "ev": event, **details, "settled": int(settled), "curr": self.curr}
        record |= {"resched": int(rq["need_resched"] != 0), "nr_running": int(rq["nr_running"])}
        record |= {"q": queues, "e": entities}
        if self.scenario.series:
            record["db"] = {
                "last_time_ns": int(rq["yield_deboost_last_time_ns"]),
                "last_src": self.names[int(rq["yield_deboost_last_src_pid"])],
                "last_dst": self.names[int(rq["yield_deboost_last_dst_pid"])],
                "last_pair_time": int(rq["yield_deboost_last_pair_time_ns"]),
            }
        self.index += 1
        return record

    def queue_record(self, row: list[int]) -> dict[str, Any]:
        """One queue as a trace shows it."""
        record = dict(zip(QUEUE, row, strict=True))
        return record | {"curr": self.names[record["curr"]], "next": self.names[record["next"]]}

    def deboost(self) -> dict[str, Any]:
        """The debooster's decision about the last directed yield."""
        decision = self.world["yield_decision"][0]
        record: dict[str, Any] = {}
        if decision["lca_q"] != NIL:
            nr_cpus = int(self.world["sched_tunables"]["nr_cpus"][0])
            record["lca_q"] = self.queue_names[int(decision["lca_q"]) // nr_cpus]
            record |= {"lca_y": self.names[int(decision["lca_y"])], "lca_t": self.names[int(decision["lca_t"])]}
            record |= {name: int(decision[name]) for name in ("n", "y_v", "t_v", "debounced")}
            record["gran"] = int(decision["gran_ns"])
            record |= {name: int(decision[f"{name}_ns"]) & U64 for name in ("need", "raw", "penalty")}
        record["applied"] = int(decision["applied"])
        if decision["applied"]:
            record |= {"y_v1": int(decision["y_v1"]), "y_d1": int(decision["y_d1"])}
        if decision["skip"]:
            record["skip"] = SKIP_NAMES[decision["skip"]]
        return record | {"forfeit": int(decision["forfeit"])}


class Player:
    """Plays one scenario."""

    def __init__(self, scenario: Scenario):
        self.scenario, self.w = scenario, scenario.world.handle
        self.recorder = Recorder(scenario)
        self.rq = scenario.world["rq"][:1]

    def play(self) -> Iterator[dict[str, Any]]:
        """All records of the scenario."""
        yield self.recorder.record(0, "init", True)
        next_tick = self.scenario.tick_ns
        for op in self.scenario.ops:
            while next_tick <= op["t"]:
                yield from self.tick(next_tick)
                next_tick += self.scenario.tick_ns
            yield from self.operation(op)

    def tick(self, t: int) -> Iterator[dict[str, Any]]:
        """A timer tick, and the reschedule it may ask for."""
        update_rq_clock(self.w, 0, t)
        sched_tick(self.w, 0)
        need_resched = self.rq["need_resched"][0]
        if self.scenario.verbose:
            yield self.recorder.record(t, "tick", not need_resched)
        if need_resched:
            yield from self.reschedule(t)

    def reschedule(self, t: int) -> Iterator[dict[str, Any]]:
        """schedule(): the running task leaves its queue if it sleeps; then the next one is picked."""
        recorder = self.recorder
        task = self.scenario.world["task_struct"]
        prev = int(self.rq["curr"][0])
        if prev != NIL and task["state"][prev]:
            try_to_block_task(self.w, 0)
            yield recorder.record(t, "blocked", False, task=recorder.names[prev])
        pick_and_switch(self.w, 0)
        yield recorder.record(t, "sched", True, task=recorder.curr, prev=recorder.names[prev] or "idle")

    def operation(self, op: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One operation and the reschedule that follows."""
        t, name = op["t"], op["op"]
        details: dict[str, Any] = {
            key: op[key] for key in ("task", "to", "group", "nice", "weight", "value") if key in op
        }
        must_run = name in ("block", "yield", "yield_to", "exit")
        if must_run and self.recorder.curr != op["task"]:
            yield self.recorder.record(t, name, True, **details, skip=1)
            return
        details |= getattr(self, "do_" + name)(op)
        resched = bool(self.rq["need_resched"][0]) or (must_run and details.get("ret", 1) == 1)
        yield self.recorder.record(t, name, not resched, **details)
        if resched:
            yield from self.reschedule(t)

    def clock(self, op: dict[str, Any]) -> int:
        """Bring the CPU's clock to the operation's time; returns the task."""
        update_rq_clock(self.w, 0, op["t"])
        return self.scenario.tasks[op["task"]] if "task" in op else NIL

    def do_run(self, op):
        return {}

    def do_fork(self, op):
        wake_up_new_task(self.w, self.clock(op), 0)
        return {}

    def do_wake(self, op):
        flags = (WF_SYNC if op.get("sync") else 0) | (WF_RQ_SELECTED if op.get("rq_selected") else 0)
        return {"ret": try_to_wake_up(self.w, self.clock(op), 0, flags)}

    def do_block(self, op):
        state = TASK_PARKED if op.get("special") else TASK_INTERRUPTIBLE
        self.scenario.world["task_struct"]["state"][self.clock(op)] = state
        return {}

    def do_exit(self, op):
        self.scenario.world["task_struct"]["state"][self.clock(op)] = TASK_DEAD
        return {}

    def do_yield(self, op):
        self.clock(op)
        sched_yield(self.w, 0)
        return {}

    def do_yield_to(self, op):
        self.clock(op)
        ret = yield_to(self.w, 0, self.scenario.tasks[op["to"]])
        details: dict[str, Any] = {"ret": ret}
        if op["to"] in self.scenario.remote:
            details["remote"] = 1
        if ret == 1 and self.scenario.series:
            details["deboost"] = self.recorder.deboost()
        return details

    def do_renice(self, op):
        set_user_nice(self.w, self.clock(op), op["nice"])
        return {}

    def do_shares(self, op):
        self.clock(op)
        sched_group_set_shares(self.w, self.scenario.groups[op["group"]], op["weight"] << 10)
        return {}

    def do_debooster(self, op):
        self.scenario.world["deboost_params"]["vcpu_debooster_enabled"] = op["value"]
        return {}


def replay_sched(scenario: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Play a scenario; yields records of the recorded format.

    Raises:
        ValueError: the scenario is not valid.
    """
    return Player(load_scenario(scenario)).play()
