"""The guest's structs: virtual CPUs as the guest kernel sees them, threads, locks, queues, programs.

A guest vCPU has the same id as its `kvm_vcpu` and as its host task. Interrupt vectors are bits of `lapic.irr`.
"""

import numpy as np

from vcpu_env.base.log2 import LOG2_BINS
from vcpu_env.base.random import NR_THREAD_STREAMS
from vcpu_env.base.structs import Struct, StructArray

OVERHEAD = 16
"""Not a vector: kernel work that the guest does before anything else (context switch, ICR writes)."""

SEG_NONE, SEG_IRQ, SEG_COMPUTE, SEG_SPIN = range(4)
AWAKE, HALTED_IDLE, HALTED_PV_WAIT = range(3)

COMPUTE, SPIN_LOCK, SPIN_OWNER, SPIN_CALL, SPIN_STEAL = range(5)
RUNNABLE, RUNNING, BLOCKED = range(3)

IPI_PHYS, IPI_SHORTHAND_AUTO, IPI_PV, IPI_CLUSTER = range(4)
IPI_MODES = {"phys": IPI_PHYS, "shorthand_auto": IPI_SHORTHAND_AUTO, "pv": IPI_PV, "cluster": IPI_CLUSTER}
"""An IPI to many (`guest.multicast`)."""

STEAL_OFF, STEAL_EVERY, STEAL_REPORTED = range(3)
STEAL_TIME = {"off": STEAL_OFF, "every": STEAL_EVERY, "reported": STEAL_REPORTED}
"""What vcpu_is_preempted() tells the guest: nothing; every preemption; those that KVM reports (`kvm.preempt`)."""

HC_NONE, KVM_HC_KICK_CPU, KVM_HC_SCHED_YIELD = 0, 5, 11
"""Hypercalls that end in a directed yield, by their numbers."""

LOCK_FIFO, LOCK_TAS, LOCK_PVQ, LOCK_MUTEX, LOCK_FUTEX, LOCK_RWSEM = range(6)
SPIN_LOCK_KINDS = {"pvqspinlock": LOCK_PVQ, "fifo": LOCK_FIFO, "tas": LOCK_TAS}

FULL_SPEED = 1024

MAX_HELD = 4
"""Locks that a thread may hold at once."""

THREAD_QUEUE = np.dtype([("head", "i8"), ("tail", "i8")], align=True)
"""First and last thread of a list (`guest.thread_queue`), NIL if it is empty."""

