"""pvsched v3: a guest tells the host, in a page of each vCPU's, that it is in a critical section, and keeps its CPU.

For a critical section, for an interrupt that a waiting vCPU has accepted, and from a HLT on, the vCPU's thread has a
real-time priority (*boosted*). The host looks at each VM exit and halt, and gives or takes the priority there. A boost
is charged to two budgets of the vCPU as debts; time that is not charged takes as much debt away. A budget whose debt
has reached its limit allows no boost until none is left. A boosted guest is left when the first budget is used up
(`cutoff_ns`), and leaves by itself when its critical section ends.

The rules are those of pvsched's host framework and built-in policy: budgets, events, what is charged, and the order
that is assumed where CPU time and waiting lie in one interval. This project's are: of a real-time class there is only
that a boosted vCPU is picked before all fair tasks of its CPU and keeps it, first come, first served, and that no
directed yield starts or ends at one. The fair class goes on charging it, CPUs are chosen for it and quotas hold as for
any task. Threads that are real-time already are left alone, as there, and go before boosted ones.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.kernel.forced import waits_in_queue
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt_types import rt_rq
from vcpu_env.kernel.sched_class import is_rt
from vcpu_env.kernel.types import TASK_RUNNING, cpu_rq, sched_tunables, task_struct
from vcpu_env.kvm.pcpu import event_slots

CS_HARDIRQ, CS_PREEMPT_OFF = 1, 2
"""What a guest may publish: it serves an interrupt; it may not switch threads. NMIs and softirqs do not exist here."""

CS_BUDGET_NS, GENERIC_BUDGET_NS = 2_000_000, 500_000_000
"""The defaults of v3. A boost for a critical section is charged to both."""

CRITICAL, GENERIC = 0, 1
NR_BUDGETS = 2

pvsched = Struct(
    "pvsched",
    [
        ("cs_bits", "i8"),  # what the guests publish, CS_*; 0: they have no pvsched
        ("cs_budget_ns", "i8"),
        ("generic_budget_ns", "i8"),
    ],
    single=True,
)

pvsched_vcpu = Struct(
    "pvsched_vcpu",
    [
        ("boosted", "i8"),  # its thread has a real-time priority
        ("boosted_since_ns", "i8"),
        ("in_guest", "i8"),
        ("settled_ns", "i8"),  # up to when its budgets are right
        ("waited_ns", "i8"),  # time without a CPU since then
        ("cutoff_ns", "i8"),  # in the guest: when the first budget is used up
        ("debt_ns", "i8", (NR_BUDGETS,)),
        ("throttled", "i8", (NR_BUDGETS,)),
        ("was_idle", "i8"),  # the critical section lies in the guest's idle loop
        # for the user
        ("boosts", "i8"),
        ("throttles", "i8"),  # a budget was used up
        ("notices", "i8"),  # exits by which the guest said that its critical section is over
        ("cutoffs", "i8"),
    ],
)


def pvsched_arrays(nr_vcpus: int) -> list[StructArray]:
    """The struct arrays of guests' hints."""
    return [pvsched.array(), pvsched_vcpu.array(nr_vcpus)]


@kjit
def budget_ns(w, which):
    """The limit of a budget's debt."""
    return pvsched(w).cs_budget_ns if which == CRITICAL else pvsched(w).generic_budget_ns


@kjit
def recover(w, v, which, past_ns):
    """Time that is not charged takes debt away; without debt the budget can be used again."""
    account = pvsched_vcpu(w, v)
    account.debt_ns[which] = max(account.debt_ns[which] - past_ns, 0)
    if account.debt_ns[which] == 0:
        account.throttled[which] = 0


@kjit
def throttle(w, v, which):
    """The budget is used up."""
    account = pvsched_vcpu(w, v)
    account.throttles += account.throttled[which] == 0
    account.throttled[which] = 1


@kjit
def charge(w, v, which, past_ns):
    """A boost was used."""
    account = pvsched_vcpu(w, v)
    account.debt_ns[which] += past_ns
    if account.debt_ns[which] >= budget_ns(w, which):
        throttle(w, v, which)


@kjit
def settle_boosted(w, v, which, cpu_ns, waited_ns):
    """An interval in the host of a boosted vCPU. What came first is not known, and the worse for the vCPU is assumed:
    all CPU time, as to whether the budget was used up, and all waiting, as to the debt that is left.
    """
    account = pvsched_vcpu(w, v)
    stays = account.throttled[which] != 0 or account.debt_ns[which] + cpu_ns >= budget_ns(w, which)
    recover(w, v, which, waited_ns)
    if cpu_ns:
        charge(w, v, which, cpu_ns)
    if stays and account.debt_ns[which]:
        throttle(w, v, which)


