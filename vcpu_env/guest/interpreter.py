"""The interpreter of guest programs: runs a thread's operations until one of them takes time, spins or sleeps."""

from vcpu_env.base.jit import kjit
from vcpu_env.base.random import THREAD_BRANCH, THREAD_DURATION, THREAD_PICK, draw_of
from vcpu_env.base.timeline import MOST_STEPS_AT_ONCE, note_stall, set_event
from vcpu_env.guest.calls import choose_targets, start_call
from vcpu_env.guest.locks import acquire, release, sleep_on
from vcpu_env.guest.multicast import multicast_cost, unicast_cost
from vcpu_env.guest.program import (
    OP_BARRIER,
    OP_BLOCK,
    OP_GOTO,
    OP_KERNEL,
    OP_LOCK,
    OP_LOCK_SHARED,
    OP_LOOP,
    OP_MAYBE,
    OP_PUT,
    OP_RESCHEDULE,
    OP_SHOOTDOWN,
    OP_SYNCHRONIZE_RCU,
    OP_UNLOCK,
    OP_USER,
    OP_WORK,
    PICK_OWN,
    PICK_RANDOM,
)
from vcpu_env.guest.queues import get_items, meet, put_items
from vcpu_env.guest.rcu import synchronize_rcu
from vcpu_env.guest.shapes import sample_duration
from vcpu_env.guest.spinning import note_lock_wait, take
from vcpu_env.guest.steal_time import kvm_flush_tlb_multi, kvm_smp_send_call_func_ipi
from vcpu_env.guest.threads import block_current
from vcpu_env.guest.trace import trace_lock_take
from vcpu_env.guest.types import (
    COMPUTE,
    HC_NONE,
    LOCK_MUTEX,
    guest_costs,
    guest_lock,
    guest_op,
    guest_thread,
    guest_vcpu,
    guest_vm,
)
from vcpu_env.kvm.lapic import VECTOR_RESCHEDULE, send_ipi
from vcpu_env.kvm.pcpu import event_slots


@kjit
def next_draw(w, t, stream):
    """32 random bits from the thread's own stream for this purpose."""
    th = guest_thread(w, t)
    purpose = stream - THREAD_DURATION
    th.draws[purpose] += 1
    return draw_of(w, stream, t, th.draws[purpose])


@kjit
def pick_instance(w, t, first, instances_and_rule):
    """The lock or queue that the operation means."""
    count = instances_and_rule >> 2
    rule = instances_and_rule & 3
    if rule == PICK_OWN:
        return first + guest_thread(w, t).index % count
    if rule == PICK_RANDOM:
        return first + ((next_draw(w, t, THREAD_PICK) * count) >> 32)
    return first


@kjit
def do_lock(w, t, op, now_ns):
    """Take a lock. 1: go on with the next operation. 0: the thread computes, spins or sleeps first.

    Stages: 0 first try; 1 the futex or rwsem slow path has been entered; 2 woken from sleep.
    """
    th = guest_thread(w, t)
    lock = th.wait_lock if th.stage > 0 else pick_instance(w, t, op.a, op.b)
    if th.granted:
        note_lock_wait(w, th, t, now_ns)
        take(w, lock, t)
        return 1
    began = th.wait_start_ns
    result = acquire(w, t, lock, op.kind == OP_LOCK_SHARED, now_ns)
    if th.stage > 0:
        th.wait_start_ns = began
    if result == 1:
        if th.stage > 0:
            trace_lock_take(w, t, lock, now_ns - began, now_ns)
        return 1
    if result == 0:
        th.stage = 0
        th.pc += 1
        return 0
    if th.stage == 1:
        th.stage = 2
        sleep_on(w, t, lock, now_ns)
        return 0
    th.stage = 1
    th.in_kernel = 1
    th.remaining_ns = guest_costs(w).futex_ns
    return 0


@kjit
def do_timed(w, t, op, now_ns):
    """Operations that take time: compute, device wait, waking a kernel thread of a sibling."""
    th = guest_thread(w, t)
    if op.kind == OP_RESCHEDULE:
        vm = guest_vm(w, th.vm)
        if vm.nr_vcpus > 1:
            step = 1 + ((next_draw(w, t, THREAD_PICK) * (vm.nr_vcpus - 1)) >> 32)
            target = vm.first_vcpu + (th.vcpu - vm.first_vcpu + step) % vm.nr_vcpus
            th.in_kernel = 1
            th.remaining_ns = unicast_cost(w, target)
            guest_vcpu(w, target).kernel_thread_woken = 1
            send_ipi(w, th.vcpu, target, VECTOR_RESCHEDULE, now_ns)
        return
    duration = sample_duration(w, op.dist, op.mean_ns, next_draw(w, t, THREAD_DURATION))
    if op.kind == OP_BLOCK:
        set_event(w, event_slots(w).io + t, now_ns + duration)
        block_current(w, th.vcpu, now_ns)
        return
    th.in_kernel = op.kind == OP_KERNEL
    th.remaining_ns = duration


