"""What a scan makes of each sibling, test by test, with the values that the kernel's tests read."""

from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.engine.yield_trace import SELF, sibling_code
from vcpu_env.inspect.activity import is_throttled
from vcpu_env.inspect.names import group_names
from vcpu_env.inspect.records import SIBLINGS
from vcpu_env.kernel.fair_class import lags
from vcpu_env.kernel.v6_19.entity import avg_vruntime, entity_eligible
from vcpu_env.kvm.ipi import kvm_vcpu_is_ipi_receiver
from vcpu_env.kvm.on_spin import kvm_arch_dy_has_pending_interrupt
from vcpu_env.kvm.types import FILTER_ANY_IPI, FILTER_BASE, FILTER_SERIES, FILTER_STRICT
from vcpu_env.machine import Machine

FILTERS = {
    FILTER_BASE: "v6.19: refuse one preempted in user mode, unless an interrupt waits for it",
    FILTER_SERIES: "series: my IPI's receiver, or an interrupt waits for it, or preempted in kernel mode",
    FILTER_STRICT: "VEE'21 strict: preempted in kernel mode, or I have sent it an IPI, or passed it by",
    FILTER_ANY_IPI: "series, and anybody for whom an IPI waits",
}


def levels(machine: Machine, task: int) -> list[dict[str, Any]]:
    """The chain of a task from its own entity up to the root queue: lag and eligibility on each level.

    On kernel 7.3 there is one level: all tasks of the CPU compete on one queue.
    """
    w, handle = machine.world, machine.world.handle
    if machine.scenario.host.kernel == "7.3":
        lag_ns = int(lags(handle, task)[0])
        queued = int(w["cfs_rq"]["h_nr_queued"][w["task_struct"]["cpu"][task]])
        level = {"queue": "root", "entity": "the vCPU", "lag_ns": lag_ns, "eligible": lag_ns >= 0, "nr_queued": queued}
        return [level]
    entities, queues, groups = w["sched_entity"], w["cfs_rq"], group_names(machine.blueprint)
    found, se_id = [], task
    while se_id != NIL:
        q = int(entities["cfs_rq"][se_id])
        tg, mine = int(queues["tg"][q]), int(entities["my_q"][se_id])
        group = NIL if mine == NIL or se_id == task else int(queues["tg"][mine])
        found.append(
            {
                "queue": groups[max(tg, 0)],
                "entity": "the vCPU" if se_id == task else groups[max(group, 0)],
                "lag_ns": int(avg_vruntime(handle, q)) - int(entities["vruntime"][se_id]),
                "eligible": bool(entity_eligible(handle, q, se_id)),
                "nr_queued": int(queues["nr_queued"][q]),
            }
        )
        se_id = int(entities["parent"][se_id])
    return found


def whereabouts(machine: Machine, v: int) -> dict[str, Any]:
    """Where a vCPU is and what it does there, as the simulator knows it."""
    w, now_ns = machine.world, machine.now_ns
    g, vcpu, cpu = w["guest_vcpu"][v], w["kvm_vcpu"][v], int(w["task_struct"]["cpu"][v])
    on_cpu = int(w["rq"]["curr"][cpu]) == v
    if on_cpu:
        state = "in the guest" if g["cpu"] != NIL else "in the host kernel"
    elif is_throttled(w, v):
        state = "throttled (cpu.max)"
    elif vcpu["preempted"]:
        state = "spins, yielded" if vcpu["in_spin_loop"] else "preempted"
    elif vcpu["blocking"]:
        state = "woken, waits for a CPU" if vcpu["ready"] else "halted"
    else:
        state = "waits for a CPU" if w["task_struct"]["state"][v] == 0 else "does not run yet"
    since_ns = None if on_cpu else now_ns - int(g["sched_out_ns"])
    return {"cpu": cpu, "state": state, "off_cpu_ns": since_ns}


def sibling_tests(machine: Machine, me: int) -> list[dict[str, Any]]:
    """Every sibling in scan order: the tests of the scan as far as they are made, their values, and the verdict."""
    w, handle, now_ns = machine.world, machine.world.handle, machine.now_ns
    vm = w["kvm"][int(w["kvm_vcpu"]["vm"][me])]
    first, count = int(vm["first_vcpu"]), int(vm["nr_vcpus"])
    rows = []
    for i in range(count):
        v = first + (int(vm["last_boosted_vcpu"]) + 1 + i) % count
        code = int(sibling_code(handle, me, v, now_ns))
        if code == SELF:
            continue
        t = w["kvm_vcpu"][v]
        tests = {name: int(t[name]) for name in ("ready", "blocking", "preempted", "preempted_in_kernel")}
        tests |= {name: int(t[name]) for name in ("in_spin_loop", "dy_eligible", "event", "pv_unhalted")}
        tests["ipi_receiver"] = int(kvm_vcpu_is_ipi_receiver(handle, me, v, now_ns))
        tests["posted_interrupt"] = int(kvm_arch_dy_has_pending_interrupt(handle, v))
        row = {"vcpu": v, "vcpu_idx": v - first, "verdict": SIBLINGS[code], "tests": tests}
        rows.append(row | whereabouts(machine, v) | {"levels": levels(machine, v) if t["ready"] else []})
    return rows
