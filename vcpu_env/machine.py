"""The façade: a machine built from a scenario and a policy, run for as long as asked, read, copied."""

from typing import Any

import numpy as np

from vcpu_env.base.interrupts import run_interruptibly
from vcpu_env.base.jit import call
from vcpu_env.build.blueprint import blueprint_of
from vcpu_env.build.world import build_world
from vcpu_env.counters import counters
from vcpu_env.engine.loop import run_until, settle, start_tasks
from vcpu_env.engine.search import run_search
from vcpu_env.engine.state import (
    ANSWERED,
    DECISION_PENALTY,
    DECISION_TARGET,
    FAILED,
    RUNNING,
    STOPPED_AT_DECISION,
)
from vcpu_env.kernel.yield_types import BOOST_RULE, NR_BOOSTS, PENALTY_SCALE_ONE
from vcpu_env.policy.named import Policy, policy_named
from vcpu_env.policy.rules import RuleError
from vcpu_env.policy.view import FIRST_CANDIDATE
from vcpu_env.scenario.model import Scenario

CONTROLS = {
    "vcpu_debooster_enabled": ("deboost_params", 2**31 - 1),
    "ipi_tracking_enabled": ("kvm_params", 1),
    "ipi_window_ns": ("kvm_params", 2**62),
    "enable_relaxed_boost": ("kvm_params", 1),
}
"""The series' run-time controls under their kernel names: the struct each is in, and its largest value."""


