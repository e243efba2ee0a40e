"""Directed yield: kvm_vcpu_on_spin(), the search of a spinning vCPU for a sibling worth its CPU.

The kernel calls yield_to() from inside the loop, and a yield_to() that succeeds ends in schedule(): the spinner sleeps
in the middle of its scan. Here the scan is therefore resumable, its cursor is in the vCPU::

    if on_spin_begin(w, me, yield_to_kernel_mode):
        target = on_spin_next(w, me, now_ns)
        while target != NIL:
            on_spin_result(w, me, target, <what yield_to() of target returned>)
            target = on_spin_next(w, me, now_ns)
        on_spin_finish(w, me)           # after a success: only once the spinner runs again

A decision maker may answer with a vCPU of its own choice: `on_spin_result` takes any target, and the loop goes on with
the others if the choice failed. No lock is held: two spinners may pick the same target, and a late one moves
``last_boosted_vcpu`` backwards.
"""

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kvm.ipi import kvm_vcpu_is_ipi_receiver
from vcpu_env.kvm.types import (
    FILTER_ANY_IPI,
    FILTER_BASE,
    FILTER_STRICT,
    LOOP_6_12,
    LOOP_6_13,
    MAX_CANDIDATES,
    candidate,
    kvm,
    kvm_params,
    kvm_vcpu,
)

MAX_FAILURES = 3


@kjit
def kvm_arch_dy_has_pending_interrupt(w, v):
    """x86.c: kvm_arch_dy_has_pending_interrupt(). An interrupt that hardware posted; seen with APICv only."""
    vcpu = kvm_vcpu(w, v)
    return vcpu.apicv != 0 and vcpu.pir_pending != 0


@kjit
def vcpu_dy_runnable(w, v):
    """kvm_main.c: vcpu_dy_runnable(). A vCPU in a halt has something to wake up for."""
    vcpu = kvm_vcpu(w, v)
    return (
        vcpu.pv_unhalted | vcpu.event | vcpu.nmi | vcpu.smi | vcpu.async_pf
    ) != 0 or kvm_arch_dy_has_pending_interrupt(w, v)


@kjit
def kvm_vcpu_eligible_for_directed_yield(w, v):
    """kvm_main.c: kvm_vcpu_eligible_for_directed_yield(). A spinner is refused at every other look.

    Each look at a spinner toggles ``dy_eligible``, so this comes last, only for vCPUs that pass everything else.
    """
    vcpu = kvm_vcpu(w, v)
    if vcpu.in_spin_loop == 0:
        return True
    eligible = vcpu.dy_eligible != 0
    vcpu.dy_eligible = 0 if eligible else 1
    return eligible


@kjit
def base_filter(w, v, yield_to_kernel_mode):
    """kvm_main.c: kvm_vcpu_on_spin() of v6.19: refuse one preempted in user mode, unless an interrupt waits for it."""
    vcpu = kvm_vcpu(w, v)
    if not (vcpu.preempted and yield_to_kernel_mode) or vcpu.preempted_in_kernel:
        return True
    return kvm_arch_dy_has_pending_interrupt(w, v)


@kjit
def kvm_vcpu_is_good_yield_candidate(w, me, v, yield_to_kernel_mode, now_ns):
    """kvm_main.c (series): kvm_vcpu_is_good_yield_candidate(). My IPI's receiver, or pending interrupt, or preempted.

    Unlike the base filter it refuses a vCPU that just woke from a halt: nothing was taken from it.
    """
    vcpu = kvm_vcpu(w, v)
    if kvm_vcpu_is_ipi_receiver(w, me, v, now_ns) or kvm_arch_dy_has_pending_interrupt(w, v):
        return True
    return vcpu.preempted != 0 and (vcpu.preempted_in_kernel != 0 or not yield_to_kernel_mode)


@kjit
def sender_bit(w, v):
    """The bit of a vCPU in its siblings' ``ipi_senders``."""
    return np.int64(1) << np.int64(kvm_vcpu(w, v).vcpu_idx)


