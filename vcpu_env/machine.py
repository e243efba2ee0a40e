"""The façade: a machine built from a scenario and a policy, run for as long as asked, read, copied."""

import inspect
from typing import Any

import numpy as np

import vcpu_env.policy.pickled  # noqa: F401  (how policies are pickled)
from vcpu_env import __version__
from vcpu_env.base.errors import InputError, shown, whole_number
from vcpu_env.base.interrupts import run_interruptibly
from vcpu_env.base.jit import NIL, call
from vcpu_env.base.timeline import first_event
from vcpu_env.base.trace_ring import ALL_GROUPS
from vcpu_env.base.world import World, aligned_words
from vcpu_env.build.blueprint import blueprint_of
from vcpu_env.build.stall import check_stall
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
from vcpu_env.kernel.yield_types import BOOST_RULE, NR_BOOSTS, SCALE_ONE_Q16
from vcpu_env.policy.in_file import policy_of
from vcpu_env.policy.named import Policy, policy_named
from vcpu_env.policy.rules import MAX_PENALTY_NS, MAX_SCALE, RULE_FAILED, RuleError, failure
from vcpu_env.policy.view import FIRST_CANDIDATE
from vcpu_env.scenario.bounds import LONGEST_RUN_NS
from vcpu_env.scenario.model import Scenario

CONTROLS = {
    "vcpu_debooster_enabled": ("deboost_params", 2**31 - 1),
    "ipi_tracking_enabled": ("kvm_params", 1),
    "ipi_window_ns": ("kvm_params", 2**62),
    "enable_relaxed_boost": ("kvm_params", 1),
}
"""The series' run-time controls under their kernel names: the struct each is in, and its largest value."""

MOST_TRACE_EVENTS = 1 << 26


