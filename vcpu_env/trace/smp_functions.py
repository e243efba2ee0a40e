"""Recorded calls of the many-CPU scheduler's small functions: load tracking, group shares, balancing intervals.

Names of values in a record: la, ra, ua are the load, runnable and util average, ls, rs, us their sums, pc is
period_contrib, lut last_update_time.
"""

from collections.abc import Callable
from typing import Any

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.balance_trigger import get_sd_balance_interval, update_newidle_stats
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.domain_types import sched_domain
from vcpu_env.kernel.group_stats import adjust_numa_imbalance
from vcpu_env.kernel.load_avg import propagate_entity_load_avg, task_h_load
from vcpu_env.kernel.pelt import (
    PELT_MIN_DIVIDER,
    ___update_load_avg,
    ___update_load_sum,
    __accumulate_pelt_segments,
    decay_load,
)
from vcpu_env.kernel.topology import one_llc
from vcpu_env.kernel.types import cfs_rq, sched_entity
from vcpu_env.kernel.v6_19.shares import calc_group_shares, update_tg_load_avg
from vcpu_env.trace.smp_host import SmpHost

Call = dict[str, Any]
Outputs = dict[str, Any]

AVERAGES = {
    "la": "load_avg", "ra": "runnable_avg", "ua": "util_avg", "ls": "load_sum", "rs": "runnable_sum",
    "us": "util_sum", "pc": "period_contrib", "lut": "last_update_time_ns",
}  # fmt: skip
U64 = (1 << 64) - 1


def int64(value: int) -> int:
    """The bit pattern of a u64 as a signed number."""
    value &= U64
    return value - (1 << 64) if value >> 63 else value


@kjit
def age_entity(w, now, load, runnable, running):
    """___update_load_sum() of entity 0."""
    return ___update_load_sum(now, sched_entity(w, 0), load, runnable, running)


@kjit
def average_entity(w, load):
    """___update_load_avg() of entity 0."""
    ___update_load_avg(sched_entity(w, 0), load)


@kjit
def propagate_to_root(w, se_id):
    """propagate_entity_load_avg() of a top-level group's entity on CPU 0."""
    return propagate_entity_load_avg(w, cfs_rq(w, 0), sched_entity(w, se_id))


@kjit
def count_newidle(w, success):
    """update_newidle_stats() of domain 0."""
    update_newidle_stats(sched_domain(w, 0), success)


def accumulate(call: Call) -> Outputs:
    """__accumulate_pelt_segments()."""
    return {"ret": __accumulate_pelt_segments(call["periods"], call["d1"], call["d3"])}


