"""The state of a kernel of many CPUs as matrices: what a trace records, and what the simulator has.

A matrix has a row for each entity, queue, CPU, group or scheduling domain; its columns are named as in the traces.
`HARD` columns are what an exact kernel must have equal; the rest helps to find out why it has not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import cfs_bandwidth, cfs_rq_bandwidth
from vcpu_env.kernel.domain_types import sched_domain, sched_domain_shared
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, task_group, task_struct
from vcpu_env.trace.smp_scenario import EPOCH_NS, SmpScenario

COLUMNS = {
    "rq": ("curr", "nr", "avg_idle", "idle_stamp", "max_cost", "next_balance"),
    "e": (
        *("cpu", "on_rq", "delayed", "vruntime", "deadline", "exec", "weight", "slice", "vlag", "la", "nmig"),
        *("ua", "ra", "ue", "ls", "us", "rs", "pc", "flips", "ruc"),
    ),
    "q": ("la", "tgc", "rr", "thr", "tc", "load", "hn", "hr", "hi", "ua", "ra", "ue", "ls", "us", "rs", "pc", "ptc"),
    "tg": (
        *("load_avg", "runtime", "nr_periods", "nr_throttled", "throttled_time", "nr_burst", "burst_time"),
        *("active", "slack", "period_exp"),
    ),
    "sd": ("failed", "interval", "last", "call", "succ", "ratio"),
    "llc": ("scan", "idle_cores"),
}
HARD = {
    "rq": ("curr", "nr"),
    "e": ("cpu", "on_rq", "delayed", "vruntime", "deadline", "exec", "weight", "slice", "vlag", "la", "nmig"),
    "q": ("la", "tgc", "rr", "thr", "tc"),
    "tg": ("load_avg", "runtime", "nr_periods", "nr_throttled", "throttled_time", "nr_burst", "burst_time", "active"),
    "sd": (),
    "llc": (),
}
FORCED = {
    **{"la": "load_avg", "ua": "util_avg", "ra": "runnable_avg"},
    **{"ls": "load_sum", "us": "util_sum", "rs": "runnable_sum"},
}
"""Columns of averages and sums, and the fields that they are of."""

IGNORED = np.int64(-1 << 62)
"""A value that a trace does not say."""

NSEC_PER_MSEC = 1_000_000


@kjit
def observe_entities(w, nr_tasks, rows):
    """Write tasks and the groups' entities into a matrix."""
    for i in range(len(rows)):
        se, row = sched_entity(w, i), rows[i]
        row[1], row[2], row[3], row[4] = se.on_rq, se.sched_delayed, se.vruntime, se.deadline
        row[5], row[6], row[7], row[8] = se.sum_exec_runtime_ns, se.weight, se.slice_ns, se.vlag
        row[9], row[11], row[12], row[13] = se.load_avg, se.util_avg, se.runnable_avg, se.util_est
        row[14], row[15], row[16], row[17] = se.load_sum, se.util_sum, se.runnable_sum, se.period_contrib
        if i < nr_tasks:
            task = task_struct(w, i)
            row[0], row[10] = task.cpu, task.nr_migrations
            row[18], row[19] = task.wakee_flips, task.recent_used_cpu
        else:
            row[0] = cfs_rq(w, se.my_q).cpu


@kjit
def observe_queues(w, with_bandwidth, rows):
    """Write the queues into a matrix."""
    for i in range(len(rows)):
        cfs, row = cfs_rq(w, i), rows[i]
        row[0], row[1], row[5] = cfs.load_avg, cfs.tg_load_avg_contrib, cfs.load_weight
        row[6], row[7], row[8] = cfs.h_nr_queued, cfs.h_nr_runnable, cfs.h_nr_idle
        row[9], row[10], row[12] = cfs.util_avg, cfs.runnable_avg, cfs.load_sum
        row[13], row[14], row[15] = cfs.util_sum, cfs.runnable_sum, cfs.period_contrib
        if with_bandwidth:
            queue = cfs_rq_bandwidth(w, i)
            row[2], row[3], row[4] = queue.runtime_remaining_ns, queue.throttled, cfs.throttle_count
            row[16] = queue.pelt_clock_throttled
        if cfs.se == NIL:
            row[11] = cfs.util_est


@kjit
def observe_others(w, with_bandwidth, rqs, groups, domains, caches):
    """Write CPUs, groups, scheduling domains and last-level caches into matrices."""
    for i in range(len(rqs)):
        rq, row = cpu_rq(w, i), rqs[i]
        row[0], row[1], row[2], row[3] = rq.curr, rq.nr_running, rq.avg_idle_ns, rq.idle_stamp_ns
        row[4], row[5] = rq.max_idle_balance_cost_ns, rq.next_balance_ns
    for i in range(len(groups)):
        groups[i][0] = task_group(w, i).load_avg
        if with_bandwidth:
            pool, row = cfs_bandwidth(w, i), groups[i]
            row[1], row[2], row[3] = pool.runtime_ns, pool.nr_periods, pool.nr_throttled
            row[4], row[5], row[6] = pool.throttled_time_ns, pool.nr_burst, pool.burst_time_ns
            row[7], row[8], row[9] = pool.period_active, pool.slack_started, pool.period_expires_ns
    for i in range(len(domains)):
        sd, row = sched_domain(w, i), domains[i]
        row[0], row[1], row[2] = sd.nr_balance_failed, sd.balance_interval_ms, sd.last_balance_ns
        row[3], row[4], row[5] = sd.newidle_call, sd.newidle_success, sd.newidle_ratio
    for i in range(len(caches)):
        caches[i][0], caches[i][1] = sched_domain_shared(w, i).nr_idle_scan, sched_domain_shared(w, i).has_idle_cores


