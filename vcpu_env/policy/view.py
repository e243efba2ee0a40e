"""What a rule sees at a decision: the spinning vCPU, its siblings in scan order, and the series' own penalty."""

import numpy as np

from vcpu_env._jit import NIL, kjit, struct
from vcpu_env.kernel.entity import avg_vruntime
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, task_struct
from vcpu_env.kvm.ipi import kvm_vcpu_is_ipi_receiver
from vcpu_env.kvm.on_spin import candidates
from vcpu_env.kvm.types import MAX_CANDIDATES, candidate, kvm_vcpu
from vcpu_env.policy.rules import RULE_KERNEL
from vcpu_env.world import StructArray, World

NOBODY, AS_KERNEL, FIRST_CANDIDATE = range(3)
"""Answers of a target rule: re-enter the guest without yielding; the kernel's loop; `FIRST_CANDIDATE` + i: the i-th."""

_LIST = (MAX_CANDIDATES,)
YIELD_VIEW = np.dtype(
    [
        ("now_ns", "i8"),
        ("vcpu", "i8"),  # who spins (vCPU ids are unique on the host)
        ("cpu", "i8"),
        ("kernel_mode", "i8"),  # only a sibling that was preempted in kernel mode is wanted
        ("lag_ns", "i8"),  # of the spinner's own entity: positive if it has had less than its share
        ("slice_left_ns", "i8"),  # virtual time to its deadline
        ("nr_running", "i8"),  # tasks on its CPU
        ("pause_exits", "i8"),  # of the spinner, so far
        ("nr_candidates", "i8"),
        # one entry a candidate: siblings that pass the kernel's ready, halt and spin-loop checks, in scan order
        ("candidate", "i8", _LIST),  # vCPU id
        ("good", "i8", _LIST),  # the kernel's own filter (base or series) would take it
        ("preempted", "i8", _LIST),  # lost its CPU; else it woke up and waits for one
        ("in_kernel", "i8", _LIST),  # was in kernel mode when it lost its CPU
        ("ipi_receiver", "i8", _LIST),  # IPI tracking: the spinner's last IPI went to it, unanswered
        ("unserved", "i8", _LIST),  # an interrupt waits for it
        ("same_rq", "i8", _LIST),
        ("candidate_lag_ns", "i8", _LIST),
        ("waited_ns", "i8", _LIST),  # since it was queued
        # penalty decisions only, in virtual time of the yielder's entity at the lowest common ancestor
        ("target", "i8"),  # NIL at a target decision
        ("gran_ns", "i8"),
        ("need_ns", "i8"),  # the target's lead, as the series computes it (u64)
        ("h_nr_queued", "i8"),
        ("series_penalty_ns", "i8"),
        ("awaited", "i8"),  # privileged: the vCPU that the spinner waits for, NIL if none
    ],
    align=True,
)
DECISION_RULES = np.dtype(
    [("target_rule", "i8"), ("penalty_rule", "i8"), ("target_address", "i8"), ("penalty_address", "i8")], align=True
)

decision_rules = struct(18, DECISION_RULES)
yield_view = struct(19, YIELD_VIEW)


def view_arrays() -> list[StructArray]:
    """The struct arrays of the decision points."""
    return [StructArray(18, "decision_rules", DECISION_RULES, 1), StructArray(19, "yield_view", YIELD_VIEW, 1)]


def init_view(world: World) -> None:
    """Both decisions are answered by the kernel's own rules."""
    world["decision_rules"][0] = (RULE_KERNEL, RULE_KERNEL, 0, 0)
    world["yield_view"]["target"] = world["yield_view"]["awaited"] = NIL


@kjit
def fill_view(w, me, awaited, now_ns):
    """Describe the decision that vCPU `me` has to take now."""
    view, task = yield_view(w, 0), task_struct(w, me)
    se = sched_entity(w, me)
    view.now_ns = now_ns
    view.vcpu = me
    view.cpu = task.cpu
    view.kernel_mode = kvm_vcpu(w, me).scan_kernel_mode
    view.lag_ns = avg_vruntime(w, se.cfs_rq) - se.vruntime
    view.slice_left_ns = se.deadline - se.vruntime
    view.nr_running = cpu_rq(w, task.cpu).nr_running
    view.pause_exits = kvm_vcpu(w, me).pause_exits
    view.awaited = awaited
    view.target = NIL
    count = candidates(w, me, view.kernel_mode, now_ns)
    view.nr_candidates = count
    for i in range(count):
        describe_candidate(w, me, i, now_ns)


@kjit
def describe_candidate(w, me, i, now_ns):
    """Fill in the i-th entry of the view's lists."""
    view, c = yield_view(w, 0), candidate(w, i)
    vcpu, task, se = kvm_vcpu(w, c.vcpu), task_struct(w, c.vcpu), sched_entity(w, c.vcpu)
    view.candidate[i] = c.vcpu
    view.good[i] = c.good
    view.preempted[i] = vcpu.preempted
    view.in_kernel[i] = vcpu.preempted_in_kernel
    view.ipi_receiver[i] = kvm_vcpu_is_ipi_receiver(w, me, c.vcpu, now_ns)
    view.unserved[i] = vcpu.event | vcpu.pir_pending
    view.same_rq[i] = task.cpu == view.cpu
    view.candidate_lag_ns[i] = avg_vruntime(w, se.cfs_rq) - se.vruntime if cfs_rq(w, se.cfs_rq).nr_queued > 0 else 0
    view.waited_ns[i] = now_ns - task.last_queued_ns if task.last_queued_ns != NIL else 0
