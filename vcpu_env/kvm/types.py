"""Structs of the host's KVM: ``struct kvm_vcpu``, ``struct kvm``, the module parameters, and how they are built.

vCPU ids are global over all VMs (``kvm.first_vcpu`` + ``vcpu_idx``); fields that the kernel keeps as ``vcpu_idx`` (the
IPI context, ``last_boosted_vcpu``) stay indices within the VM.
"""

from collections.abc import Sequence

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.world import World

PLE_OFF, PLE_VMX, PLE_SVM = 0, 1, 2
APICV_OFF, APICV_ON, APICV_IPIV, APICV_AVIC = range(4)
"""Interrupts emulated; posted; posted, and IPIs virtualised as well; AMD's AVIC, which does both in its own way."""
FILTER_BASE, FILTER_SERIES, FILTER_STRICT, FILTER_ANY_IPI = range(4)
"""Whom the first round takes: v6.19's filter, the series', VEE'21's strict boost, the series' with any sender's IPI."""
TRACK_OFF, TRACK_V2, TRACK_V3 = 0, 1, 2
"""Patches 6 and 7 of the series: absent, as posted in v2, and v3's clearing by matching vector (a model of it)."""
LOOP_6_19, LOOP_6_13, LOOP_6_12 = 0, 1, 2
"""`kvm_vcpu_on_spin` of 6.19 on; of 6.13-6.18 (stores the loop counter); up to 6.12 (two passes)."""

MAX_CANDIDATES = 64

HOT_COUNTERS = (
    "exits", "irq_exits", "irq_injections", "pause_exits", "preemption_reported", "preemption_other",
    "ple_yield_attempt", "ple_yield_ok", "ple_yield_same_rq", "ple_yield_ran", "ple_yield_useful",
)  # fmt: skip
"""Those that have their place beside what is looked at with them."""

COUNTERS = [
    # as in kvm_stat
    "exits", "hypercalls", "pause_exits", "halt_exits", "irq_exits", "irq_injections",
    "halt_attempted_poll", "halt_successful_poll", "halt_poll_invalid", "halt_wakeup",
    "halt_poll_success_ns", "halt_poll_fail_ns", "halt_wait_ns",
    "directed_yield_attempted", "directed_yield_successful", "preemption_reported", "preemption_other",
    "pv_tlb_flush",  # the trace point kvm_pv_tlb_flush with need_flush_tlb: flushes done for a sender at guest entry
    # KVM has no counter for the yields of pause-loop exits
    "ple_yield_attempt", "ple_yield_ok", "ple_yield_same_rq", "ple_yield_ran", "ple_yield_useful", "esrch",
]  # fmt: skip