@dataclass(frozen=True)
class Difference:
    """A value that is not what was recorded."""

    kind: str
    name: str
    field: str
    want: int | str | list[int] | None
    got: int | str | list[int] | None

    def __str__(self) -> str:
        what = {"rq": "CPU ", "q": "queue ", "tg": "group ", "sd": "domain ", "llc": "cache "}.get(self.kind, "")
        return f"{self.field} of {what}{self.name}: expected {self.want}, got {self.got}"


def set_known(field: np.ndarray, values: np.ndarray) -> None:
    """Write those values that a trace says."""
    known = values != IGNORED
    field[known] = values[known]


class States:
    """The recorded state, carried forward from record to record, and the simulator's own."""

    def __init__(self, scenario: SmpScenario):
        self.scenario, self.world = scenario, scenario.world
        nr_cpus, nr_tasks, nr_groups = scenario.nr_cpus, scenario.nr_tasks, scenario.nr_groups
        groups = [(f"g{tg}:{cpu}", 1) for tg in range(1, nr_groups + 1) for cpu in range(nr_cpus)]
        domains = sorted((sd, f"{cpu}:{level}") for cpu, c in enumerate(scenario.levels) for level, sd in enumerate(c))
        self.names: dict[str, list[str]] = {
            "rq": [str(cpu) for cpu in range(nr_cpus)],
            "e": [f"t{p}" for p in range(nr_tasks)] + [name for name, _ in groups],
            "q": [f"{tg}:{cpu}" for tg in range(nr_groups + 1) for cpu in range(nr_cpus)],
            "tg": [str(tg) for tg in range(nr_groups + 1)],
            "sd": [name for _, name in domains] or ["-"],
            "llc": [str(llc) for llc in range(len(self.world["sched_domain_shared"]))],
        }
        self.rows = {kind: {name: i for i, name in enumerate(names)} for kind, names in self.names.items()}
        shapes = {kind: (len(self.names[kind]), len(columns)) for kind, columns in COLUMNS.items()}
        self.own = {kind: np.zeros(shape, np.int64) for kind, shape in shapes.items()}
        self.want = {kind: np.full(shape, IGNORED) for kind, shape in shapes.items()}
        self.limbo: dict[str, list[int]] = {}
        self.with_bandwidth = bool(self.world["sched_tunables"]["cfs_bandwidth_used"][0])

    def observe(self) -> None:
        """Look at the simulator's state."""
        w, own = self.world.handle, self.own
        observe_entities(w, self.scenario.nr_tasks, own["e"])
        observe_queues(w, self.with_bandwidth, own["q"])
        observe_others(w, self.with_bandwidth, own["rq"], own["tg"], own["sd"], own["llc"])
        stamp = own["rq"][:, COLUMNS["rq"].index("idle_stamp")]
        stamp[stamp == NIL] = 0
        for field, columns in (("idle_stamp", "rq"), ("period_exp", "tg")):
            own[columns][:, COLUMNS[columns].index(field)] -= EPOCH_NS
        for field, columns in (("next_balance", "rq"), ("last", "sd")):
            at = COLUMNS[columns].index(field)
            own[columns][:, at] = -((EPOCH_NS - own[columns][:, at]) // NSEC_PER_MSEC)

    def apply(self, record: dict[str, Any]) -> None:
        """Carry the recorded state forward."""
        for kind, columns in COLUMNS.items():
            rows, want = self.rows[kind], self.want[kind]
            for name, values in record[kind].items():
                if name in rows:
                    want[rows[name]] = [values.get(column, IGNORED) for column in columns]
        for name, values in record["q"].items():
            self.limbo.pop(name, None)
            if "limbo" in values:
                self.limbo[name] = values["limbo"]

    def differences(self, soft: bool = False) -> Iterator[Difference]:
        """All that is not as recorded; `soft`: also what may differ."""
        self.observe()
        for kind, columns in COLUMNS.items():
            own, want = self.own[kind], self.want[kind]
            if not soft:
                hard = len(HARD[kind])
                own, want = own[:, :hard], want[:, :hard]
            wrong = (own != want) & (want != IGNORED)
            if wrong.any():
                for row, column in np.argwhere(wrong):
                    values = int(want[row, column]), int(own[row, column])
                    yield Difference(kind, self.names[kind][row], columns[column], *values)
        for name, tasks in self.limbo.items():
            own_tasks = self.tasks_in_limbo(self.rows["q"][name])
            if own_tasks != tasks:
                yield Difference("q", name, "limbo", tasks, own_tasks)

    def force(self) -> None:
        """Set load averages, and their sums where the trace has them, to the recorded ones."""
        for kind, array in (("e", "sched_entity"), ("q", "cfs_rq")):
            for column, field in FORCED.items():
                set_known(self.world[array][field], self.want[kind][:, COLUMNS[kind].index(column)])
        set_known(self.world["cfs_rq"]["tg_load_avg_contrib"], self.want["q"][:, COLUMNS["q"].index("tgc")])
        set_known(self.world["task_group"]["load_avg"], self.want["tg"][:, 0])

    def tasks_in_limbo(self, q: int) -> list[int]:
        """The tasks of a queue that wait for run time, the last that left first."""
        tasks, p = [], int(self.world["cfs_rq_bandwidth"]["throttled_limbo"][q])
        while p != NIL:
            tasks.append(p)
            p = int(self.world["task_struct"]["throttle_next"][p])
        return tasks
