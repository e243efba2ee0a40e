"""A question and what is run for it: the host at each ratio, its VMs alone, the knobs, the best of them together."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from baselines.cells import MACHINE, Cell, Row, source_id
from baselines.evaluate import run_cells
from baselines.overcommit.answer import Cost, Crowd, Effect, costs, effect, ranked
from baselines.overcommit.hosts import QuestionError, alone, at_ratio, kinds_of, ratio_of
from baselines.overcommit.knobs import Knob, Setting, setting, settings
from baselines.policies import PolicySource, choose_policies
from baselines.store import Store
from vcpu_env import __version__
from vcpu_env.build.guests import guest_plans
from vcpu_env.executors.base import Executor
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import Scenario

TOGETHER = 3
"""Of so many of the best knobs every combination is tried."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        host: the host as it is.
        at: it at the ratio at which knobs are compared, and for each VM which of the host's it is a copy of.
        crowds: it at each ratio.
        seeds: every host is run with each.
        knobs: what is turned.
    """

    host: Scenario
    at: tuple[Scenario, Sequence[int]]
    crowds: Sequence[tuple[Scenario, Sequence[int]]]
    seeds: range
    knobs: Sequence[Knob]


@dataclass
class Answer:
    """What came out.

    Attributes:
        costs: of each ratio, for all VMs and each workload; `own`: of the host that knobs are compared on, each VM.
        effects: of each knob and combination, the largest gain first.
        refused: knobs that cannot be turned here, and why.
        rows: of all cells.
    """

    question: Question
    costs: list[Cost] = field(default_factory=list)
    own: list[Cost] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    refused: Mapping[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


def ask(host: Scenario, ratios: Sequence[float], at: float | None, seeds: int, knobs: Sequence[Knob]) -> Question:
    """A question about a host.

    Args:
        at: the ratio at which knobs are compared; None: the host as it is.

    Raises:
        QuestionError, ScenarioError: it cannot be asked.
    """
    if not host.vms:
        raise QuestionError(f"HOST: '{host.name}' has no VMs (allowed: hosts with VMs)")
    own = (host, list(range(len(host.expanded_vms)))) if at is None else at_ratio(host, at)
    crowds: dict[int, tuple[Scenario, Sequence[int]]] = {}
    for ratio in ratios:
        made = at_ratio(host, ratio)
        crowds.setdefault(len(made[1]), made)
    for scenario, _ in (own, *crowds.values()):
        try:
            guest_plans(scenario)
        except ValueError as error:
            raise QuestionError(f"HOST: {error}") from None
    return Question(host, own, list(crowds.values()), range(seeds), knobs)


class Study:
    """Runs what a question needs.

    Args:
        executor: where its cells are run.
        machine: import path of the machine.
    """

    def __init__(self, question: Question, executor: Executor, machine: str = MACHINE):
        self.question, self.executor, self.machine = question, executor, machine
        names = ["stock", *(knob.policy for knob in question.knobs)]
        self.policies: dict[str, PolicySource] = {p.label: p for p in choose_policies(names, POLICIES)}
        self.found: dict[str, Row] = {}

    def manifest(self) -> dict[str, Any]:
        """Everything that the answer depends on."""
        question = self.question
        scenarios = [question.host, question.at[0], *(scenario for scenario, _ in question.crowds)]
        return {
            "version": __version__,
            "source": source_id(),
            "experiment": "overcommit",
            "title": f"what overcommit costs {question.host.name}",
            "policies": [{"label": policy.label, "digest": policy.digest} for policy in self.policies.values()],
            "seeds": [0, len(question.seeds)],
            "knobs": [knob.name for knob in question.knobs],
            "cases": [{"variant": "", "scenario": scenario.model_dump(mode="json")} for scenario in scenarios],
        }

    @property
    def name(self) -> str:
        """``overcommit-HASH``: the same for the same question to the same simulator."""
        content = json.dumps(self.manifest(), sort_keys=True)
        return f"overcommit-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def cells(self, scenario: Scenario, policy: str = "stock") -> list[Cell]:
        """The cells of a host, a seed each."""
        return [Cell(scenario, self.policies[policy], seed) for seed in self.question.seeds]

    def run(self, wanted: Sequence[tuple[Scenario, str]], store: Store) -> None:
        """Run all cells of some hosts that the store does not hold."""
        cells = [cell for one in wanted for cell in self.cells(*one)]
        self.found |= run_cells(cells, store, self.executor, self.machine)

    def crowd(self, scenario: Scenario, origins: Sequence[int], policy: str = "stock") -> Crowd:
        """A host that has been run."""
        return Crowd(scenario, list(origins), [self.found[cell.key] for cell in self.cells(scenario, policy)])

    def answer(self, store: Store) -> Answer:
        """Run what the store does not hold yet, and say what came out."""
        question, answer = self.question, Answer(self.question)
        kinds = kinds_of(question.host)
        lonely = {place: alone(question.host, place) for place in dict.fromkeys(kinds)}
        hosts = [question.at, *question.crowds]
        single, answer.refused = settings(question.knobs, question.at[0])
        self.run(
            [
                *((scenario, "stock") for scenario in lonely.values()),
                *((scenario, "stock") for scenario, _ in hosts),
                *((one.scenario, one.policy) for one in single),
            ],
            store,
        )
        rates = {place: self.crowd(scenario, [place]).rates()[:, 0] for place, scenario in lonely.items()}
        base = {place: rates[kind] for place, kind in enumerate(kinds)}
        for scenario, origins in question.crowds:
            answer.costs += costs(self.crowd(scenario, origins), base, by_vm=False)
        answer.own = costs(self.crowd(*question.at), base, by_vm=True)
        effects = self.effects(single)
        together = self.combinations(effects)
        self.run([(one.scenario, one.policy) for one in together], store)
        answer.effects = ranked([*effects, *self.effects(together)])
        answer.rows = list({id(row): row for row in self.found.values()}.values())
        return answer

    def effects(self, turned: Sequence[Setting]) -> list[Effect]:
        """What settings that have been run give."""
        scenario, origins = self.question.at
        plain = self.crowd(scenario, origins)
        return [effect(one, self.crowd(one.scenario, origins, one.policy), plain) for one in turned]

    def combinations(self, effects: Sequence[Effect]) -> list[Setting]:
        """Every combination of the best few knobs that help and need no patch."""
        best = [one.setting.knobs[0] for one in ranked(effects) if one.gain.low > 0.0 and not one.is_patch][:TOGETHER]
        found = []
        for count in range(2, len(best) + 1):
            for knobs in itertools.combinations(best, count):
                try:
                    found.append(setting(knobs, self.question.at[0]))
                except QuestionError:
                    continue
        return found


def summed_up(scenario: Scenario) -> str:
    """How many vCPUs on how many CPUs, of what kernel."""
    vcpus = int(np.sum([vm.vcpus * vm.count for vm in scenario.vms]))
    return f"{vcpus} vCPUs on {scenario.host.cpus} CPUs, {ratio_of(scenario):.3g}:1, Linux {scenario.host.kernel}"
