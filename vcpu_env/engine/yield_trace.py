"""Directed yields as records of `base.trace_ring`: why, past whom, to whom, with what, and whether it helped."""

import numpy as np

from vcpu_env.base.jit import kjit
from vcpu_env.base.trace_ring import (
    YIELD,
    YIELD_BOOST,
    YIELD_HINT,
    YIELD_NOBODY,
    YIELD_SIBLINGS,
    YIELD_SPIN,
    YIELD_TARGET,
    YIELD_TO,
    record,
    traced,
)
from vcpu_env.guest.run import awaited_vcpu
from vcpu_env.guest.types import guest_thread, guest_vcpu
from vcpu_env.kernel.fair_class import lags
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, task_struct
from vcpu_env.kernel.yield_types import yield_decision
from vcpu_env.kvm.on_spin import passes_filter, waits_for_cpu
from vcpu_env.kvm.types import kvm, kvm_params, kvm_vcpu

SELF, NOT_READY, HALTED, REFUSED, RELAXED, SPINNING, GOOD = range(7)
"""What a scan makes of a sibling: it is the spinner; runs or sleeps; is halted with nothing to wake up for; is refused
by the filter; is that, but preempted, and there is a relaxed round; spins itself and is passed by this time; is taken.
"""

CODE_BITS, CODES_A_WORD, WORDS = 4, 16, 4

FOUND_NONE, RULED_NOBODY, RULED_PLAIN = range(3)
"""Why no directed yield came of a scan: all siblings were refused; the rule wanted none, or a plain yield()."""


@kjit
def sibling_code(w, me, v, now_ns):
    """What the scan of spinner `me` makes of a sibling at its first look. Changes nothing."""
    vcpu, params = kvm_vcpu(w, v), kvm_params(w)
    if v == me:
        return SELF
    if vcpu.ready == 0:
        return NOT_READY
    if not waits_for_cpu(w, v):
        return HALTED
    if not passes_filter(w, me, v, kvm_vcpu(w, me).scan_kernel_mode, now_ns):
        relaxed = params.relaxed_round != 0 and params.enable_relaxed_boost != 0
        return RELAXED if relaxed and vcpu.preempted != 0 else REFUSED
    return SPINNING if vcpu.in_spin_loop != 0 and vcpu.dy_eligible == 0 else GOOD


@kjit
def codes_from(w, me, first, now_ns):
    """The codes of the siblings at positions `first` .. `first` + 15 of the scan, four bits each, the first lowest."""
    vm = kvm(w, kvm_vcpu(w, me).vm)
    codes = np.int64(0)
    for i in range(CODES_A_WORD):
        if first + i < vm.nr_vcpus:
            v = vm.first_vcpu + (vm.last_boosted_vcpu + 1 + first + i) % vm.nr_vcpus
            codes |= np.int64(sibling_code(w, me, v, now_ns)) << np.int64(CODE_BITS * i)
    return codes


@kjit
def trace_spin(w, cpu, me, now_ns):
    """kvm_vcpu_on_spin() begins: whom the spinner waits for, and what the scan makes of each sibling."""
    if traced(w, YIELD):
        vcpu, thread = kvm_vcpu(w, me), guest_thread(w, guest_vcpu(w, me).current)
        start = kvm(w, vcpu.vm).last_boosted_vcpu + 1
        record(w, now_ns, YIELD_SPIN, cpu, me, awaited_vcpu(w, me), thread.wait_lock, vcpu.spin_since_ns, start)
        step = CODES_A_WORD
        for first in range(0, kvm(w, vcpu.vm).nr_vcpus, WORDS * step):
            a, b = codes_from(w, me, first, now_ns), codes_from(w, me, first + step, now_ns)
            c, d = codes_from(w, me, first + 2 * step, now_ns), codes_from(w, me, first + 3 * step, now_ns)
            record(w, now_ns, YIELD_SIBLINGS, cpu, me, a, b, c, d)


@kjit
def trace_yield_to(w, cpu, me, target, ret, by_kick, now_ns):
    """yield_to() returned `ret`; where it hinted: how the target stood, before any boost."""
    if traced(w, YIELD):
        task, se = task_struct(w, target), sched_entity(w, target)
        if ret > 0:
            own_ns, least_ns = lags(w, target)
            lag_ns = own_ns if cfs_rq(w, se.cfs_rq).h_nr_queued > 0 else 0
            waited_ns = now_ns - task.last_queued_ns
            nr_running = cpu_rq(w, task.cpu).nr_running
            record(w, now_ns, YIELD_TARGET, task.cpu, target, lag_ns, least_ns, waited_ns, nr_running)
        record(w, now_ns, YIELD_TO, cpu, me, target, ret, task.cpu, by_kick)


@kjit
def trace_boost(w, cpu, me, now_ns):
    """What a yield did for its target beside the hint."""
    if traced(w, YIELD):
        decision = yield_decision(w)
        penalty_ns = decision.penalty_ns if decision.applied else 0
        record(w, now_ns, YIELD_BOOST, cpu, me, decision.boost, penalty_ns, decision.skip, decision.credit_ns)


@kjit
def trace_nobody(w, cpu, me, why, now_ns):
    """The spinner goes on without a directed yield."""
    if traced(w, YIELD):
        record(w, now_ns, YIELD_NOBODY, cpu, me, why, 0, 0, 0)


@kjit
def trace_hint(w, cpu, target, following, awaited, now_ns):
    """The first pick of the target's CPU after the hint: `following` runs."""
    if traced(w, YIELD):
        record(w, now_ns, YIELD_HINT, cpu, target, following, following == target, awaited, 0)
