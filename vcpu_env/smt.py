"""Two hardware threads share a core: while both are busy, the guest code on each runs slower.

A thread is busy unless its CPU is idle: host kernel, guest and polling all count. When it goes busy or idle, the
segment that runs on the other one is booked at the old speed and ends at another time. Host work, a few us at a time,
keeps its costs, and so does spinning: a PAUSE loop's window is counted in cycles of the clock.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.engine_state import host_costs
from vcpu_env.guest.run import account_segment, retime_segment
from vcpu_env.guest.types import FULL_SPEED, guest_vcpu
from vcpu_env.kernel.types import cpu_rq
from vcpu_env.kvm.pcpu import GUEST, IDLE, pcpu


@kjit
def thread_speed(w, cpu):
    """The speed (of 1024) of guest code on a CPU now."""
    sibling = cpu_rq(w, cpu).sibling
    if sibling == NIL or pcpu(w, sibling).mode == IDLE:
        return FULL_SPEED
    return host_costs(w, 0).smt_speed_1024


@kjit
def core_changes(w, cpu, now_ns):
    """A CPU has gone busy or idle: what runs on the other thread of its core goes on at another speed."""
    sibling = cpu_rq(w, cpu).sibling
    if sibling == NIL or pcpu(w, sibling).mode != GUEST:
        return
    v = pcpu(w, sibling).vcpu
    speed = thread_speed(w, sibling)
    if guest_vcpu(w, v).speed_1024 != speed:
        account_segment(w, v, now_ns)
        guest_vcpu(w, v).speed_1024 = speed
        retime_segment(w, v, now_ns)