@kjit
def strict_boost_filter(w, me, v, yield_to_kernel_mode):
    """VEE'21's strict boost: one that was halted, or preempted in user mode, only if I sent it an IPI, or passed it by.

    (The posted patch loses bits beyond 32 vCPUs; this one does not.)
    """
    vcpu = kvm_vcpu(w, v)
    if vcpu.preempted != 0 and (vcpu.preempted_in_kernel != 0 or not yield_to_kernel_mode):
        return True
    return vcpu.ipi_senders & sender_bit(w, me) != 0


@kjit
def passes_filter(w, me, v, yield_to_kernel_mode, now_ns):
    """The filter of the first round: the base kernel's, the series', or a rival's."""
    kind = kvm_params(w).filter
    if kind == FILTER_BASE:
        return base_filter(w, v, yield_to_kernel_mode)
    if kind == FILTER_STRICT:
        return strict_boost_filter(w, me, v, yield_to_kernel_mode)
    if kind == FILTER_ANY_IPI and kvm_vcpu(w, v).event != 0:
        return True
    return kvm_vcpu_is_good_yield_candidate(w, me, v, yield_to_kernel_mode, now_ns)


@kjit
def waits_for_cpu(w, v):
    """A yield could help: ready, and not in a halt that nothing ends."""
    vcpu = kvm_vcpu(w, v)
    return vcpu.ready != 0 and (vcpu.blocking == 0 or vcpu_dy_runnable(w, v))


@kjit
def _start_round(w, me, scan_round):
    """Start at the vCPU after the one boosted last; the second round reads that position again."""
    vcpu = kvm_vcpu(w, me)
    vcpu.scan_round = scan_round
    vcpu.scan_start = kvm(w, vcpu.vm).last_boosted_vcpu + 1
    vcpu.scan_pos = 0
    vcpu.scan_yielded = 0
    vcpu.scan_chosen = NIL


@kjit
def on_spin_begin(w, me, yield_to_kernel_mode):
    """kvm_main.c: kvm_vcpu_on_spin(), entry. Returns 0 if there is nobody to yield to: the scan does not start."""
    vcpu = kvm_vcpu(w, me)
    vcpu.scan_round = 0
    if kvm(w, vcpu.vm).nr_vcpus < 2:
        return 0
    vcpu.in_spin_loop = 1
    vcpu.scan_kernel_mode = yield_to_kernel_mode
    vcpu.scan_try = MAX_FAILURES
    vcpu.scan_boosted = NIL
    _start_round(w, me, 1)
    return 1


@kjit
def scan_advance(w, me, now_ns):
    """Move the cursor to the next vCPU that passes every check but the spin-loop eligibility; NIL: the loop is over."""
    vcpu = kvm_vcpu(w, me)
    vm = kvm(w, vcpu.vm)
    params = kvm_params(w)
    while vcpu.scan_yielded <= 0:
        if vcpu.scan_pos >= vm.nr_vcpus:
            if vcpu.scan_round != 1 or params.relaxed_round == 0 or params.enable_relaxed_boost == 0:
                return NIL
            _start_round(w, me, 2)
        idx = vcpu.scan_start + vcpu.scan_pos
        while idx >= vm.nr_vcpus:  # quicker than a division
            idx -= vm.nr_vcpus
        vcpu.scan_pos += 1
        if params.loop == LOOP_6_12 and idx == 0 and vcpu.scan_yielded != 0:
            # the second pass wanted no result yet, and a failure of the last attempt is one
            vcpu.scan_pos = vm.nr_vcpus
            continue
        v = vm.first_vcpu + idx
        if v == me or v == vcpu.scan_chosen or not waits_for_cpu(w, v):
            continue
        if vcpu.scan_round == 2:
            if kvm_vcpu(w, v).preempted:
                return v
        elif passes_filter(w, me, v, vcpu.scan_kernel_mode, now_ns):
            return v
        elif params.filter == FILTER_STRICT:
            kvm_vcpu(w, v).ipi_senders |= sender_bit(w, me)
    return NIL


