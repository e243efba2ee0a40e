"""What a rule sees at a decision: the spinning vCPU, its siblings in scan order, and the series' own penalty."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.world import World
from vcpu_env.kernel.fair_class import lags, lead_over, nr_competitors, nr_levels
from vcpu_env.kernel.types import cpu_rq, rq_totals, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.yield_types import BOOST_RULE, SCALE_ONE_Q16
from vcpu_env.kvm.ipi import kvm_vcpu_is_ipi_receiver
from vcpu_env.kvm.on_spin import candidates
from vcpu_env.kvm.ple import ple_window_ns
from vcpu_env.kvm.types import MAX_CANDIDATES, candidate, kvm, kvm_vcpu
from vcpu_env.policy.rules import RULE_KERNEL, call_rule

NOBODY, AS_KERNEL, FIRST_CANDIDATE = range(3)
"""Answers of a target rule: re-enter the guest without yielding; the kernel's loop; `FIRST_CANDIDATE` + i: the i-th."""


_LIST = (MAX_CANDIDATES,)
yield_view = Struct(
    "yield_view",
    [
        ("now_ns", "i8"),
        # the spinning vCPU
        ("vcpu", "i8"),  # who spins (vCPU ids are unique on the host)
        ("cpu", "i8"),
        ("kernel_mode", "i8"),  # only a sibling that was preempted in kernel mode is wanted
        ("lag_ns", "i8"),  # of the spinner's own entity: positive if it has had less than its share
        ("chain_lag_ns", "i8"),  # the smallest lag on the levels of its cgroup chain: its own entity's, its VM's, ...
        ("slice_left_ns", "i8"),  # virtual time to its deadline
        ("pause_exits", "i8"),  # of the spinner, so far
        ("ple_window_ns", "i8"),  # grows with each exit, falls back when it is scheduled in
        ("spin_ns", "i8"),  # since its first PAUSE exit of this spell of spinning
        ("since_yield_ns", "i8"),  # since it last yielded to somebody
        ("pending_ipi", "i8"),  # IPI tracking: its last IPI is unanswered
        ("ipi_age_ns", "i8"),  # since it sent that IPI
        # its CPU and its cgroup
        ("nr_running", "i8"),  # tasks on its CPU
        ("h_nr_queued", "i8"),  # tasks below its own queue; at a penalty decision: below the lowest common queue
        ("depth", "i8"),  # cgroup levels above its own queue; at a penalty decision: above the lowest common queue
        ("limiter_age_ns", "i8"),  # since the series' limiter on this CPU last let a yield pass
        # its VM and the host
        ("nr_vcpus", "i8"),
        ("nr_cpus", "i8"),
        ("nr_busy_cpus", "i8"),
        ("nr_runnable", "i8"),  # tasks on all CPUs
        ("nr_candidates", "i8"),
        # one entry a candidate: siblings that pass the kernel's ready, halt and spin-loop checks, in scan order
        ("candidate", "i8", _LIST),  # vCPU id
        ("good", "i8", _LIST),  # the kernel's own filter (base or series) would take it
        ("preempted", "i8", _LIST),  # lost its CPU; else it woke up and waits for one
        ("in_kernel", "i8", _LIST),  # was in kernel mode when it lost its CPU
        ("ipi_receiver", "i8", _LIST),  # IPI tracking: the spinner's last IPI went to it, unanswered
        ("ipi_sender", "i8", _LIST),  # IPI tracking: the last IPI to the spinner came from it
        ("unserved", "i8", _LIST),  # an interrupt waits for it
        ("same_rq", "i8", _LIST),
        ("same_node", "i8", _LIST),  # it waits on a CPU of the spinner's NUMA node
        ("in_spin_loop", "i8", _LIST),  # it yielded from a spin loop itself, and has not come back yet
        ("candidate_spin_ns", "i8", _LIST),  # if so: since the first PAUSE exit of its spell of spinning
        ("candidate_lag_ns", "i8", _LIST),
        ("candidate_chain_lag_ns", "i8", _LIST),  # below 0: some level of its chain is not eligible
        ("waited_ns", "i8", _LIST),  # since it was queued
        ("since_boost_ns", "i8", _LIST),  # since somebody last yielded to it
        ("gap_ns", "i8", _LIST),  # same run queue: its lead in vruntime at the lowest common queue, else 0
        ("queue_length", "i8", _LIST),  # tasks on its CPU
        # penalty decisions only, in virtual time of the yielder's entity at the lowest common queue; else 0
        ("target", "i8"),  # NIL at a target decision
        ("gran_ns", "i8"),
        ("need_ns", "i8"),  # the target's lead, as the series computes it (u64)
        ("series_penalty_ns", "i8"),
        ("awaited", "i8"),  # privileged: the vCPU that the spinner waits for, NIL if none
        # a target rule may set these: what the yield does for its target
        ("boost", "i8"),  # BOOST_* (kernel.v6_19.yield_boost); BOOST_RULE: as the kernel's own yield_to()
        ("penalty_scale_q16", "i8"),  # of a penalty, or of a loan; `SCALE_ONE_Q16` is 1
    ],
    single=True,
)
YIELD_VIEW = yield_view.dtype
"""What rules are compiled for."""

