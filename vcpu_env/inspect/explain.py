"""One directed yield explained: who spun on what, whom the scan looked at, who was taken and why, what came of it."""

from collections.abc import Sequence
from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.inspect.awaited import what_it_waits_for
from vcpu_env.inspect.names import tasks_of
from vcpu_env.inspect.network import network_of
from vcpu_env.inspect.outcome import HORIZON_NS, follow, outcome, under
from vcpu_env.inspect.siblings import FILTERS, sibling_tests
from vcpu_env.inspect.standing import decisions
from vcpu_env.machine import Machine
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.policy.policy import Policy


def explain(
    stand: Machine, policy_name: str, against: Sequence[Policy | LearnedPolicy] = (), horizon_ns: int = HORIZON_NS
) -> dict[str, Any]:
    """Everything about the decision at which a machine stands, as JSON can say it.

    Args:
        policy_name: of the policy in force, which is stock's before the machine's own takes over.
        against: policies that decide from the same state, on copies.
    """
    w = stand.world
    view, params = w["yield_view"][0], w["kvm_params"][0]
    me = int(view["vcpu"])
    told: dict[str, Any] = {
        "scenario": stand.scenario.name,
        "kernel": stand.scenario.host.kernel,
        "policy": policy_name,
        "seed": stand.seed,
        "yield": decisions(stand),
        "time_ns": stand.now_ns,
        "vcpu": me,
        "cpu": int(view["cpu"]),
        "names": [task.comm for task in tasks_of(stand.blueprint)],
        "waits_for": what_it_waits_for(stand, me),
        "ple_window_ns": int(view["ple_window_ns"]),
        "pause_exits": int(view["pause_exits"]),
        "kernel_mode_wanted": bool(view["kernel_mode"]),
        "filter": FILTERS[int(params["filter"])],
        "relaxed_round": bool(params["relaxed_round"] and params["enable_relaxed_boost"]),
        "siblings": sibling_tests(stand, me),
    }
    followed = follow(stand, horizon_ns)
    told |= {"network": network_of(stand, followed), "outcome": outcome(followed)}
    told["hit"] = hit(told["outcome"], told["waits_for"]["awaited"])
    told["against"] = {}
    for policy in against:
        other = under(stand, policy)
        followed = follow(other, horizon_ns)
        came = outcome(followed)
        told["against"][policy.name] = {
            "filter": FILTERS[int(other.world["kvm_params"]["filter"][0])],
            "verdicts": {row["vcpu"]: row["verdict"] for row in sibling_tests(other, me)},
            "network": network_of(other, followed),
            "outcome": came,
            "hit": hit(came, told["waits_for"]["awaited"]),
        }
    return told


def hit(came: dict[str, Any], awaited: int) -> bool:
    """Whether the yield went to the vCPU that was waited for."""
    return awaited != NIL and came.get("yield_to", {}).get("target") == awaited
