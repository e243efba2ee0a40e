"""Halt polling: after HLT the host thread may poll for a wake-up for a while before it sleeps.

A halt runs as: `halt_poll_limit`; the caller polls for that long, but stops once another task wants the CPU, and then
notes in ``halt_polled_ns`` how long it did; it sleeps if nothing came; `halt_finished` adapts the next halt.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kvm.types import kvm, kvm_params, kvm_vcpu

U32_MASK = 0xFFFFFFFF


@kjit
def grow_halt_poll_ns(w, v):
    """kvm_main.c: grow_halt_poll_ns(). unsigned int: a large value wraps."""
    vcpu = kvm_vcpu(w, v)
    params = kvm_params(w)
    if params.halt_poll_ns_grow != 0:
        vcpu.halt_poll_ns = max(
            (vcpu.halt_poll_ns * params.halt_poll_ns_grow) & U32_MASK, params.halt_poll_ns_grow_start
        )


@kjit
def shrink_halt_poll_ns(w, v):
    """kvm_main.c: shrink_halt_poll_ns(). What falls below the value growth starts at is 0."""
    vcpu = kvm_vcpu(w, v)
    params = kvm_params(w)
    val = vcpu.halt_poll_ns // params.halt_poll_ns_shrink if params.halt_poll_ns_shrink != 0 else 0
    vcpu.halt_poll_ns = 0 if val < params.halt_poll_ns_grow_start else val


@kjit
def kvm_vcpu_max_halt_poll_ns(w, v):
    """kvm_main.c: kvm_vcpu_max_halt_poll_ns(). The VM's own limit, otherwise the module parameter."""
    vm = kvm(w, kvm_vcpu(w, v).vm)
    return vm.max_halt_poll_ns if vm.override_halt_poll_ns else kvm_params(w).halt_poll_ns


@kjit
def halt_poll_limit(w, v):
    """kvm_main.c: kvm_vcpu_halt(), first half. How long this halt may poll; 0: sleep at once."""
    vcpu = kvm_vcpu(w, v)
    vcpu.halt_poll_ns = min(vcpu.halt_poll_ns, kvm_vcpu_max_halt_poll_ns(w, v))
    vcpu.halt_polled_ns = 0 if vcpu.no_poll else vcpu.halt_poll_ns
    vcpu.halt_polling = vcpu.halt_polled_ns != 0
    return vcpu.halt_polled_ns


@kjit
def halt_finished(w, v, waited_ns, polled_ok, valid):
    """kvm_main.c: kvm_vcpu_halt(), second half: statistics, and the polling time of the next halt.

    Args:
        waited_ns: the whole halt, polling included.
        polled_ok: the thread never slept.
        valid: what ended the halt was meant for this vCPU (vcpu_valid_wakeup()).
    """
    vcpu = kvm_vcpu(w, v)
    if vcpu.halt_polling:
        vcpu.halt_attempted_poll += 1
        if polled_ok:
            vcpu.halt_successful_poll += 1
            vcpu.halt_poll_success_ns += waited_ns
            if not valid:
                vcpu.halt_poll_invalid += 1
        else:
            vcpu.halt_poll_fail_ns += vcpu.halt_polled_ns
    if not polled_ok:
        vcpu.halt_wait_ns += waited_ns - vcpu.halt_polled_ns
    vcpu.halt_polling = 0
    if vcpu.no_poll:
        return
    limit = kvm_vcpu_max_halt_poll_ns(w, v)
    if not valid:
        shrink_halt_poll_ns(w, v)
    elif limit == 0:
        vcpu.halt_poll_ns = 0
    elif waited_ns > vcpu.halt_poll_ns:
        if vcpu.halt_poll_ns != 0 and waited_ns > limit:
            shrink_halt_poll_ns(w, v)
        elif vcpu.halt_poll_ns < limit and waited_ns < limit:
            grow_halt_poll_ns(w, v)
