"""What hardware that CPUs share costs a vCPU: caches that others have used, a core's other thread.

What a vCPU has lost of its caches when it gets a CPU: some of them to what ran there since, or all by moving.

Within a last-level cache a move costs a refill of the core's own caches. Beyond it the data come from memory: from
another cache's node at six times the price of a line (60 ns against 10), from another node at ten times (100 ns).

Two hardware threads share a core: while both are busy, the guest code on each runs slower. A thread is busy unless its
CPU is idle: host kernel, guest and polling all count. When it goes busy or idle, the segment that runs on the other one
is booked at the old speed and ends at another time. Host work, a few us at a time, keeps its costs, and so does
spinning: a PAUSE loop's window is counted in cycles of the clock.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.engine.state import host_costs
from vcpu_env.guest.run import account_segment, retime_segment
from vcpu_env.guest.types import FULL_SPEED, guest_vcpu
from vcpu_env.kernel.types import cpu_rq
from vcpu_env.kvm.pcpu import GUEST, IDLE, pcpu


@kjit
def refill_ns(w, cpu, last_cpu):
    """Guest time that it costs to refill all caches after a move from `last_cpu` (NIL: never ran)."""
    costs = host_costs(w)
    if last_cpu == NIL or cpu_rq(w, cpu).llc == cpu_rq(w, last_cpu).llc:
        return costs.cold_cache_ns
    if cpu_rq(w, cpu).node == cpu_rq(w, last_cpu).node:
        return costs.cold_cache_ns * costs.llc_refill_1024 // 1024
    return costs.cold_cache_ns * costs.node_refill_1024 // 1024


@kjit
def lose_caches(w, cpu, v):
    """Note the guest time that vCPU `v` will lose on its new CPU. The threads of a core have their caches in common."""
    g, costs = guest_vcpu(w, v), host_costs(w)
    lost = refill_ns(w, cpu, g.last_cpu)
    most = max(lost, g.cold_ns)
    if g.last_cpu == cpu or (g.last_cpu != NIL and cpu_rq(w, cpu).sibling == g.last_cpu):
        last = pcpu(w, g.last_cpu)
        foreign = last.guest_ns + last.task_ns - g.last_guest_ns
        lost = min(lost, foreign * costs.cold_cache_ratio_1024 // 1024)
    g.cold_ns = min(most, g.cold_ns + lost)


@kjit
def thread_speed(w, cpu):
    """The speed (of 1024) of guest code on a CPU now."""
    sibling = cpu_rq(w, cpu).sibling
    if sibling == NIL or pcpu(w, sibling).mode == IDLE:
        return FULL_SPEED
    return host_costs(w).smt_speed_1024


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