kvm_vcpu = Struct(
    "kvm_vcpu",
    [
        # cache line 0
        ("ready", "i8"),
        ("blocking", "i8"),  # rcuwait active: inside kvm_vcpu_block()
        ("preempted", "i8"),
        ("preempted_in_kernel", "i8"),  # sampled at sched-out, meaningful only while preempted
        ("in_spin_loop", "i8"),
        ("event", "i8"),  # KVM_REQ_EVENT
        ("pir_pending", "i8"),  # posted-interrupt descriptor ON; never set on SVM, which has no such hook
        ("scheduled_out", "i8"),
        # cache line 1
        ("vm", "i8"),
        ("exits", "i8"),
        ("irq_exits", "i8"),
        ("irq_injections", "i8"),
        ("at_instruction_boundary", "i8"),  # the last exit was a host interrupt
        ("st_preempted", "i8"),  # the steal-time byte that the guest reads
        ("ple_window", "i8"),  # cycles on VMX, PAUSEs on SVM
        ("parked", "i8"),  # a yield_to() succeeded and has not returned yet
        # cache line 2
        ("vcpu_idx", "i8"),
        ("dy_eligible", "i8"),
        ("spin_since_ns", "i8"),  # first PAUSE exit of the present spell of spinning, as far as the host can tell
        ("last_boost_ns", "i8"),  # somebody yielded to it
        ("last_ipi_sender", "i8"),  # *ipi*: arch.ipi_context of the series
        ("last_ipi_receiver", "i8"),
        ("pending_ipi", "i8"),
        ("ipi_time_ns", "i8"),
        # cache line 3
        ("asleep", "i8"),  # blocking, and nobody woke it yet
        ("apicv", "i8"),
        ("ipi_senders", "i8"),  # strict boost: siblings (bits) that may boost this descheduled vCPU
        ("scan_boosted", "i8"),
        ("pause_exits", "i8"),
        ("last_yield_ns", "i8"),  # it yielded to somebody
        ("pause_run_ns", "i8"),  # guest time of the vCPU at its last PAUSE exit
        ("cpl_kernel", "i8"),  # the guest runs at CPL 0 now
        # cache line 4
        ("scan_kernel_mode", "i8"),  # scan_*: cursor of a running kvm_vcpu_on_spin(), see `on_spin`
        ("scan_round", "i8"),
        ("scan_start", "i8"),
        ("scan_pos", "i8"),
        ("scan_try", "i8"),
        ("scan_yielded", "i8"),
        ("scan_chosen", "i8"),
        ("ple_yield_attempt", "i8"),
        # cache line 5
        ("ple_yield_ok", "i8"),
        ("ple_yield_same_rq", "i8"),
        ("ple_yield_ran", "i8"),
        ("ple_yield_useful", "i8"),
        ("preemption_reported", "i8"),
        ("preemption_other", "i8"),
        # seldom used, or by few machines
        ("last_ipi_vector", "i8"),  # v3
        ("task", "i8"),  # the host task that runs this vCPU
        ("pid_busy", "i8"),  # replay only: the lock of the target's pid is taken
        ("no_task", "i8"),  # replay only: no task to yield to
        ("apic_enabled", "i8"),
        ("nmi", "i8"),  # KVM_REQ_NMI
        ("smi", "i8"),  # KVM_REQ_SMI
        ("pv_unhalted", "i8"),
        ("async_pf", "i8"),  # a completed asynchronous page fault is queued
        ("halt_poll_ns", "i8"),
        ("halt_polled_ns", "i8"),  # time the current halt may poll, or did
        ("halt_polling", "i8"),
        ("no_poll", "i8"),  # the guest polls itself and turned host polling off
        ("stopped", "i8"),  # its thread sleeps in QEMU, since the VM is paused
        ("stops_in_halt", "i8"),  # it was halted then, and nothing has woken it
        *((name, "i8") for name in COUNTERS if name not in HOT_COUNTERS),
    ],
)

kvm = Struct(
    "kvm",
    [
        ("first_vcpu", "i8"),
        ("nr_vcpus", "i8"),
        ("last_boosted_vcpu", "i8"),
        ("override_halt_poll_ns", "i8"),  # KVM_CAP_HALT_POLL set the VM's own limit, the next field
        ("max_halt_poll_ns", "i8"),
        ("ipi_response_ns", "i8"),  # adaptive window: running mean of the time from sending an IPI to its EOI
    ],
)

kvm_params = Struct(
    "kvm_params",
    [
        ("ple_mode", "i8"),
        ("loop", "i8"),
        ("filter", "i8"),
        ("track", "i8"),
        ("relaxed_round", "i8"),
        ("apicv", "i8"),
        ("pv_eoi", "i8"),
        ("ipi_tracking_enabled", "i8"),
        ("enable_relaxed_boost", "i8"),
        ("ipi_window_ns", "i8"),
        ("adaptive_window", "i8"),  # the window follows the VM's own response times
        ("ipi_chain", "i8"),  # the receiver of my receiver's IPI counts as mine
        ("ple_gap", "i8"),
        ("ple_window", "i8"),  # cycles on VMX, PAUSEs on SVM
        ("ple_window_grow", "i8"),
        ("ple_window_shrink", "i8"),
        ("ple_window_max", "i8"),
        ("pause_cycles", "i8"),  # cycles of one PAUSE, SVM counts PAUSEs
        ("tsc_khz", "i8"),
        ("halt_poll_ns", "i8"),
        ("halt_poll_ns_grow", "i8"),
        ("halt_poll_ns_grow_start", "i8"),
        ("halt_poll_ns_shrink", "i8"),
    ],
    single=True,
)