decision_rules = Struct(
    "decision_rules",
    [("target_rule", "i8"), ("penalty_rule", "i8"), ("target_address", "i8"), ("penalty_address", "i8")],
    single=True,
)


def view_arrays() -> list[StructArray]:
    """The struct arrays of the decision points."""
    return [decision_rules.array(), yield_view.array()]


def init_view(world: World) -> None:
    """Both decisions are answered by the kernel's own rules."""
    world["decision_rules"]["target_rule"] = world["decision_rules"]["penalty_rule"] = RULE_KERNEL
    world["yield_view"]["target"] = world["yield_view"]["awaited"] = NIL


@kjit
def fill_view(w, me, awaited, now_ns):
    """Describe the decision that vCPU `me` has to take now."""
    view, task, vcpu = yield_view(w), task_struct(w, me), kvm_vcpu(w, me)
    se = sched_entity(w, me)
    view.now_ns = now_ns
    view.vcpu = me
    view.cpu = task.cpu
    view.kernel_mode = vcpu.scan_kernel_mode
    view.lag_ns, view.chain_lag_ns = lags(w, me)
    view.slice_left_ns = se.deadline - se.vruntime
    view.pause_exits = vcpu.pause_exits
    view.ple_window_ns = ple_window_ns(w, me)
    view.spin_ns = now_ns - vcpu.spin_since_ns
    view.since_yield_ns = now_ns - vcpu.last_yield_ns
    view.pending_ipi = vcpu.pending_ipi
    view.ipi_age_ns = now_ns - vcpu.ipi_time_ns
    rq = cpu_rq(w, task.cpu)
    view.nr_running = rq.nr_running
    view.h_nr_queued = nr_competitors(w, me)
    view.depth = nr_levels(w, me)
    view.limiter_age_ns = now_ns - rq.yield_deboost_last_time_ns
    view.awaited = awaited
    view.target = NIL
    view.gran_ns, view.need_ns, view.series_penalty_ns = 0, 0, 0
    view.boost, view.penalty_scale_q16 = BOOST_RULE, SCALE_ONE_Q16
    describe_host(w)
    view.nr_vcpus = kvm(w, vcpu.vm).nr_vcpus
    count = candidates(w, me, view.kernel_mode, now_ns)
    view.nr_candidates = count
    for i in range(count):
        describe_candidate(w, me, i, now_ns)


@kjit
def rule_target(w, own_rule):
    """What the policy's own rule answers, or AS_KERNEL without one, where somebody else might have answered."""
    if own_rule:
        return call_rule(decision_rules(w).target_address, yield_view(w))
    return AS_KERNEL


@kjit
def describe_host(w):
    """Fill in the view's facts about all CPUs."""
    view, totals = yield_view(w), rq_totals(w)
    view.nr_cpus = sched_tunables(w).nr_cpus
    view.nr_busy_cpus, view.nr_runnable = totals.nr_busy_cpus, totals.nr_running


@kjit
def describe_candidate(w, me, i, now_ns):
    """Fill in the i-th entry of the view's lists."""
    view, c = yield_view(w), candidate(w, i)
    vcpu, task = kvm_vcpu(w, c.vcpu), task_struct(w, c.vcpu)
    same_rq = task.cpu == view.cpu
    view.candidate[i] = c.vcpu
    view.good[i] = c.good
    view.preempted[i] = vcpu.preempted
    view.in_kernel[i] = vcpu.preempted_in_kernel
    view.ipi_receiver[i] = kvm_vcpu_is_ipi_receiver(w, me, c.vcpu, now_ns)
    view.ipi_sender[i] = kvm_vcpu(w, me).last_ipi_sender == vcpu.vcpu_idx
    view.unserved[i] = vcpu.event | vcpu.pir_pending
    view.same_rq[i] = same_rq
    view.same_node[i] = cpu_rq(w, task.cpu).node == cpu_rq(w, view.cpu).node
    view.in_spin_loop[i] = vcpu.in_spin_loop
    view.candidate_spin_ns[i] = now_ns - vcpu.spin_since_ns if vcpu.in_spin_loop else 0
    view.candidate_lag_ns[i], view.candidate_chain_lag_ns[i] = lags(w, c.vcpu)
    view.waited_ns[i] = now_ns - task.last_queued_ns if task.last_queued_ns != NIL else 0
    view.since_boost_ns[i] = now_ns - vcpu.last_boost_ns
    view.gap_ns[i] = 0
    if same_rq:
        view.gap_ns[i] = lead_over(w, c.vcpu, me)
    view.queue_length[i] = cpu_rq(w, task.cpu).nr_running
