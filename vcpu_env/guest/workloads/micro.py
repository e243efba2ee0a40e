"""Micro-benchmarks: one mechanism each that makes a vCPU spin for a sibling that has no CPU.

* micro-lhp, lock-holder preemption: many locks, long holds, little contention. Who waits, waits for a holder that the
  host has preempted. With test-and-set locks (``lock = "tas"``) the order of waiters does not matter.
* micro-lwp, lock-waiter preemption: one lock, short holds, always a queue. With first-come locks (``lock = "fifo"``)
  the lock passes to a waiter that has no CPU, and everybody behind it waits although nobody works under the lock.
* micro-ipi: cross-calls under no lock, as TLB shootdowns; the caller waits for every sibling that it called.
* micro-rcu: one thread waits for grace periods of RCU, one after another, while the others compute.
* micro-pingpong: two threads hand a lock to each other. On one CPU each hand-over needs a yield: the counter of two
  vCPUs with which the series was tested on s390 (Christian Borntraeger, on v1).
"""

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import PICK_RANDOM, Program
from vcpu_env.guest.workloads.workload import Parameter, Workload

LHP = {
    "threads": Parameter(16, "threads", "assumed", "threads that take locks", least=1),
    "locks": Parameter(8, "locks", "assumed", "spin locks, one of them taken at random", least=1),
    "user_ns": Parameter(80_000, "ns", "assumed", "user time between two critical sections"),
    "hold_ns": Parameter(20_000, "ns", "assumed", "hold of the lock: a fifth of the time"),
}
LWP = {
    "threads": Parameter(16, "threads", "assumed", "threads that take the lock", least=1),
    "locks": Parameter(1, "locks", "assumed", "spin locks, one of them taken at random", least=1),
    "user_ns": Parameter(4000, "ns", "assumed", "user time between two critical sections"),
    "hold_ns": Parameter(300, "ns", "assumed", "hold of the lock"),
}
IPI = {
    "threads": Parameter(16, "threads", "assumed", "threads that call", least=1),
    "user_ns": Parameter(200_000, "ns", "assumed", "user time between two calls"),
    "kernel_ns": Parameter(1000, "ns", "assumed", "kernel time before the call"),
    "targets": Parameter(0, "vCPUs", "assumed", "siblings that are called; 0: all that run a thread", least=0),
}
RCU = {
    "threads": Parameter(15, "threads", "assumed", "threads that only compute", least=1),
    "user_ns": Parameter(50_000, "ns", "assumed", "user time between two waits"),
    "expedited_share": Parameter(0.5, "of waits", "assumed", "synchronize_rcu_expedited()"),
}
PINGPONG = {
    "hold_ns": Parameter(500, "ns", "assumed", "hold of the lock: the counter's increment"),
}


def build_spinners(plan: GuestPlan, p: dict[str, float]) -> None:
    """Threads that compute and take one of several spin locks, in turn."""
    locks = plan.spin_locks(int(p["locks"]))
    program = Program()
    program.user(p["user_ns"])
    program.hold(locks, p["hold_ns"], PICK_RANDOM)
    program.work()
    for _ in range(int(p["threads"])):
        plan.thread(program)


def build_callers(plan: GuestPlan, p: dict[str, float]) -> None:
    """Threads that compute and call their siblings, in turn."""
    program = Program()
    program.user(p["user_ns"])
    program.kernel(p["kernel_ns"])
    program.shootdown(int(p["targets"]))
    program.work()
    for _ in range(int(p["threads"])):
        plan.thread(program)


def build_rcu(plan: GuestPlan, p: dict[str, float]) -> None:
    """One thread that waits for grace periods, and others that delay them."""
    updater, other = Program(), Program()
    updater.user(p["user_ns"])
    updater.either(
        p["expedited_share"], lambda: updater.synchronize_rcu(expedited=True), lambda: updater.synchronize_rcu()
    )
    updater.work()
    other.user(1_000_000)
    plan.thread(updater)
    for _ in range(int(p["threads"])):
        plan.thread(other)


def build_pingpong(plan: GuestPlan, p: dict[str, float]) -> None:
    """Two threads that want one lock all the time: whoever releases it queues for it again behind the other."""
    program = Program()
    program.hold(plan.spin_locks(1), p["hold_ns"])
    program.work()
    for _ in range(2):
        plan.thread(program)


WORKLOADS = (
    Workload("micro-lhp", "critical sections", "preempted holders of spin locks", LHP, build_spinners),
    Workload("micro-lwp", "critical sections", "preempted waiters of a first-come spin lock", LWP, build_spinners),
    Workload("micro-ipi", "calls", "cross-calls that wait for preempted siblings", IPI, build_callers),
    Workload("micro-rcu", "grace periods", "one thread that waits for RCU's grace periods", RCU, build_rcu),
    Workload("micro-pingpong", "hand-overs", "two threads that hand a lock to each other", PINGPONG, build_pingpong),
)
