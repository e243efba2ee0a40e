"""Recorded calls on random states of a machine: where a task goes, and where a balance would pull from.

Each call says of every CPU: idle (its current task is the idle task), nr (nr_running), hn, hr, hi (tasks queued,
runnable, of idle policy), la, ua, ra (averages), ue (util_est), pend (a remote wakeup is under way), idle_stamp.
"""

from collections.abc import Callable
from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.kernel.balance import include_all, should_we_balance
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.find_busiest import (
    CPU_IDLE,
    CPU_NEWLY_IDLE,
    CPU_NOT_IDLE,
    MIGRATE_LOAD,
    MIGRATE_TASK,
    MIGRATE_UTIL,
    sched_balance_find_src,
)
from vcpu_env.kernel.group_stats import (
    GROUP_FULLY_BUSY,
    GROUP_HAS_SPARE,
    GROUP_IMBALANCED,
    GROUP_OVERLOADED,
    GROUP_SMT_BALANCE,
)
from vcpu_env.kernel.select_cpu import select_task_rq_fair
from vcpu_env.kernel.topology import Cpu
from vcpu_env.kernel.types import WF_FORK, WF_SYNC, WF_TTWU
from vcpu_env.trace.smp_host import SmpHost

IDLE_TYPES = {"busy": CPU_NOT_IDLE, "idle": CPU_IDLE, "newidle": CPU_NEWLY_IDLE}
MIGRATION_TYPES = {MIGRATE_LOAD: "load", MIGRATE_UTIL: "util", MIGRATE_TASK: "task"}
GROUP_TYPES = {
    GROUP_HAS_SPARE: "has_spare",
    GROUP_FULLY_BUSY: "fully_busy",
    GROUP_SMT_BALANCE: "smt_balance",
    GROUP_IMBALANCED: "imbalanced",
    GROUP_OVERLOADED: "overloaded",
}
QUEUE_FIELDS = {
    "hn": "h_nr_queued", "hr": "h_nr_runnable", "hi": "h_nr_idle", "la": "load_avg", "ua": "util_avg",
    "ra": "runnable_avg", "ue": "util_est",
}  # fmt: skip

DOMAIN_FIELDS = {
    "min_interval": "min_interval_ms", "max_interval": "max_interval_ms", "imbalance_pct": "imbalance_pct",
    "cache_nice_tries": "cache_nice_tries", "imb_numa_nr": "imb_numa_nr",
}  # fmt: skip

Call = dict[str, Any]


