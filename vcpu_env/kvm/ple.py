"""Pause-loop exits: the window a guest may spin for before the hardware hands it to the host, and how it adapts.

The window doubles at each exit and falls back to its base at each reschedule (with the default shrink of 0). It is in
TSC cycles on VMX and in PAUSE instructions on SVM, 32 and 16 bits wide: the caps below bound what grows.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kvm.types import PLE_OFF, PLE_SVM, PLE_VMX, kvm_params, kvm_vcpu

U32_MASK = 0xFFFFFFFF
VMX_WINDOW_CAP = 0xFFFFFFFF
SVM_WINDOW_CAP = 0xFFFF
PLE_NEVER_NS = 1 << 62


@kjit
def __grow_ple_window(val, base, modifier, maximum):
    """x86.h: __grow_ple_window(). A modifier below `base` is a factor, otherwise a step; 0 returns to `base`."""
    if modifier < 1:
        return base
    grown = val * modifier if modifier < base else val + modifier
    return min(grown, maximum)


@kjit
def __shrink_ple_window(val, base, modifier, minimum):
    """x86.h: __shrink_ple_window(). The subtraction is of unsigned int: a step below zero wraps to a huge window."""
    if modifier < 1:
        return base
    shrunk = val // modifier if modifier < base else (val - modifier) & U32_MASK
    return max(shrunk, minimum)


@kjit
def grow_ple_window(w, v):
    """vmx.c, svm.c: grow_ple_window(). At a pause-loop exit, before kvm_vcpu_on_spin()."""
    vcpu = kvm_vcpu(w, v)
    params = kvm_params(w)
    cap = SVM_WINDOW_CAP if params.ple_mode == PLE_SVM else VMX_WINDOW_CAP
    maximum = min(params.ple_window_max, cap)
    vcpu.ple_window = __grow_ple_window(vcpu.ple_window, params.ple_window, params.ple_window_grow, maximum)


@kjit
def shrink_ple_window(w, v):
    """vmx.c, svm.c: shrink_ple_window(). When the vCPU is back on a CPU after it was scheduled out."""
    vcpu = kvm_vcpu(w, v)
    params = kvm_params(w)
    vcpu.ple_window = __shrink_ple_window(
        vcpu.ple_window, params.ple_window, params.ple_window_shrink, params.ple_window
    )


@kjit
def ple_window_ns(w, v):
    """How long the guest may spin before the exit, in time; `PLE_NEVER_NS` where pause-loop exiting is off."""
    params = kvm_params(w)
    if params.ple_mode == PLE_OFF or params.ple_gap == 0:
        return PLE_NEVER_NS
    cycles = kvm_vcpu(w, v).ple_window
    if params.ple_mode == PLE_SVM:
        cycles *= params.pause_cycles
    return cycles * 1_000_000 // params.tsc_khz


@kjit
def ple_yields_to_kernel_mode(w, v):
    """What a pause-loop exit passes as yield_to_kernel_mode: VMX exits only at CPL 0, SVM at any CPL and says which."""
    return kvm_params(w).ple_mode == PLE_VMX or kvm_vcpu(w, v).cpl_kernel != 0
