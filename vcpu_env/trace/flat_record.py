"""Records of v7.3's scheduler: the difference of its state to the last record, in the format of the set `flat`."""

from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import cfs_rq, sched_entity
from vcpu_env.kernel.v7_3.entity import entity_eligible, virtual_time
from vcpu_env.trace.flat_scenario import FlatScenario

TASK = (
    *("vruntime", "deadline", "on_rq", "delayed", "curr", "weight", "h_load", "slice", "cpu"),
    *("eligible", "vlag", "vprot", "rel_deadline", "custom_slice", "exec", "load_avg"),
)
GROUP = ("on_rq", "curr", "weight", "exec", "load_avg")
QUEUE = (
    *("avg_vruntime", "zero_vruntime", "sum_wv", "sum_w", "nr_queued", "h_nr_queued", "h_nr_runnable", "h_nr_idle"),
    *("load", "curr", "next", "h_curr", "load_avg", "runnable_avg", "contrib", "rcontrib"),
)
OF_ROOT = frozenset(("avg_vruntime", "zero_vruntime", "sum_wv", "sum_w", "curr", "next"))
OF_GROUP = frozenset(("h_curr", "contrib", "rcontrib"))
OF_PELT = frozenset(("load_avg", "runnable_avg", "contrib", "rcontrib"))


@kjit
def observe(w, task_ids, group_ids, queue_ids, tasks, groups, queues):
    """Write the state into matrices, one row each, columns as in TASK, GROUP and QUEUE."""
    for i in range(len(task_ids)):
        se = sched_entity(w, task_ids[i])
        row, cpu = tasks[i], cfs_rq(w, se.cfs_rq).cpu
        running = cfs_rq(w, cpu).curr_task == task_ids[i]
        row[0], row[1], row[2], row[3] = se.vruntime, se.deadline, se.on_rq, se.sched_delayed
        row[4], row[5], row[6], row[7], row[8] = running, se.weight, se.h_load, se.slice_ns, cpu
        row[9] = entity_eligible(w, cpu, task_ids[i]) if se.on_rq else 0
        row[10] = se.vlag if se.on_rq == 0 or se.sched_delayed else 0
        row[11] = se.vprot if se.on_rq and running else 0
        row[12] = se.deadline if se.rel_deadline else 0
        row[13], row[14], row[15] = se.custom_slice, se.sum_exec_runtime_ns, se.load_avg
    for i in range(len(group_ids)):
        se = sched_entity(w, group_ids[i])
        row = groups[i]
        row[0], row[1], row[2] = se.on_rq, cfs_rq(w, se.cfs_rq).curr == group_ids[i], se.weight
        row[3], row[4] = se.sum_exec_runtime_ns, se.load_avg
    for i in range(len(queue_ids)):
        cfs = cfs_rq(w, queue_ids[i])
        row = queues[i]
        row[0] = virtual_time(w, queue_ids[i]) if cfs.se == NIL else 0
        row[1], row[2], row[3], row[4] = cfs.zero_vruntime, cfs.avg_vruntime, cfs.avg_load, cfs.nr_queued
        row[5], row[6], row[7], row[8] = cfs.h_nr_queued, cfs.h_nr_runnable, cfs.h_nr_idle, cfs.load_weight
        row[9], row[10], row[11], row[12] = cfs.curr_task, cfs.next, cfs.curr, cfs.load_avg
        row[13], row[14], row[15] = cfs.runnable_avg, cfs.tg_load_avg_contrib, cfs.tg_runnable_avg_contrib


class Rows:
    """One matrix of observed state, and what it was at the last record."""

    def __init__(self, names: list[str], ids: list[int], columns: int):
        self.names, self.ids = names, np.array(ids, np.int64)
        self.now = np.zeros((len(names), columns), np.int64)
        self.before = np.full_like(self.now, NIL - 1)

    def changed(self) -> list[tuple[str, list[int]]]:
        """Name and row of what has changed; the state is then the last one."""
        rows = np.flatnonzero((self.now != self.before).any(axis=1))
        self.before[rows] = self.now[rows]
        return [(self.names[i], self.now[i].tolist()) for i in rows]


