"""Whom a spinning vCPU really waits for. No host kernel can know it; the simulator does."""

from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.guest.run import awaited_vcpu
from vcpu_env.guest.types import SPIN_CALL
from vcpu_env.inspect.names import lock_names, thread_names
from vcpu_env.inspect.records import LOCK_KINDS, SPINS
from vcpu_env.inspect.siblings import whereabouts
from vcpu_env.machine import Machine


def what_it_waits_for(machine: Machine, me: int) -> dict[str, Any]:
    """The lock and its holder, or the vCPUs that owe an answer to a call; and the one that matters most."""
    w = machine.world
    g = w["guest_vcpu"][me]
    thread = w["guest_thread"][int(g["current"])]
    told: dict[str, Any] = {
        "thread": thread_names(machine.blueprint)[int(g["current"])],
        "kind": SPINS[int(thread["activity"])],
        "since_ns": machine.now_ns - int(w["kvm_vcpu"]["spin_since_ns"][me]),
        "awaited": int(awaited_vcpu(w.handle, me)),
    }
    if thread["activity"] == SPIN_CALL:
        first, late = int(w["guest_vm"]["first_vcpu"][int(g["vm"])]), int(g["csd_mask"])
        answering = [first + i for i in range(int(w["guest_vm"]["nr_vcpus"][int(g["vm"])])) if late >> i & 1]
        return told | {"unanswered": [{"vcpu": v} | whereabouts(machine, v) for v in answering]}
    lock = int(thread["wait_lock"])
    lk = w["guest_lock"][lock]
    told |= {"lock": lock_names(machine.blueprint)[lock], "lock_kind": LOCK_KINDS[int(lk["kind"])], "holder": None}
    if (owner := int(lk["owner"])) != NIL:
        v = int(w["guest_thread"]["vcpu"][owner])
        told["holder"] = {"thread": thread_names(machine.blueprint)[owner], "vcpu": v} | whereabouts(machine, v)
    return told