@kjit
def settle_budgets(w, v, now_ns):
    """Charge the time since the last look, or let it recover."""
    account = pvsched_vcpu(w, v)
    past_ns, waited_ns = now_ns - account.settled_ns, account.waited_ns
    account.settled_ns, account.waited_ns = now_ns, 0
    if past_ns <= 0:
        return
    for which in range(NR_BUDGETS):
        if not account.boosted:
            recover(w, v, which, past_ns)
        elif account.in_guest:
            charge(w, v, which, past_ns)
        else:
            settle_boosted(w, v, which, past_ns - waited_ns, waited_ns)


@kjit
def is_throttled(w, v):
    """Whether a budget forbids boosts."""
    account = pvsched_vcpu(w, v)
    return account.throttled[CRITICAL] != 0 or account.throttled[GENERIC] != 0


@kjit
def preempt_for(w, v):
    """A boosted vCPU that waits takes the CPU from whatever runs there, unless that is boosted as well."""
    if not pvsched_vcpu(w, v).boosted or not waits_in_queue(w, v):
        return
    cpu = task_struct(w, v).cpu
    curr = cpu_rq(w, cpu).curr
    if curr != NIL and is_rt(w, curr):
        return
    if curr == NIL or curr >= event_slots(w).nr_vcpus or not pvsched_vcpu(w, curr).boosted:
        resched_curr(w, cpu)


@kjit
def set_boost(w, v, boosted, now_ns):
    """sched_setscheduler() of a vCPU's thread: real-time, or fair again, and then it has to be picked anew."""
    account, cpu = pvsched_vcpu(w, v), task_struct(w, v).cpu
    if account.boosted == boosted or is_rt(w, v):
        return
    account.boosted = boosted
    if boosted:
        account.boosted_since_ns = now_ns
        account.boosts += 1
        preempt_for(w, v)
    elif cpu_rq(w, cpu).curr == v:
        resched_curr(w, cpu)


@kjit
def pvsched_exit(w, v, wants, now_ns):
    """A VM exit or a halt: boosted is who is in a critical section or halts (`wants`), if the budgets allow."""
    settle_budgets(w, v, now_ns)
    pvsched_vcpu(w, v).in_guest = 0
    set_boost(w, v, 1 if wants and not is_throttled(w, v) else 0, now_ns)


@kjit
def pvsched_entry(w, v, now_ns):
    """The vCPU enters the guest; from here on all time is charged if it is boosted."""
    settle_budgets(w, v, now_ns)
    account = pvsched_vcpu(w, v)
    account.in_guest, account.was_idle = 1, 0
    left_ns = 0
    if not is_throttled(w, v):
        left_ns = budget_ns(w, CRITICAL) - account.debt_ns[CRITICAL]
        left_ns = min(left_ns, budget_ns(w, GENERIC) - account.debt_ns[GENERIC])
    account.cutoff_ns = now_ns + left_ns


@kjit
def pvsched_inject(w, v, now_ns):
    """A vCPU that waits for a CPU, or is in the host kernel, has accepted an interrupt: it is boosted."""
    if not pvsched_vcpu(w, v).boosted:
        settle_budgets(w, v, now_ns)
        set_boost(w, v, 0 if is_throttled(w, v) else 1, now_ns)


@kjit
def pvsched_gets_cpu(w, v, halted, left_ns, now_ns):
    """A vCPU that lost its CPU at `left_ns` has one. If it was halted, it stays boosted if the budgets allow."""
    account = pvsched_vcpu(w, v)
    account.waited_ns += now_ns - max(left_ns, account.settled_ns)
    if halted:
        settle_budgets(w, v, now_ns)
        if is_throttled(w, v):
            set_boost(w, v, 0, now_ns)


@kjit
def preempt_for_boosted(w, cpu):
    """Tasks have been put on a CPU's queue by others: a boosted one among them takes the CPU."""
    for v in range(event_slots(w).nr_vcpus):
        if task_struct(w, v).cpu == cpu:
            preempt_for(w, v)


@kjit
def force_boosted(w, cpu, stays):
    """Before a CPU picks a task: the boosted vCPU that runs there, if it `stays`, else who was boosted first."""
    rq, nr_vcpus = cpu_rq(w, cpu), event_slots(w).nr_vcpus
    curr = rq.curr
    if sched_tunables(w).rt_used and rt_rq(w, cpu).head != NIL:
        return
    if stays and curr != NIL and curr < nr_vcpus and pvsched_vcpu(w, curr).boosted:
        if task_struct(w, curr).state == TASK_RUNNING:
            rq.forced = curr
            return
    first, since_ns = NIL, 0
    for v in range(nr_vcpus):
        account = pvsched_vcpu(w, v)
        if account.boosted and task_struct(w, v).cpu == cpu and waits_in_queue(w, v):
            if first == NIL or account.boosted_since_ns < since_ns:
                first, since_ns = v, account.boosted_since_ns
    if first != NIL:
        rq.forced = first


@kjit
def yields_between_classes(w, me, target):
    """Whether a directed yield starts or ends at a boosted vCPU: real-time tasks have no yield_to()."""
    return pvsched_vcpu(w, me).boosted != 0 or pvsched_vcpu(w, target).boosted != 0