@kjit
def on_spin_next(w, me, now_ns):
    """The next vCPU to yield to; NIL: the loop is over, or the last yield succeeded."""
    target = scan_advance(w, me, now_ns)
    while target != NIL and not kvm_vcpu_eligible_for_directed_yield(w, target):
        target = scan_advance(w, me, now_ns)
    return target


@kjit
def on_spin_result(w, me, target, ret):
    """What yield_to() of `target` returned: > 0 ends the scan, -ESRCH uses up one of three failures, 0 costs nothing.

    The limit ends a round when the count hits zero and is not renewed: a second round after three failures has none.
    """
    vcpu = kvm_vcpu(w, me)
    vm = kvm(w, vcpu.vm)
    vcpu.scan_yielded = ret
    vcpu.ple_yield_attempt += 1
    idx = target - vm.first_vcpu
    if ret > 0:
        vcpu.ple_yield_ok += 1
        vcpu.scan_boosted = idx
        if kvm_params(w).loop == LOOP_6_13:
            # the bug of these kernels: the distance from the start is taken for an index
            vcpu.scan_boosted = (idx - vcpu.scan_start + vm.nr_vcpus) % vm.nr_vcpus
        vcpu.parked = 1
        return
    if ret < 0:
        vcpu.esrch += 1
        vcpu.scan_try -= 1
        if vcpu.scan_try == 0:
            vcpu.scan_pos = vm.nr_vcpus
    if vcpu.scan_pos == 0 or (vcpu.scan_start + vcpu.scan_pos - 1) % vm.nr_vcpus != idx:
        vcpu.scan_chosen = target


@kjit
def on_spin_finish(w, me):
    """kvm_main.c: kvm_vcpu_on_spin(), exit. Written only when the spinner runs again: until then others see it spin."""
    vcpu = kvm_vcpu(w, me)
    if vcpu.scan_boosted != NIL:
        kvm(w, vcpu.vm).last_boosted_vcpu = vcpu.scan_boosted
    vcpu.scan_boosted = NIL
    vcpu.parked = 0
    vcpu.in_spin_loop = 0
    vcpu.dy_eligible = 0


@kjit
def candidates(w, me, yield_to_kernel_mode, now_ns):
    """List the vCPUs a yield could go to, in scan order, into the `candidate` structs; returns how many.

    They pass the ready, blocking and spin-loop checks; ``good`` says whether the kernel's filter accepts them as well.
    Changes nothing, the toggling eligibility included.
    """
    vcpu = kvm_vcpu(w, me)
    vm = kvm(w, vcpu.vm)
    count, idx = 0, vm.last_boosted_vcpu + 1
    for _ in range(vm.nr_vcpus):
        while idx >= vm.nr_vcpus:
            idx -= vm.nr_vcpus
        v = vm.first_vcpu + idx
        idx += 1
        sibling = kvm_vcpu(w, v)
        if sibling.ready == 0 or v == me or not waits_for_cpu(w, v):
            continue
        if sibling.in_spin_loop != 0 and sibling.dy_eligible == 0:
            continue
        if count == MAX_CANDIDATES:
            break
        c = candidate(w, count)
        c.vcpu = v
        c.good = passes_filter(w, me, v, yield_to_kernel_mode, now_ns)
        count += 1
    return count


@kjit
def sched_yield_begin(w, me, target, single_task_running):
    """x86.c: kvm_sched_yield(), the guest's yield hypercall and its kick. Returns 1 if yield_to() is to be called.

    `target` may be NIL (no such vCPU). Moves neither ``last_boosted_vcpu`` nor the spin-loop flags.
    """
    kvm_vcpu(w, me).directed_yield_attempted += 1
    if single_task_running or target == NIL or target == me:
        return 0
    return 1 if kvm_vcpu(w, target).ready else 0


@kjit
def sched_yield_result(w, me, ret):
    """x86.c: kvm_sched_yield(), after yield_to() returned `ret`."""
    if ret > 0:
        kvm_vcpu(w, me).directed_yield_successful += 1