guest_vcpu = Struct(
    "guest_vcpu",
    [
        # cache line 0
        ("vm", "i8"),
        ("cpu", "i8"),  # physical CPU on which it is in guest mode, NIL if it is not
        ("segment", "i8"),  # SEG_*: what it does between segment_start_ns and its CPU's next RUN event
        ("current", "i8"),  # guest thread, NIL in the idle loop
        ("irq", "i8"),  # vector in service, OVERHEAD, or 0
        ("halted", "i8"),
        ("cold_ns", "i8"),  # time still to be lost to a cold cache
        ("csd_mask", "i8"),  # vCPUs that have not served this vCPU's call yet
        # cache line 1
        ("segment_start_ns", "i8"),
        ("run_ns", "i8"),
        ("irq_remaining_ns", "i8"),
        ("overhead_ns", "i8"),  # kernel work still to be charged
        ("speed_1024", "i8"),  # of what it computes, FULL_SPEED unless a busy hardware thread shares its core
        ("hypercall", "i8"),  # to be made before anything else, HC_NONE
        ("need_resched", "i8"),
        ("kernel_ns", "i8"),  # includes spin_ns and irq_ns
        # cache line 2
        ("index", "i8"),  # vcpu_idx within the VM, a bit number of the masks below
        ("user_ns", "i8"),
        ("irq_ns", "i8"),
        ("smt_lost_ns", "i8"),
        ("cold_lost_ns", "i8"),
        ("call_mask", "i8"),  # vCPUs (bits) whose call requests wait here
        ("ipi_call", "i8"),
        ("kernel_thread_woken", "i8"),  # one of its kernel threads: it runs before any other thread
        # cache line 3
        ("nr_queued", "i8"),
        ("run_queue", THREAD_QUEUE),
        ("charged_ns", "i8"),  # guest run time up to which the current thread has been charged
        ("queued_vruntime", "i8"),  # sum over the threads of the run queue
        ("idle_vruntime", "i8"),  # V when a thread left last: where it stands while there is none
        ("nvcsw", "i8"),
        ("next_balance_ns", "i8"),
        # cache line 4
        ("last_cpu", "i8"),
        ("last_guest_ns", "i8"),  # guest time of that CPU when the vCPU left it: what ran since is foreign
        ("sched_out_ns", "i8"),
        ("delayed_since_ns", "i8"),  # delayed preemption: since when it should have left its CPU, NIL if it need not
        ("halt_start_ns", "i8"),
        ("steal_ns", "i8"),
        ("preempt_in_lock", "i8"),
        ("preempt_as_waiter", "i8"),
        # seldom used, or by few machines
        ("hypercall_target", "i8"),  # the vCPU that it names
        ("timer_due_ns", "i8"),  # of a vCPU that has stopped with its VM: when its tick was due
        ("paused_ns", "i8"),
        ("io_head", "i8"),  # threads whose device time is over, not yet woken
        ("notice_draws", "i8"),
        ("ple_expire_ns", "i8"),
        ("call_start_ns", "i8"),
        ("spin_ns", "i8"),
        ("idle_ns", "i8"),
        ("call_wait_ns", "i8"),
        ("calls", "i8"),
        ("flushes_deferred", "i8"),  # targets of shootdowns that were left to the host (PV TLB flush)
        ("ipi_reschedule", "i8"),  # received, as RES, CAL/TLB, LOC of /proc/interrupts
        ("timer_interrupts", "i8"),
        ("nivcsw", "i8"),
        ("lock_spins", "i8"),
        ("lock_wait_ns", "i8"),
    ],
)

guest_thread = Struct(
    "guest_thread",
    [
        # cache line 0
        ("activity", "i8"),
        ("in_kernel", "i8"),
        ("vm", "i8"),
        ("vcpu", "i8"),
        ("remaining_ns", "i8"),
        ("nr_held", "i8"),
        ("wait_lock", "i8"),
        ("spun_ns", "i8"),  # spent spinning in this wait
        # cache line 1
        ("pc", "i8"),  # absolute, in the array of all programs' operations
        ("stage", "i8"),  # how far the current operation has come
        ("loops", "i8"),
        ("draws", "i8", (NR_THREAD_STREAMS,)),
        ("yield_spun_ns", "i8"),  # pv_lock_yield: spun_ns at which it looks at the lock's holder next
        ("gave_up", "i8"),  # stopped spinning for this sleeping lock: it sleeps unless the lock is free
        # cache line 2
        ("state", "i8"),
        ("next", "i8"),  # link of the run queue or of a wait queue: a thread is on one at most
        ("vruntime", "i8"),  # guest.eevdf, in the virtual time of its vCPU
        ("deadline", "i8"),
        ("vlag", "i8"),  # of the running thread: the vruntime up to which it is protected
        ("want", "i8"),  # items that it waits to put or get
        ("wait_start_ns", "i8"),
        ("granted", "i8"),  # the lock it waits for is its own
        # seldom used, or by few machines
        ("index", "i8"),  # number within the VM
        ("pv_halted", "i8"),
        ("pv_hashed", "i8"),  # pvqspinlock: as queue head it has been entered in the hash of lock waiters
        ("handoff", "i8"),  # woken once for a sleeping lock and lost it: next release is for it alone
        ("shared", "i8"),  # waits for, or holds on top of its stack, an rwsem for reading
        ("held", "i8", (MAX_HELD,)),
        ("held_shared", "i8", (MAX_HELD,)),
    ],
)

guest_lock = Struct(
    "guest_lock",
    [
        # cache line 0
        ("kind", "i8"),
        ("owner", "i8"),  # thread, NIL if free (or held by readers)
        ("spinners", THREAD_QUEUE),  # first come first
        ("pending", "i8"),  # pvqspinlock: the queue head spins, stealing is off
        ("acquisitions", "i8"),
        ("sleepers", THREAD_QUEUE),
        # seldom used, or by few machines
        ("readers", "i8"),
        ("stealers", THREAD_QUEUE),  # pvqspinlock: not queued yet, they may take the lock out of turn
        ("slow", "i8"),  # pvqspinlock: the lock byte is _Q_SLOW_VAL, so the release kicks the queue head
        ("draws", "i8"),
    ],
)