class FlatRecorder:
    """Makes records."""

    def __init__(self, scenario: FlatScenario):
        self.scenario, self.world = scenario, scenario.world
        nr_cpus, several = scenario.nr_cpus, scenario.nr_cpus > 1
        groups = ["root", *scenario.groups]
        queues = [(f"{name}@{cpu}" if several else name) for name in groups for cpu in range(nr_cpus)]
        first = len(self.world["task_struct"])
        entities = range(first, first + (len(groups) - 1) * nr_cpus)
        self.tasks = Rows(list(scenario.tasks), list(scenario.tasks.values()), len(TASK))
        self.groups = Rows(queues[nr_cpus:], list(entities), len(GROUP))
        self.queues = Rows(queues, list(range(len(queues))), len(QUEUE))
        self.entities: dict[int, str | None] = {NIL: None}
        self.entities |= {id: name for name, id in scenario.tasks.items()} | {
            id: groups[1 + i // nr_cpus] for i, id in enumerate(entities)
        }
        self.totals: dict[str, Any] = {}
        self.index = 0

    def running(self, cpu: int) -> str:
        """Name of the task that runs on a CPU."""
        return self.entities[int(self.world["rq"]["curr"][cpu])] or "idle"

    def by_cpu(self, values: list[Any]) -> Any:
        """A value of each CPU; the value itself if there is one CPU."""
        return values if self.scenario.nr_cpus > 1 else values[0]

    def record(self, t: int, event: str, settled: bool, **details: Any) -> dict[str, Any]:
        """The next record."""
        rows = (self.tasks, self.groups, self.queues)
        observe(self.world.handle, *(kind.ids for kind in rows), *(kind.now for kind in rows))
        rq = self.world["rq"]
        record: dict[str, Any] = {"i": self.index, "t": t, "ev": event, **details, "settled": int(settled)}
        record["curr"] = self.by_cpu([self.running(cpu) for cpu in range(self.scenario.nr_cpus)])
        record["resched"] = self.by_cpu([int(flag != 0) for flag in rq["need_resched"]])
        record["nr_running"] = self.by_cpu(rq["nr_running"].tolist())
        if self.scenario.hrtick:
            record["hrtick"] = self.by_cpu(rq["hrtick_expires_ns"].tolist())
        record["q"] = {name: self.queue_record(name, row) for name, row in self.queues.changed()}
        record["e"] = {name: self.group_record(row) for name, row in self.groups.changed()}
        record["e"] |= {name: self.task_record(row) for name, row in self.tasks.changed()}
        if self.scenario.pelt and (totals := self.changed_totals()):
            record["g"] = totals
        self.index += 1
        return record

    def keep(self, values: dict[str, Any]) -> dict[str, Any]:
        """Without load averages unless the scenario asks for them."""
        return values if self.scenario.pelt else {name: v for name, v in values.items() if name not in OF_PELT}

    def task_record(self, row: list[int]) -> dict[str, Any]:
        """A task as a trace shows it: of lag, protection and the like what applies."""
        values = self.keep(dict(zip(TASK, row, strict=True)))
        on_rq = values["on_rq"]
        hidden = {"vlag": on_rq and not values["delayed"], "eligible": not on_rq}
        hidden |= {"vprot": not (on_rq and values["curr"]), "cpu": self.scenario.nr_cpus == 1}
        hidden |= {name: values[name] == 0 for name in ("rel_deadline", "custom_slice")}
        return {name: value for name, value in values.items() if not hidden.get(name)}

    def group_record(self, row: list[int]) -> dict[str, Any]:
        """A group's entity."""
        return self.keep(dict(zip(GROUP, row, strict=True)))

    def queue_record(self, name: str, row: list[int]) -> dict[str, Any]:
        """A queue: the root queue with virtual time, the others with what they tell their group."""
        foreign = OF_GROUP if name.split("@")[0] == "root" else OF_ROOT
        values = self.keep({field: v for field, v in zip(QUEUE, row, strict=True) if field not in foreign})
        return values | {who: self.entities[values[who]] for who in ("curr", "next", "h_curr") if who in values}

    def changed_totals(self) -> dict[str, Any]:
        """Shares and sums of the groups that have changed."""
        fields = ("shares", "load_avg", "runnable_avg")
        rows = self.world["task_group"]
        now = {name: {field: int(rows[field][tg]) for field in fields} for name, tg in self.scenario.groups.items()}
        changed = {name: values for name, values in now.items() if self.totals.get(name) != values}
        self.totals = now
        return changed
