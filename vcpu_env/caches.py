"""What a vCPU has lost of its caches when it gets a CPU: some of them to what ran there since, or all by moving.

Within a last-level cache a move costs a refill of the core's own caches. Beyond it the data come from memory: from
another cache's node at six times the price of a line (60 ns against 10), from another node at ten times (100 ns).
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.engine_state import host_costs
from vcpu_env.guest.types import guest_vcpu
from vcpu_env.kernel.types import cpu_rq
from vcpu_env.kvm.pcpu import pcpu


@kjit
def refill_ns(w, cpu, last_cpu):
    """Guest time that it costs to refill all caches after a move from `last_cpu` (NIL: never ran)."""
    costs = host_costs(w, 0)
    if last_cpu == NIL or cpu_rq(w, cpu).llc == cpu_rq(w, last_cpu).llc:
        return costs.cold_cache_ns
    if cpu_rq(w, cpu).node == cpu_rq(w, last_cpu).node:
        return costs.cold_cache_ns * costs.llc_refill_1024 // 1024
    return costs.cold_cache_ns * costs.node_refill_1024 // 1024


@kjit
def lose_caches(w, cpu, v):
    """Note the guest time that vCPU `v` will lose on its new CPU. The threads of a core have their caches in common."""
    g, costs = guest_vcpu(w, v), host_costs(w, 0)
    lost = refill_ns(w, cpu, g.last_cpu)
    most = max(lost, g.cold_ns)
    if g.last_cpu == cpu or (g.last_cpu != NIL and cpu_rq(w, cpu).sibling == g.last_cpu):
        last = pcpu(w, g.last_cpu)
        foreign = last.guest_ns + last.task_ns - g.last_guest_ns
        lost = min(lost, foreign * costs.cold_cache_ratio_1024 // 1024)
    g.cold_ns = min(most, g.cold_ns + lost)