guest_queue = Struct(
    "guest_queue",
    [
        ("items", "i8"),
        ("capacity", "i8"),  # of a barrier: how many threads meet
        ("consumers", THREAD_QUEUE),  # threads that wait for an item, or at the barrier
        ("producers", THREAD_QUEUE),  # threads that wait for room
    ],
)

guest_op = Struct(
    "guest_op", [("kind", "i8"), ("a", "i8"), ("b", "i8"), ("dist", "i8"), ("mean_ns", "i8"), ("prob_q32", "i8")]
)

guest_vm = Struct(
    "guest_vm",
    [
        # cache line 0
        ("first_vcpu", "i8"),
        ("nr_vcpus", "i8"),
        ("run_ns", "i8"),  # of all its vCPUs, booked
        ("work", "i8"),
        ("steal_time", "i8"),  # STEAL_*
        ("tick_ns", "i8"),
        ("slice_ns", "i8"),
        ("nr_preferred", "i8"),  # the first so many vCPUs are those that threads should use (`guest.steal_governor`)
        # seldom used, or by few machines
        ("first_thread", "i8"),
        ("nr_threads", "i8"),
        ("ipi_mode", "i8"),
        ("pv_tlb_flush", "i8"),
        ("pv_sched_yield", "i8"),
        ("pv_lock_yield", "i8"),
        ("balance_ns", "i8"),  # between periodic balances of a busy vCPU, 0: newidle balance only
        ("launched", "i8"),  # a VMM creates its vCPUs
        ("start_ns", "i8"),
        ("stop_ns", "i8"),
        ("lock_wait_log2", "i8", (LOG2_BINS,)),  # contended acquisitions by how long they waited
        ("tick_phase_ns", "i8"),
        ("paused_since_ns", "i8"),  # somebody has asked it to stop; NIL: it runs
        ("governor_interval_ns", "i8"),  # 0: no governor
        ("governor_high_bp", "i8"),  # above that ratio of steal time, in 1/10000, a vCPU is given up
        ("governor_low_bp", "i8"),
        ("governor_next_ns", "i8"),
        ("governor_last_ns", "i8"),
        ("governor_steal_ns", "i8"),  # of all vCPUs, then
    ],
)

guest_totals = Struct("guest_totals", [("useful_ns", "i8"), ("spin_ns", "i8")], single=True)
"""Sums over all vCPUs of time booked: neither spinning nor interrupts nor lost to cold caches, and spinning."""

guest_costs = Struct(
    "guest_costs",
    [
        ("switch_ns", "i8"),
        ("kernel_thread_ns", "i8"),
        ("futex_ns", "i8"),
        ("wake_ns", "i8"),
        ("icr_write_ns", "i8"),
        ("pv_ipi_ns", "i8"),  # of KVM_HC_SEND_IPI, and as much again for every three targets of a multicast
        ("timer_ns", "i8"),
        ("call_ns", "i8"),
        ("reschedule_ns", "i8"),
        ("io_ns", "i8"),
        ("notice_ns", "i8"),  # cache-line transfer to a spinner
        ("spin_iteration_ns", "i8"),
        ("spin_threshold_ns", "i8"),  # pv_wait after this much spinning
        ("spin_retry_ns", "i8"),  # pv_lock_yield: spinning between two looks at the lock's holder
    ],
    single=True,
)


def guest_arrays(nr_vcpus, nr_threads, nr_locks, nr_queues, nr_ops, nr_vms) -> list[StructArray]:
    """The struct arrays of all guests of a machine."""
    return [
        guest_vcpu.array(nr_vcpus),
        guest_thread.array(nr_threads),
        guest_lock.array(max(nr_locks, 1)),
        guest_queue.array(max(nr_queues, 1)),
        guest_op.array(nr_ops),
        guest_vm.array(nr_vms),
        guest_costs.array(),
        guest_totals.array(),
    ]
