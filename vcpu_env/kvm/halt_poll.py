"""A vCPU thread leaves its CPU and comes back: halt polling, wake-up, and KVM's preempt notifiers.

After HLT the thread may poll for a wake-up before it sleeps. A halt runs as: `halt_poll_limit`; the caller polls for
that long, but stops once another task wants the CPU, and then notes in ``halt_polled_ns`` how long it did; it sleeps if
nothing came; `halt_finished` adapts the next halt.

The flags that `kvm_sched_out`, `kvm_vcpu_wake_up` and `kvm_sched_in` leave are all that `on_spin` knows about a
sibling: whether it waits for a CPU, and what it did when it lost one.
"""

from vcpu_env._jit import kjit
from vcpu_env.kvm.ple import shrink_ple_window
from vcpu_env.kvm.types import kvm, kvm_params, kvm_vcpu

U32_MASK = 0xFFFFFFFF
KVM_VCPU_PREEMPTED = 1


@kjit
def grow_halt_poll_ns(w, vcpu):
    """kvm_main.c: grow_halt_poll_ns(). unsigned int: a large value wraps."""
    v = kvm_vcpu(w, vcpu)
    params = kvm_params(w, 0)
    if params.halt_poll_ns_grow != 0:
        v.halt_poll_ns = max((v.halt_poll_ns * params.halt_poll_ns_grow) & U32_MASK, params.halt_poll_ns_grow_start)


@kjit
def shrink_halt_poll_ns(w, vcpu):
    """kvm_main.c: shrink_halt_poll_ns(). What falls below the value growth starts at is 0."""
    v = kvm_vcpu(w, vcpu)
    params = kvm_params(w, 0)
    val = v.halt_poll_ns // params.halt_poll_ns_shrink if params.halt_poll_ns_shrink != 0 else 0
    v.halt_poll_ns = 0 if val < params.halt_poll_ns_grow_start else val


@kjit
def kvm_vcpu_max_halt_poll_ns(w, vcpu):
    """kvm_main.c: kvm_vcpu_max_halt_poll_ns(). The VM's own limit, otherwise the module parameter."""
    vm = kvm(w, kvm_vcpu(w, vcpu).vm)
    return vm.max_halt_poll_ns if vm.override_halt_poll_ns else kvm_params(w, 0).halt_poll_ns


@kjit
def halt_poll_limit(w, vcpu):
    """kvm_main.c: kvm_vcpu_halt(), first half. How long this halt may poll; 0: sleep at once."""
    v = kvm_vcpu(w, vcpu)
    v.halt_poll_ns = min(v.halt_poll_ns, kvm_vcpu_max_halt_poll_ns(w, vcpu))
    v.halt_polled_ns = 0 if v.no_poll else v.halt_poll_ns
    v.halt_polling = v.halt_polled_ns != 0
    return v.halt_polled_ns


@kjit
def halt_finished(w, vcpu, waited_ns, polled_ok, valid):
    """kvm_main.c: kvm_vcpu_halt(), second half: statistics, and the polling time of the next halt.

    Args:
        waited_ns: the whole halt, polling included.
        polled_ok: the thread never slept.
        valid: what ended the halt was meant for this vCPU (vcpu_valid_wakeup()).
    """
    v = kvm_vcpu(w, vcpu)
    if v.halt_polling:
        v.halt_attempted_poll += 1
        if polled_ok:
            v.halt_successful_poll += 1
            v.halt_poll_success_ns += waited_ns
            if not valid:
                v.halt_poll_invalid += 1
        else:
            v.halt_poll_fail_ns += v.halt_polled_ns
    if not polled_ok:
        v.halt_wait_ns += waited_ns - v.halt_polled_ns
    v.halt_polling = 0
    if v.no_poll:
        return
    limit = kvm_vcpu_max_halt_poll_ns(w, vcpu)
    if not valid:
        shrink_halt_poll_ns(w, vcpu)
    elif limit == 0:
        v.halt_poll_ns = 0
    elif waited_ns > v.halt_poll_ns:
        if v.halt_poll_ns != 0 and waited_ns > limit:
            shrink_halt_poll_ns(w, vcpu)
        elif v.halt_poll_ns < limit and waited_ns < limit:
            grow_halt_poll_ns(w, vcpu)


@kjit
def kvm_sched_out(w, vcpu, runnable, cpl_kernel, wants_to_run):
    """kvm_main.c: kvm_sched_out(), the preempt notifier. With `runnable` 0 the thread sleeps in kvm_vcpu_block().

    A vCPU that left by its own yield is runnable too: it becomes preempted and ready like one that lost its CPU, and
    only ``in_spin_loop`` tells them apart.
    """
    v = kvm_vcpu(w, vcpu)
    v.scheduled_out = 1
    if runnable:
        if wants_to_run:
            v.preempted = 1
            v.ready = 1
    else:
        v.blocking = 1
        v.asleep = 1
    if v.preempted:
        # the CPL of an unloaded vCPU cannot be read, so it is sampled here
        v.preempted_in_kernel = cpl_kernel
    if v.at_instruction_boundary:
        # kvm_steal_time_set_preempted(): after any exit but a host interrupt the guest is not told
        v.preemption_reported += 1
        v.st_preempted |= KVM_VCPU_PREEMPTED
    else:
        v.preemption_other += 1


@kjit
def kvm_sched_in(w, vcpu):
    """kvm_main.c: kvm_sched_in(), the preempt notifier; a thread that slept in kvm_vcpu_block() leaves it."""
    v = kvm_vcpu(w, vcpu)
    v.preempted = 0
    v.ready = 0
    v.blocking = 0
    v.asleep = 0
    if v.scheduled_out:
        shrink_ple_window(w, vcpu)
    v.scheduled_out = 0


@kjit
def kvm_vcpu_wake_up(w, vcpu):
    """kvm_main.c: kvm_vcpu_wake_up(). True if it ended a sleep; the caller then wakes the host task."""
    v = kvm_vcpu(w, vcpu)
    if not v.asleep:
        return False
    v.asleep = 0
    v.ready = 1
    v.halt_wakeup += 1
    return True


@kjit
def record_steal_time(w, vcpu):
    """x86.c: record_steal_time(). At guest entry: clear the byte the guest reads; returns its flags."""
    v = kvm_vcpu(w, vcpu)
    flags = v.st_preempted
    v.st_preempted = 0
    return flags