class Machine:
    """A simulated host with its VMs.

    Args:
        scenario: what the host and its VMs are.
        policy: a policy, the name of one (`vcpu_env.policy.named.POLICIES`) or of a file with one
            (`vcpu_env.policy.in_file`); in force from the scenario's `policy_from_ns`, before that the host runs stock.
        seed: of all randomness; the same seed gives the same run, bit for bit.
        trace_events: room for so many records of what happens from time 0 on (`base.trace_ring`), up to 2**26; 0: none.
        traced: the groups of records that are written.

    Raises:
        ValueError: unknown policy, workload or workload parameter, a seed outside 0..2**31-1, a ring that is none, or
            a machine that is too large (`build.size`).

    Example:
        >>> from vcpu_env import Machine, load_scenario
        >>> machine = Machine(load_scenario("dedup-1vm-2vcpu"), seed=7)
        >>> machine.run_until(1_000_000)
        True
        >>> branch = machine.fork()
        >>> branch.run_until(2_000_000)
        True
        >>> machine.now_ns, branch.now_ns, machine.next_event_ns > machine.now_ns
        (1000000, 2000000, True)
    """

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy | str = "stock",
        seed: int = 0,
        trace_events: int = 0,
        traced: int = ALL_GROUPS,
    ):
        if not isinstance(scenario, Scenario):
            raise InputError(f"scenario: value {shown(scenario)} (allowed: a Scenario; load_scenario() makes one)")
        if not isinstance(policy, Policy | str):
            raise InputError(f"policy: value {shown(policy)} (allowed: a Policy, the name of one, or FILE.py)")
        self.seed = whole_number("seed", seed, 0, 2**31 - 1)
        trace_events = whole_number("trace_events", trace_events, 0, MOST_TRACE_EVENTS)
        self.scenario = scenario
        self.policy = policy_of(policy) if isinstance(policy, str) else policy
        with np.errstate(over="ignore"):
            self._policy_due_ns: int | None = None if self.policy.keep_apart else scenario.policy_from_ns or None
            self.policy.check_kernel(scenario.host.kernel)
            first = self.policy if self._policy_due_ns is None else policy_named("stock")
            self.blueprint = blueprint_of(scenario, seed)
            self.world = build_world(self.blueprint, first, trace_events, traced)
            call(start_tasks, self.world.handle)

    @property
    def now_ns(self) -> int:
        """Simulated time."""
        return int(self.world["machine_clock"]["now_ns"][0])

    @property
    def policy_name(self) -> str:
        """Of the policy, as tables and traces show it."""
        return self.policy.name

    @property
    def next_event_ns(self) -> int:
        """Simulated time of the next event, `base.timeline.NEVER` if nothing is ever going to happen."""
        return first_event(self.world)[1]

    def run_until(self, end_ns: int) -> bool:
        """Run up to and including the absolute simulated time `end_ns`.

        Returns:
            False if the machine has stopped at a decision before that (policies with EXTERNAL rules only).

        Raises:
            RuleError: a rule gave an answer that is not allowed; the machine is lost.
            StalledError: time stands still; the machine is lost.
            ValueError: the decision at which the machine stands has not been answered, or `end_ns` is further than any
                run goes.
        """
        end_ns = whole_number("run_until", end_ns, 0, LONGEST_RUN_NS)
        if self.decision is not None:
            raise InputError(
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
        return bool(status == RUNNING)

    def _run(self, end_ns: int) -> int:
        return run_interruptibly(lambda: int(call(run_until, self.world.handle, end_ns)))

    @property
    def decision(self) -> np.void | None:
        """The view (`policy.view.YIELD_VIEW`) of the decision that the machine has stopped at; None if it has not.

        It is a reference: the next decision overwrites it. `target` is NIL in it if a target is to be chosen.
        """
        engine = self.world["engine"][0]
        return self.world["yield_view"][0] if engine["status"] == STOPPED_AT_DECISION else None

    def answer_target(self, answer: int, boost: int = BOOST_RULE, penalty_scale: float = 1.0) -> None:
        """Answer a target decision: 0 nobody, 1 as the kernel's loop would, 2 + i the i-th candidate of the view.

        `boost` (BOOST_*, see `kernel.v6_19.yield_boost`) is what the yield does for its target, `penalty_scale`
        (0..1024) the factor of a penalty. The answer is taken when the machine goes on.

        Raises:
            ValueError: the machine does not wait for a target, or the answer is not allowed; nothing has changed.
        """
        view = self._stopped_at(DECISION_TARGET, "answer_target")
        last = FIRST_CANDIDATE + int(view["nr_candidates"]) - 1
        answer = whole_number("answer_target", answer, 0, last)
        boost = whole_number("boost", boost, BOOST_RULE, NR_BOOSTS - 1)
        if not isinstance(penalty_scale, int | float | np.number) or not 0 <= penalty_scale <= MAX_SCALE:
            raise InputError(f"penalty_scale: value {shown(penalty_scale)} (allowed: 0..{MAX_SCALE})")
        view["boost"], view["penalty_scale_q16"] = boost, round(penalty_scale * SCALE_ONE_Q16)
        self._answer(answer)

    def answer_penalty(self, penalty_ns: int) -> None:
        """Answer a penalty decision: virtual time (ns) to charge the yielder with; the view holds the series' answer.

        Raises:
            ValueError: the machine does not wait for a penalty, or the answer is negative; nothing has changed.
        """
        self._stopped_at(DECISION_PENALTY, "answer_penalty")
        self._answer(whole_number("answer_penalty", penalty_ns, 0, MAX_PENALTY_NS))

    def _answer(self, answer: int) -> None:
        engine = self.world["engine"]
        engine["answer"], engine["status"] = answer, ANSWERED

    def _stopped_at(self, kind: int, call: str) -> np.void:
        view = self.decision
        if view is None or self.world["engine"]["decision_kind"][0] != kind:
            raise InputError(f"{call}: called where the machine does not wait for that answer")
        return view

    def check(self) -> None:
        """Raise RuleError if a rule failed or gave an answer that is not allowed, StalledError if time stands still."""
        check_stall(self.world, self.scenario)
        if self.world["engine"]["status"][0] == FAILED:
            view = self.world["yield_view"][0]
            where = f"for vCPU {view['vcpu']} at {self.now_ns} ns"
            raise RuleError(f"policy {self.policy.name}: {self._failure(view, where)}")

    def _failure(self, view: np.void, where: str) -> str:
        """What is wrong with a rule's answer to the decision of `view`."""
        of_target = view["target"] == NIL
        rule = self.policy.target_rule if of_target else self.policy.penalty_rule
        if inspect.isfunction(rule) and (raised := failure(rule, view, "target" if of_target else "penalty")):
            return f"{raised} ({where})"
        name = f"rule {rule.__name__}" if inspect.isfunction(rule) else "a rule"
        answer = int(self.world["engine"]["refused"][0])
        if answer == RULE_FAILED:
            return f"{name} failed {where}"
        last = FIRST_CANDIDATE + view["nr_candidates"] - 1
        if not of_target or not 0 <= answer <= last:
            allowed = f"0..{last}" if of_target else f"0..{MAX_PENALTY_NS} ns"
            return f"{name} answered {answer} {where} (allowed: {allowed})"
        return (
            f"{name} set boost {view['boost']}, penalty_scale_q16 {view['penalty_scale_q16']} {where} "
            f"(allowed: boosts {BOOST_RULE}..{NR_BOOSTS - 1}, scales 0..{MAX_SCALE * SCALE_ONE_Q16})"
        )

    def set_control(self, name: str, value: int) -> None:
        """Change one of the series' run-time controls, as an administrator would during a run.

        Raises:
            ValueError: no such control, or a value that it can't have.
        """
        if not isinstance(name, str) or name not in CONTROLS:
            raise InputError(f"control: value {shown(name)} (allowed: {', '.join(CONTROLS)})")
        struct, largest = CONTROLS[name]
        self.world[struct][name] = whole_number(name, value, 0, largest)

    def fork(self) -> "Machine":
        """An independent machine in the same state, with the same future."""
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__
        other.world = self.world.copy()
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> "Machine":
        return self.fork()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: the world as a value, without addresses of this process."""
        world = self.world.copy()
        world["decision_rules"]["target_address"] = world["decision_rules"]["penalty_address"] = 0
        state = {name: value for name, value in self.__dict__.items() if name not in ("world", "blueprint")}
        arrays = tuple(world.arrays.values())
        return state | {"pickled": (__version__, world.layout, arrays, world.words.tobytes())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        version, layout, arrays, content = state.pop("pickled")
        words = aligned_words(len(content) // 8)
        words[:] = np.frombuffer(content, np.int64)
        if version != __version__:
            raise ValueError(f"pickled machine: of version {version} (allowed: {__version__})")
        self.__dict__ |= state
        self.blueprint = blueprint_of(self.scenario, self.seed)
        self.world = World(list(arrays), words)
        if layout != self.world.layout:
            raise ValueError(f"pickled machine: of layout {layout} (allowed: {self.world.layout}, of this version)")
        if self._policy_due_ns is None:
            self.policy.put_addresses(self.world)

    def counters(self) -> dict[str, Any]:
        """Everything counted since time 0, under the names of kvm_stat and schedstat where these have one.

        What is under way is booked in a copy: a segment booked in two parts may round differently.
        """
        w = self.world.copy()
        settle(w.handle, self.now_ns)
        return counters(w, self.blueprint, self.now_ns)