@kjit
def do_control(w, t, op):
    """Branches and loops: the next program counter."""
    if op.kind == OP_GOTO:
        return op.a
    th = guest_thread(w, t)
    if op.kind == OP_MAYBE:
        return th.pc + 1 if next_draw(w, t, THREAD_BRANCH) < op.prob_q32 else op.a
    th.loops += 1
    if th.loops < op.b:
        return op.a
    th.loops = 0
    return th.pc + 1


@kjit
def do_queue(w, t, op, now_ns):
    """Put, get or barrier. 1: go on. 0: the thread sleeps; stage 1 says that it has had what it slept for."""
    th = guest_thread(w, t)
    if th.stage == 1:
        return 1
    th.in_kernel = 1
    if op.kind == OP_BARRIER:
        return meet(w, t, op.a, now_ns)
    q = pick_instance(w, t, op.a, op.b)
    if op.kind == OP_PUT:
        return put_items(w, t, q, op.mean_ns, now_ns)
    return get_items(w, t, q, op.mean_ns, now_ns)


@kjit
def do_shootdown(w, t, op, now_ns):
    """TLB shootdown. 1: done. 0: the thread writes to the ICR (stage 1), then spins until all answered (stage 2)."""
    th = guest_thread(w, t)
    vm = guest_vm(w, th.vm)
    if th.stage == 2:
        return 1
    th.stage += 1
    th.in_kernel = 1
    if th.stage == 2:
        sent = start_call(w, t, now_ns)
        if vm.pv_sched_yield:
            kvm_smp_send_call_func_ipi(w, th.vcpu, sent)
        return 0
    first = 0
    if op.a > 0:
        first = (next_draw(w, t, THREAD_PICK) * (vm.nr_vcpus - 1)) >> 32
    targets = choose_targets(w, th.vcpu, op.a, first)
    if vm.pv_tlb_flush:
        targets = kvm_flush_tlb_multi(w, th.vcpu)
    if targets == 0:
        return 1
    th.remaining_ns = multicast_cost(w, th.vm, guest_vcpu(w, th.vcpu).csd_mask)
    return 0


@kjit
def advance(w, t, now_ns):
    """Run the thread's operations until it has time to spend, spins, sleeps or has to exit to kick a waiter."""
    th = guest_thread(w, t)
    v = th.vcpu
    g = guest_vcpu(w, v)
    steps = 0
    while th.remaining_ns <= 0 and th.activity == COMPUTE and g.current == t and g.hypercall == HC_NONE:
        steps += 1
        if steps > MOST_STEPS_AT_ONCE:
            note_stall(w)
            th.remaining_ns = 1
            return
        op = guest_op(w, th.pc)
        kind = op.kind
        go_on = 1
        if kind == OP_USER or kind == OP_KERNEL or kind == OP_BLOCK or kind == OP_RESCHEDULE:
            th.pc += 1
            do_timed(w, t, op, now_ns)
            continue
        elif kind == OP_LOCK or kind == OP_LOCK_SHARED:
            go_on = do_lock(w, t, op, now_ns)
        elif kind == OP_UNLOCK:
            release(w, t, now_ns)
        elif kind == OP_MAYBE or kind == OP_GOTO or kind == OP_LOOP:
            th.pc = do_control(w, t, op)
            continue
        elif kind == OP_SHOOTDOWN:
            go_on = do_shootdown(w, t, op, now_ns)
        elif kind == OP_WORK:
            guest_vm(w, th.vm).work += op.a
        elif kind == OP_SYNCHRONIZE_RCU:
            go_on = synchronize_rcu(w, t, op.a, now_ns)
        else:
            go_on = do_queue(w, t, op, now_ns)
        if go_on:
            th.stage = 0
            th.pc += 1


@kjit
def holds_spinlock(w, th):
    """Guest preemption is off: the thread holds a spinning lock, or spins for one, or waits for a cross-call."""
    if th.activity != COMPUTE or th.stage > 0:
        return True
    for i in range(th.nr_held):
        if guest_lock(w, th.held[i]).kind < LOCK_MUTEX:
            return True
    return False