class SmpStates:
    """A host with a running task for each CPU, and one more task, which wakes."""

    def __init__(self, cpus: list[Cpu]):
        tasks = [Task(cpu=cpu) for cpu in range(len(cpus))]
        self.host = SmpHost(cpus, [*tasks, Task()])
        self.calls: dict[str, Callable[[Call], dict[str, Any]]] = {
            "domains": self.domains,
            "select_task_rq_fair": self.select_task_rq,
            "find_busiest": self.find_busiest,
        }

    def domains(self, call: Call) -> dict[str, Any]:
        """The domains that the kernel builds of the CPUs' places, as far as a record and the simulator have them."""
        host = self.host
        chains = []
        for cpu, recorded in enumerate(call["domains"]):
            chain, sd = [], int(host["rq"]["sd"][cpu])
            for domain in recorded:
                groups = zip(host.ring(sd), domain["groups"], strict=True)
                chain.append(
                    domain
                    | {name: int(host["sched_domain"][field][sd]) for name, field in DOMAIN_FIELDS.items()}
                    | {"groups": [group | self.group(g) for g, group in groups]}
                )
                sd = int(host["sched_domain"]["parent"][sd])
            chains.append(chain if sd == NIL else [])
        return {"domains": chains}

    def group(self, g: int) -> dict[str, int]:
        """A group of a domain."""
        group = self.host["sched_group"][g]
        return {"span": self.host.group_mask(g), "weight": int(group["weight"]), "cores": int(group["cores"])}

    def set_state(self, call: Call) -> None:
        """Let the CPUs be in the state that a call begins with."""
        host = self.host
        rq, cfs, entity = host["rq"], host["cfs_rq"], host["sched_entity"]
        rq["clock_ns"] = host["rq_totals"]["now_ns"] = 0
        for cpu, state in enumerate(call["cpus"]):
            rq["curr"][cpu] = NIL if state["idle"] else cpu
            rq["nr_running"][cpu], rq["ttwu_pending"][cpu] = state["nr"], state["pend"]
            rq["idle_stamp_ns"][cpu] = state["idle_stamp"] or NIL
            for short, name in QUEUE_FIELDS.items():
                cfs[name][cpu] = state[short]
            update_rq_clock(host.w, cpu, call["now"])
        cfs["last_h_load_update_ns"] = NIL
        entity["cfs_rq"] = host["task_struct"]["cpu"]
        shared = host["sched_domain_shared"]
        for first, llc in host.llcs().items():
            if str(first) in call["llc"]:
                hints = call["llc"][str(first)]
                shared["has_idle_cores"][llc], shared["nr_idle_scan"][llc] = hints["idle_cores"], hints["scan"]

    def select_task_rq(self, call: Call) -> dict[str, Any]:
        """select_task_rq_fair() of a task that wakes or has been forked."""
        self.set_state(call)
        host, p, this_cpu = self.host, self.host.nr_cpus, call["this_cpu"]
        task, entity, state = host["task_struct"], host["sched_entity"], call["p"]
        task["cpu"][p] = entity["cfs_rq"][p] = call["prev_cpu"]
        entity["load_avg"][p], entity["util_avg"][p] = state["la"], state["ua"]
        task["recent_used_cpu"][p], task["wakee_flips"][p] = state["ruc"], state["flips"]
        task["policy"][p], task["cpus_allowed"][p] = state["policy"], [call["mask"], 0, 0, 0]
        waker = call["waker"]
        current, at = (host["rq"], this_cpu) if waker["idle"] else (task, this_cpu)
        current["wakee_flips"][at], current["last_wakee"][at] = waker["flips"], p if waker["last_is_p"] else NIL
        current["wakee_flip_decay_ns"][at] = (call["now"] // 1_000_000 - waker["decay_age_ms"]) * 1_000_000
        if not waker["idle"]:
            entity["load_avg"][this_cpu] = waker["la"]
        flags = WF_FORK if call["mode"] == "fork" else WF_TTWU | (WF_SYNC if call["sync"] else 0)
        cpu = int(select_task_rq_fair(host.w, p, this_cpu, flags))
        has_idle_cores = host["sched_domain_shared"]["has_idle_cores"]
        return {
            "cpu": cpu,
            "ruc_after": int(task["recent_used_cpu"][p]),
            "waker_flips_after": int(current["wakee_flips"][at]),
            "p_la_after": int(entity["load_avg"][p]),
            "p_ua_after": int(entity["util_avg"][p]),
            "idle_cores_after": [int(has_idle_cores[llc]) for llc in host.llcs().values()],
        }

    def find_busiest(self, call: Call) -> dict[str, Any]:
        """should_we_balance(), sched_balance_find_src_group(), sched_balance_find_src_rq()."""
        self.set_state(call)
        host, cpu, mask = self.host, call["dst_cpu"], call["cpus_mask"]
        sd = host.domain(cpu, call["level"])
        groups = host.ring(sd)
        for g, imbalance in zip(groups, call["imbalanced"], strict=True):
            host["sched_group"]["imbalance"][g] = imbalance
        span = sum(host.group_mask(g) for g in groups)
        for other in range(host.nr_cpus):
            host["rq"]["excluded"][other] = (span >> other) & 1 and not (mask >> other) & 1
        env = host["lb_env"]
        env["sd"], env["dst_cpu"], env["idle"], env["imbalance"] = sd, cpu, IDLE_TYPES[call["idle"]], 0
        outputs: dict[str, Any] = {"should_we_balance": int(should_we_balance(host.w))}
        src = int(sched_balance_find_src(host.w))
        include_all(host.w, sd)
        stats, at = host["sg_lb_stats"], int(env["busiest"][0])
        imbalance = int(env["imbalance"][0])
        outputs |= {"imbalance": imbalance, "src": src}
        outputs["type"] = MIGRATION_TYPES[int(env["migration_type"][0])] if imbalance else "-"
        outputs["group"] = host.group_mask(int(stats["group"][at])) if imbalance else 0
        outputs["local"] = self.statistics(int(env["local"][0]))
        if stats["group"][at] != NIL:
            outputs["busiest"] = self.statistics(at)
            outputs["busiest_group"] = host.group_mask(int(stats["group"][at]))
        outputs["total_load"] = int(env["total_load"][0])
        outputs["scan_after"] = int(host["sched_domain_shared"]["nr_idle_scan"][host["rq"]["llc"][cpu]])
        outputs["overloaded_after"] = int(host["rq_totals"]["overloaded"][0])
        return outputs

    def statistics(self, at: int) -> dict[str, Any]:
        """What a search knew of a group."""
        stats = self.host["sg_lb_stats"][at]
        names = {"load": "load", "avg_load": "avg_load", "util": "util", "runnable": "runnable", "nr": "nr_running"}
        names |= {"h_nr": "h_nr_runnable", "idle_cpus": "idle_cpus"}
        weight = int(self.host["sched_group"]["weight"][stats["group"]])
        values = {short: int(stats[name]) for short, name in names.items()}
        return {"type": GROUP_TYPES[int(stats["kind"])], **values, "weight": weight}
