"""Halt polling: after HLT the host thread may poll for a wake-up for a while before it sleeps.

A halt runs as: `halt_poll_limit`; the caller polls for that long, but stops once another task wants the CPU, and then
notes in ``halt_polled_ns`` how long it did; it sleeps if nothing came; `halt_finished` adapts the next halt.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kvm.types import kvm, kvm_params, kvm_vcpu

U32_MASK = 0xFFFFFFFF


@kjit
def grow_halt_poll_ns(w, vcpu):
    """kvm_main.c: grow_halt_poll_ns(). unsigned int: a large value wraps."""
    v = kvm_vcpu(w, vcpu)
    params = kvm_params(w)
    if params.halt_poll_ns_grow != 0:
        v.halt_poll_ns = max((v.halt_poll_ns * params.halt_poll_ns_grow) & U32_MASK, params.halt_poll_ns_grow_start)


@kjit
def shrink_halt_poll_ns(w, vcpu):
    """kvm_main.c: shrink_halt_poll_ns(). What falls below the value growth starts at is 0."""
    v = kvm_vcpu(w, vcpu)
    params = kvm_params(w)
    val = v.halt_poll_ns // params.halt_poll_ns_shrink if params.halt_poll_ns_shrink != 0 else 0
    v.halt_poll_ns = 0 if val < params.halt_poll_ns_grow_start else val


@kjit
def kvm_vcpu_max_halt_poll_ns(w, vcpu):
    """kvm_main.c: kvm_vcpu_max_halt_poll_ns(). The VM's own limit, otherwise the module parameter."""
    vm = kvm(w, kvm_vcpu(w, vcpu).vm)
    return vm.max_halt_poll_ns if vm.override_halt_poll_ns else kvm_params(w).halt_poll_ns


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