class SmpFunctions:
    """A host of four CPUs with a chain of three groups, one of whose structs a call is made on."""

    def __init__(self) -> None:
        self.host = SmpHost(one_llc(4), [Task(3, cpu=1)], [Group(0), Group(1), Group(2)])
        self.calls: dict[str, Callable[[Call], Outputs]] = {
            "decay_load": lambda call: {"ret": decay_load(call["val"], call["n"])},
            "__accumulate_pelt_segments": accumulate,
            "___update_load_sum": self.update_load_sum,
            "___update_load_avg": self.update_load_avg,
            "calc_group_shares": self.calc_group_shares,
            "update_tg_load_avg": self.update_tg_load_avg,
            "propagate_entity_load_avg": self.propagate,
            "task_h_load": self.task_h_load,
            "update_newidle_stats": self.newidle_stats,
            "get_sd_balance_interval": self.balance_interval,
            "adjust_numa_imbalance": self.numa_imbalance,
        }

    def set_averages(self, array: str, index: int, values: dict[str, int]) -> None:
        """Write recorded averages and sums into an entity or a queue."""
        for short, value in values.items():
            self.host[array][AVERAGES[short]][index] = int64(value)

    def averages(self, array: str, index: int, names: dict[str, int]) -> dict[str, int]:
        """The averages and sums of an entity or a queue, by the names that a record has."""
        return {short: int(self.host[array][AVERAGES[short]][index]) for short in names}

    def update_load_sum(self, call: Call) -> Outputs:
        self.set_averages("sched_entity", 0, call["in"])
        ret = age_entity(self.host.w, call["now"], call["load"], call["runnable"], call["running"])
        return {"ret": int(ret), "out": self.averages("sched_entity", 0, call["out"])}

    def update_load_avg(self, call: Call) -> Outputs:
        self.set_averages("sched_entity", 0, call["in"])
        average_entity(self.host.w, call["load"])
        divider = PELT_MIN_DIVIDER + call["in"]["pc"]
        return {"divider": divider, "out": self.averages("sched_entity", 0, call["out"])}

    def calc_group_shares(self, call: Call) -> Outputs:
        queue = self.host["cfs_rq"][4]
        queue["load_weight"], queue["load_avg"] = call["load_weight"], call["load_avg"]
        queue["tg_load_avg_contrib"] = call["contrib"]
        group = self.host["task_group"][1]
        group["shares"], group["load_avg"] = call["shares"], call["tg_load_avg"]
        return {"ret": calc_group_shares(self.host.w, 4)}

    def update_tg_load_avg(self, call: Call) -> Outputs:
        queue, group = self.host["cfs_rq"][4], self.host["task_group"][1]
        queue["load_avg"], queue["tg_load_avg_contrib"] = call["load_avg"], call["contrib"]
        queue["last_update_tg_load_avg_ns"], group["load_avg"] = call["last"], call["tg_load_avg"]
        self.set_time(call["now"])
        update_tg_load_avg(self.host.w, 4)
        last = int(queue["last_update_tg_load_avg_ns"])
        return {
            "out": {"contrib": int(queue["tg_load_avg_contrib"]), "tg_load_avg": int(group["load_avg"]), "last": last}
        }

    def set_time(self, now_ns: int) -> None:
        """Let it be this time, earlier or later than before."""
        self.host["rq"]["clock_ns"] = self.host["rq_totals"]["now_ns"] = 0
        update_rq_clock(self.host.w, 0, now_ns)

    def propagate(self, call: Call) -> Outputs:
        host, out = self.host, call["out"]
        se_id = int(host["cfs_rq"]["se"][4])
        for array, index, values in (("sched_entity", se_id, "se"), ("cfs_rq", 4, "gq"), ("cfs_rq", 0, "pq")):
            self.set_averages(array, index, call[values] | {"pc": call["pc"]})
        entity, queue, above = host["sched_entity"][se_id], host["cfs_rq"][4], host["cfs_rq"][0]
        entity["on_rq"], entity["weight"] = call["se_on_rq"], call["se_weight"]
        queue["load_weight"], queue["propagate"] = call["gq_load_weight"], 1
        queue["prop_runnable_sum"] = call["prop_runnable_sum"]
        above["propagate"] = above["prop_runnable_sum"] = 0
        ret = propagate_to_root(host.w, se_id)
        return {
            "ret": int(ret),
            "out": {
                "se": self.averages("sched_entity", se_id, out["se"]),
                "pq": self.averages("cfs_rq", 0, out["pq"]),
                "pq_prop_runnable_sum": int(above["prop_runnable_sum"]),
                "pq_propagate": int(above["propagate"]),
                "gq_prop_runnable_sum": int(queue["prop_runnable_sum"]),
            },
        }

    def task_h_load(self, call: Call) -> Outputs:
        host, level = self.host, call["level"]
        entity, cfs = host["sched_entity"], host["cfs_rq"]
        queue = level * host.nr_cpus + 1
        entity["cfs_rq"][0], entity["depth"][0], entity["parent"][0] = queue, level, cfs["se"][queue]
        host["task_struct"]["tg"][0], entity["load_avg"][0] = level, call["p_la"]
        cfs["load_avg"][1] = call["root_la"]
        for group in range(1, 4):
            own = group * host.nr_cpus + 1
            cfs["load_avg"][own], entity["load_avg"][cfs["se"][own]] = call["q_la"][group - 1], call["se_la"][group - 1]
        cfs["last_h_load_update_ns"] = -1
        return {"ret": task_h_load(host.w, 0)}

    def newidle_stats(self, call: Call) -> Outputs:
        sd = self.host["sched_domain"][0]
        sd["newidle_call"], sd["newidle_success"], sd["newidle_ratio"] = call["call"], call["succ"], call["ratio"]
        count_newidle(self.host.w, call["success"])
        names = {"call": "newidle_call", "succ": "newidle_success", "ratio": "newidle_ratio"}
        return {"out": {short: int(sd[name]) for short, name in names.items()}}

    def balance_interval(self, call: Call) -> Outputs:
        self.host["sched_domain"]["balance_interval_ms"][0] = call["interval"]
        tick_ns = int(self.host["sched_tunables"]["tick_ns"][0])
        return {"ret": get_sd_balance_interval(self.host.w, 0, call["busy"] != 0) // tick_ns}

    def numa_imbalance(self, call: Call) -> Outputs:
        return {"ret": adjust_numa_imbalance(call["imbalance"], call["dst_running"], call["imb_numa_nr"])}
