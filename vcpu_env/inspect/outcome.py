"""What comes of one decision: its machine is answered as a policy does, and followed for a while."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import GUEST_SEGMENT, SCHED_SWITCH
from vcpu_env.guest.run import awaited_vcpu
from vcpu_env.guest.types import SEG_COMPUTE
from vcpu_env.inspect.recorder import Recording, record_from_here
from vcpu_env.inspect.records import BOOSTS
from vcpu_env.inspect.standing import answer_by_policy
from vcpu_env.inspect.yields import Yield, yields
from vcpu_env.kernel.yield_types import SCALE_ONE_Q16
from vcpu_env.machine import Machine
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.play import Decided, PolicyMachine
from vcpu_env.policy.policy import Policy
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, NOBODY, fill_view

HORIZON_NS = 20_000_000
"""How long a decision is followed."""
ROOM = 1 << 20
"""Records that this may take."""


def under(stand: Machine, policy: Policy | LearnedPolicy) -> Machine:
    """The same decision with another policy in force from here on.

    What that policy would have noted before, such as who sent IPIs, is not there.
    """
    other = stand.without_network() if isinstance(stand, PolicyMachine) else stand.fork()
    fresh = Machine(stand.scenario, "stock", stand.seed).world
    for struct, field in stand.policy.settings:
        other.world[struct][field] = fresh[struct][field]
    if isinstance(policy, LearnedPolicy):
        other = PolicyMachine.from_here(other, policy)
    else:
        policy.apply(other.world)
        other.policy, other._policy_due_ns = policy, None
    me = int(other.world["yield_view"]["vcpu"][0])
    with np.errstate(over="ignore"):
        fill_view(other.world.handle, me, awaited_vcpu(other.world.handle, me), other.now_ns)
    return other


@dataclass(frozen=True)
class Followed:
    """A decision that was answered, and what happened then.

    Attributes:
        me, cpu: the spinner, and its CPU.
        answer: the rule's; boost, penalty_scale: what it asked for beside it.
        decided: what a network saw and said, if one was asked.
        recording: from the decision on.
    """

    me: int
    cpu: int
    answer: int
    boost: str
    penalty_scale: float
    candidates: list[int]
    recording: Recording
    decided: Decided | None = None


def follow(stand: Machine, horizon_ns: int = HORIZON_NS) -> Followed:
    """Answer a decision as the policy in force does, and run on for a while. The machine that stands there stays."""
    machine = stand.fork()
    decided = answer_by_policy(machine)
    view, engine = machine.world["yield_view"][0], machine.world["engine"][0]
    answer, candidates = int(engine["answer"]), view["candidate"][: int(view["nr_candidates"])].tolist()
    boost = BOOSTS[int(view["boost"])]
    penalty_scale = int(view["penalty_scale_q16"]) / SCALE_ONE_Q16
    me, cpu = int(view["vcpu"]), int(view["cpu"])
    recording = record_from_here(machine, machine.now_ns + horizon_ns, ROOM)
    return Followed(me, cpu, answer, boost, penalty_scale, candidates, recording, decided)


def outcome(found: Followed) -> dict[str, Any]:
    """What was answered, what yield_to() did, who ran next on both CPUs, when the spinner was served."""
    now_ns, me = found.recording.from_ns, found.me
    mine = [y for y in yields(found.recording) if y.vcpu == me and y.time_ns == now_ns]
    first = mine[0] if mine else Yield(now_ns, found.cpu, me)
    told: dict[str, Any] = {"answer": answer_words(found), "attempts": first.attempts}
    switches = found.recording.of_kind(SCHED_SWITCH)
    here = switches[switches["cpu"] == found.cpu]
    left = len(here) and here[0]["time_ns"] == now_ns and here[0]["who"] == me
    told["spinner_keeps_cpu"] = not left
    told["next_on_spinners_cpu"] = int(here[0]["a"]) if left else me
    if first.target != NIL:
        told["yield_to"] = of_target(first) | {"ran_next": first.ran}
        there = switches[(switches["cpu"] == first.target_cpu) & (switches["time_ns"] >= now_ns)]
        told["next_on_targets_cpu"] = int(there[0]["a"]) if len(there) else NIL
        told["target_runs_after_ns"] = first_run(switches, first.target, now_ns)
    segments = found.recording.of_kind(GUEST_SEGMENT)
    served = segments[(segments["who"] == me) & (segments["a"] == SEG_COMPUTE)]
    told["spinner_served_after_ns"] = int(served[0]["time_ns"]) - now_ns if len(served) else None
    return told


def answer_words(found: Followed) -> dict[str, Any]:
    """The rule's answer."""
    if found.answer == NOBODY:
        return {"kind": "nobody"}
    about = {"boost": found.boost, "penalty_scale": found.penalty_scale}
    if found.answer == AS_KERNEL:
        return {"kind": "as_kernel"} | about
    return {"kind": "candidate", "vcpu": found.candidates[found.answer - FIRST_CANDIDATE]} | about


def of_target(found: Yield) -> dict[str, Any]:
    """What yield_to() did."""
    return {
        "target": found.target,
        "target_cpu": found.target_cpu,
        "same_run_queue": found.target_cpu == found.cpu,
        "lag_ns": found.lag_ns,
        "chain_lag_ns": found.chain_lag_ns,
        "waited_ns": found.waited_ns,
        "boost": found.boost,
        "penalty_ns": found.penalty_ns,
        "credit_ns": found.credit_ns,
        "no_penalty_because": found.skip,
    }


def first_run(switches: np.ndarray, v: int, now_ns: int) -> int | None:
    """When a vCPU gets a CPU next, ns from now; None: not within the time that was followed."""
    runs = switches[switches["a"] == v]
    return int(runs[0]["time_ns"]) - now_ns if len(runs) else None