class Machine:
    """A simulated host with its VMs.

    Args:
        scenario: what the host and its VMs are.
        policy: a policy or the name of one (`vcpu_env.policy.named.POLICIES`); in force from the scenario's
            `policy_from_ns`, before that the host runs stock.
        seed: of all randomness; the same seed gives the same run, bit for bit.
        trace_events: length of the ring of scheduler events (`kernel.sched_trace`); 0: they are not recorded.

    Raises:
        ValueError: unknown policy, workload or workload parameter, or a seed outside 0..2**31-1.
    """

    def __init__(self, scenario: Scenario, policy: Policy | str = "stock", seed: int = 0, trace_events: int = 0):
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed: value {seed} (allowed: 0..{2**31 - 1})")
        self.scenario = scenario
        self.policy = policy_named(policy) if isinstance(policy, str) else policy
        self.seed = seed
        with np.errstate(over="ignore"):
            self._policy_due_ns: int | None = None if self.policy.keep_apart else scenario.policy_from_ns or None
            first = self.policy if self._policy_due_ns is None else policy_named("stock")
            self.blueprint = blueprint_of(scenario, seed)
            self.world = build_world(self.blueprint, first, trace_events)
            start_tasks(self.world.handle)

    @property
    def now_ns(self) -> int:
        """Simulated time."""
        return int(self.world["machine_clock"]["now_ns"][0])

    def run_until(self, end_ns: int) -> bool:
        """Run up to and including the absolute simulated time `end_ns`.

        Returns:
            False if the machine has stopped at a decision before that (policies with EXTERNAL rules only).

        Raises:
            RuleError: a rule gave an answer that is not allowed; the machine is lost.
            ValueError: the decision at which the machine stands has not been answered.
        """
        if self.decision is not None:
            raise ValueError(
                "run_until: called at an unanswered decision (allowed: after answer_target, answer_penalty)"
            )
        if self._policy_due_ns is not None and end_ns >= self._policy_due_ns:
            self._run(self._policy_due_ns)
            self._policy_due_ns = None
            self.policy.apply(self.world)
        if self.policy.search is None or self._policy_due_ns is not None:
            status = self._run(end_ns)
        else:
            status = run_search(self.world, self.policy.search, self.policy.target_rule is not None, end_ns)
        self.check()
        return status == RUNNING

    def _run(self, end_ns: int) -> int:
        return run_interruptibly(lambda: call(run_until, self.world.handle, end_ns))

    @property
    def decision(self) -> np.void | None:
        """The view (`policy.view.YIELD_VIEW`) of the decision that the machine has stopped at; None if it has not.

        It is a reference: the next decision overwrites it. `target` is NIL in it if a target is to be chosen.
        """
        engine = self.world["engine"][0]
        return self.world["yield_view"][0] if engine["status"] == STOPPED_AT_DECISION else None

    def answer_target(self, answer: int, boost: int = BOOST_RULE, penalty_scale: float = 1.0) -> None:
        """Answer a target decision: 0 nobody, 1 as the kernel's loop would, 2 + i the i-th candidate of the view.

        `boost` (BOOST_*, see `policy.boost`) is what the yield does for its target, `penalty_scale` (0..1024) the
        factor of a penalty. The answer is taken when the machine goes on.

        Raises:
            ValueError: the machine does not wait for a target, or the answer is not allowed; nothing has changed.
        """
        view = self._stopped_at(DECISION_TARGET, "answer_target")
        last = FIRST_CANDIDATE + int(view["nr_candidates"]) - 1
        if not 0 <= answer <= last:
            raise ValueError(f"answer_target: value {answer} (allowed: 0..{last})")
        if not BOOST_RULE <= boost < NR_BOOSTS:
            raise ValueError(f"boost: value {boost} (allowed: {BOOST_RULE}..{NR_BOOSTS - 1})")
        if not 0 <= penalty_scale <= 1024:
            raise ValueError(f"penalty_scale: value {penalty_scale} (allowed: 0..1024)")
        view["boost"], view["penalty_scale"] = boost, round(penalty_scale * PENALTY_SCALE_ONE)
        self._answer(int(answer))

    def answer_penalty(self, penalty_ns: int) -> None:
        """Answer a penalty decision: virtual time (ns) to charge the yielder with; the view holds the series' answer.

        Raises:
            ValueError: the machine does not wait for a penalty, or the answer is negative; nothing has changed.
        """
        self._stopped_at(DECISION_PENALTY, "answer_penalty")
        if not 0 <= penalty_ns < 2**62:
            raise ValueError(f"answer_penalty: value {penalty_ns} (allowed: 0..{2**62 - 1})")
        self._answer(int(penalty_ns))

    def _answer(self, answer: int) -> None:
        engine = self.world["engine"]
        engine["answer"], engine["status"] = answer, ANSWERED

    def _stopped_at(self, kind: int, call: str) -> np.void:
        view = self.decision
        if view is None or self.world["engine"]["decision_kind"][0] != kind:
            raise ValueError(f"{call}: called where the machine does not wait for that answer")
        return view

    def check(self) -> None:
        """Raise RuleError if a rule has given an answer that is not allowed."""
        engine = self.world["engine"][0]
        if engine["status"] == FAILED:
            view = self.world["yield_view"][0]
            raise RuleError(
                f"policy {self.policy.name}: a rule answered {engine['refused']} for vCPU {view['vcpu']} "
                f"at {self.now_ns} ns (allowed: targets 0..{FIRST_CANDIDATE + view['nr_candidates'] - 1}, "
                "penalties from 0)"
            )

    def set_control(self, name: str, value: int) -> None:
        """Change one of the series' run-time controls, as an administrator would during a run.

        Raises:
            ValueError: no such control, or a value that it can't have.
        """
        if name not in CONTROLS:
            raise ValueError(f"control: value '{name}' (allowed: {', '.join(CONTROLS)})")
        struct, largest = CONTROLS[name]
        if not 0 <= value <= largest:
            raise ValueError(f"{name}: value {value} (allowed: 0..{largest})")
        self.world[struct][name] = value

    def fork(self) -> "Machine":
        """An independent machine in the same state, with the same future."""
        other = object.__new__(Machine)
        other.scenario, other.policy, other.seed = self.scenario, self.policy, self.seed
        other.blueprint, other._policy_due_ns = self.blueprint, self._policy_due_ns
        other.world = self.world.copy()
        return other

    def counters(self) -> dict[str, Any]:
        """Everything counted since time 0, under the names of kvm_stat and schedstat where these have one.

        What is under way is booked in a copy: a segment booked in two parts may round differently.
        """
        w = self.world.copy()
        settle(w.handle, self.now_ns)
        return counters(w, self.blueprint, self.now_ns)