candidate = Struct("candidate", [("vcpu", "i8"), ("good", "i8")])

IPI_WINDOW_NS = 50_000_000
"""The series lets an IPI count for this long."""

PLE_DEFAULTS = {
    PLE_OFF: {"ple_gap": 0},
    PLE_VMX: {"ple_gap": 128, "ple_window": 4096, "ple_window_grow": 2, "ple_window_max": 2**32 - 1},
    PLE_SVM: {"ple_gap": 128, "ple_window": 3000, "ple_window_grow": 2, "ple_window_max": 2**16 - 1},
}
"""Parameters of ``kvm_intel`` and ``kvm_amd`` (there: ``pause_filter_thresh``, ``pause_filter_count*``)."""

KVM_DEFAULTS = {
    "ple_mode": PLE_VMX,
    "ipi_tracking_enabled": 1,
    "enable_relaxed_boost": 1,
    "ipi_window_ns": IPI_WINDOW_NS,
    "pause_cycles": 81,
    "tsc_khz": 2_500_000,
    "halt_poll_ns": 200_000,
    "halt_poll_ns_grow": 2,
    "halt_poll_ns_grow_start": 10_000,
    "halt_poll_ns_shrink": 2,
}
"""Parameters of the ``kvm`` module as in v6.19; what is not named is 0: the stock kernel, APICv off, no PV EOI."""


def kvm_arrays(nr_vms: int, nr_vcpus: int) -> list[StructArray]:
    """The struct arrays of a host with `nr_vms` VMs and `nr_vcpus` vCPUs over all of them."""
    return [
        kvm_vcpu.array(nr_vcpus),
        kvm.array(nr_vms),
        kvm_params.array(),
        candidate.array(MAX_CANDIDATES),
    ]


def kvm_init(world: World, vcpus_per_vm: Sequence[int], **params: int) -> None:
    """Create the VMs and their vCPUs (`vcpus_per_vm`: the count of each VM) and set the module parameters.

    Args:
        params: fields of `kvm_params` that differ from the defaults of v6.19 and of the chosen `ple_mode`.
    """
    allowed = kvm_params.fields
    for name in params:
        if name not in allowed:
            raise ValueError(f"kvm parameter {name!r} is unknown; allowed: {', '.join(allowed)}")
    mode = params.get("ple_mode", PLE_VMX)
    if mode not in PLE_DEFAULTS:
        raise ValueError(f"kvm parameter ple_mode={mode!r} is not allowed; allowed: 0 (off), 1 (vmx), 2 (svm)")
    values = KVM_DEFAULTS | PLE_DEFAULTS[mode] | params
    for name, value in values.items():
        world["kvm_params"][name] = value

    vms, vcpus, first = world["kvm"], world["kvm_vcpu"], 0
    for vm, count in enumerate(vcpus_per_vm):
        vms["first_vcpu"][vm], vms["nr_vcpus"][vm] = first, count
        vcpus["vm"][first : first + count] = vm
        vcpus["vcpu_idx"][first : first + count] = np.arange(count)
        first += count
    vcpus["task"] = vcpus["last_ipi_sender"] = vcpus["last_ipi_receiver"] = NIL
    vcpus["apic_enabled"] = 1
    vcpus["apicv"] = values.get("apicv", APICV_OFF) in (APICV_ON, APICV_IPIV)  # SVM has no dy_has_pending_interrupt
    vcpus["ple_window"] = values.get("ple_window", 0)
