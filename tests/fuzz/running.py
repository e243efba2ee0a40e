"""Surfaces that run machines: scenarios, environments, traces, rules."""

import dataclasses
import functools
import gzip
from typing import Any

import numpy as np
from hypothesis import strategies as st

from baselines.policies import PolicyError, choose_policies
from tests.fuzz import mutate
from tests.fuzz.files import ROOT, on_disk, scenarios, try_scenario
from tests.fuzz.invent import NONSENSE, data_of
from tests.fuzz.surface import Surface
from tests.helpers.invariants import assert_invariants, next_event_ns
from tests.helpers.small_env import CANDIDATE_CHOICE, IDS, SMALL, answer, make
from vcpu_env.envs import host_env, start
from vcpu_env.envs.action import InvalidAction
from vcpu_env.envs.config import EnvConfig, EnvConfigError
from vcpu_env.envs.lane import SnapshotError
from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES
from vcpu_env.policy.rules import RuleError
from vcpu_env.scenario import Run, Scenario, ScenarioError
from vcpu_env.trace.replay import TraceError, check_file, replayed_lines

MSEC = 1_000_000
MOST_VCPUS = 48
MOST_TASKS = 96
MOST_OBJECTS = 2000
EVENTS = 40
LARGEST_TRACE = 40_000
PRESETS = (host_env.DirectedYieldEnv, host_env.CandidateChoiceEnv, host_env.WideYieldEnv, host_env.HostTunerEnv)


def is_small(scenario: Scenario) -> bool:
    """Whether it is run in a moment."""
    objects = [
        thing.count
        for workload in scenario.workloads.values()
        for things in (workload.locks.values(), workload.queues.values(), workload.threads)
        for thing in things
    ]
    threads = sum(thread.count for vm in scenario.expanded_vms for thread in vm.threads)
    vcpus = sum(vm.vcpus for vm in scenario.expanded_vms)
    tasks = len(scenario.expanded_host_tasks) + threads
    return (
        vcpus <= MOST_VCPUS
        and tasks <= MOST_TASKS
        and scenario.host.cpus <= MOST_VCPUS
        and sum(objects) <= MOST_OBJECTS
    )


def check_scenario(scenario: Scenario) -> None:
    """It survives being written down; its machine keeps the invariants and has one future; so has its environment."""
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario, "written as JSON and read"
    assert Scenario(**scenario.model_dump(exclude_unset=True)) == scenario, "what was given, given again"
    if not is_small(scenario):
        return
    try:
        machine = Machine(scenario, "series-v2", 3)
    except ValueError:  # of a shipped workload's parameters
        return
    for _ in range(EVENTS):
        machine.run_until(next_event_ns(machine))
        assert_invariants(machine)
    for _ in range(3):
        machine.run_until(machine.now_ns + MSEC)
        assert_invariants(machine)
    fork = machine.fork()
    for each in (machine, fork):
        each.run_until(machine.now_ns + MSEC if each is machine else machine.now_ns)
    assert (machine.world.words == fork.world.words).all(), "a fork has the same future"
    if scenario.vms:
        check_environment(scenario.model_copy(update={"run": Run(warmup_ns=MSEC)}))


def check_environment(scenario: Scenario) -> None:
    """Its snapshot is restored, by itself and by another."""
    arguments = {"scenario": scenario, "warm_starts": 1, "jitter_ns": 0, "horizon_ns": MSEC}
    env, other = (host_env.CandidateChoiceEnv(**arguments) for _ in range(2))
    try:
        env.reset(seed=1)
        snapshot = env.snapshot()
        for each in (env, other):
            each.restore(snapshot)
        assert (env.machine.world.words == other.machine.world.words).all(), "restore(snapshot())"
        assert env.snapshot() == snapshot, "the snapshot of what was restored"
    finally:
        start._warmed.clear()
        start._starts.clear()


def traces() -> st.SearchStrategy[str]:
    paths = sorted((ROOT / "tests" / "golden").rglob("*.jsonl.gz"))
    texts = [gzip.decompress(path.read_bytes()).decode() for path in paths]
    return mutate.texts_like([text for text in texts if len(text) <= LARGEST_TRACE])


def try_trace(given: str) -> None:
    path = on_disk("fuzz.jsonl", given)
    check_file(path)
    replayed_lines(path)


@functools.cache
def environment(env_id: str) -> Any:
    """An environment of this process, under way."""
    env = make(env_id)
    env.reset(seed=1)
    return env


def snapshots() -> st.SearchStrategy[Any]:
    """Another thing, or a snapshot of which one field is changed."""
    whole = environment(CANDIDATE_CHOICE).snapshot()
    names = [field.name for field in dataclasses.fields(whole)]
    one = st.tuples(st.sampled_from(names), NONSENSE).map(lambda new: dataclasses.replace(whole, **dict([new])))
    words = mutate.bytes_like([whole.words]).map(lambda words: dataclasses.replace(whole, words=words))
    return st.one_of(NONSENSE, one, words)


def try_snapshot(given: Any) -> None:
    env = environment(CANDIDATE_CHOICE)
    before, state = env.machine.world.words.copy(), env.np_random.bit_generator.state
    try:
        env.restore(given)
    except SnapshotError:
        assert (env.machine.world.words == before).all() and env.np_random.bit_generator.state == state
        raise


def actions() -> st.SearchStrategy[Any]:
    """Nonsense, the form of an action with nonsense in it, and small numbers, which are often right."""
    small = st.one_of(st.integers(-1, 4), st.floats(-1, 1, width=32))
    right = st.one_of(small, st.lists(small, min_size=1, max_size=2))
    several = st.lists(NONSENSE, min_size=1, max_size=3)
    pairs = st.fixed_dictionaries({"candidate": NONSENSE, "penalty_scale": NONSENSE})
    return st.tuples(st.sampled_from(IDS), st.one_of(NONSENSE, several, pairs, right))


def try_action(given: tuple[str, Any]) -> None:
    env_id, action = given
    env = environment(env_id)
    if env.lane.over:
        env.reset()
    before = env.machine.world.words.copy()
    try:
        env.step(action)
    except InvalidAction:
        assert (env.machine.world.words == before).all(), "a refused action changes nothing"
        raise


def arguments() -> st.SearchStrategy[Any]:
    others = st.fixed_dictionaries(
        {},
        optional={
            "scenario": st.one_of(NONSENSE, st.just(SMALL), st.lists(st.tuples(st.just(SMALL), NONSENSE), max_size=2)),
            "rule": st.one_of(NONSENSE, st.sampled_from(sorted(POLICIES))),
            "render_mode": st.one_of(NONSENSE, st.sampled_from(["ansi", "rgb_array"])),
            "colour": NONSENSE,
        },
    )
    return st.tuples(st.sampled_from(PRESETS), data_of(EnvConfig, share=0.3), others)


def try_arguments(given: tuple[Any, dict[str, Any], dict[str, Any]]) -> Any:
    kind, config, others = given
    return kind(**config | {"scenario": SMALL} | others)


def check_arguments(env: Any) -> None:
    """An episode of an environment with them begins and goes on; a snapshot comes back."""
    config = env.config
    if config.jitter_ns > 10 * MSEC or config.warm_starts > 4 or config.epoch_ns > 10 * MSEC:
        return
    if env.mix.scenarios != (SMALL,):
        return
    rng = np.random.default_rng(1)
    env.reset(seed=1)
    for _ in range(3):
        if env.lane.over:
            break
        env.step(answer(env, rng))
    words = env.machine.world.words.copy()
    env.restore(env.snapshot())
    assert (env.machine.world.words == words).all()


RULES = [
    "def choose_target(view):\n    for i in range(view.nr_candidates):\n        if view.preempted[i] == 1:\n"
    "            return 2 + i\n    return 1\n",
    "def choose_target(view):\n    return 1 + view.nr_candidates\n",
    "def choose_penalty(view):\n    return view.series_penalty_ns // 2\n",
    "def choose_target(view):\n    best, most = 1, 0\n    for i in range(view.nr_candidates):\n"
    "        if view.waited_ns[i] > most:\n            best, most = 2 + i, view.waited_ns[i]\n    return best\n",
]


def try_rule(given: str) -> None:
    policy = choose_policies([str(on_disk("fuzz.py", given))], POLICIES)[1]
    policy.machine(SMALL, 3, Machine).run_until(MSEC)


SURFACES = [
    Surface("scenario", scenarios, try_scenario, (ScenarioError,), check_scenario, 10, compiled=True),
    Surface("trace", traces, try_trace, (TraceError,), compiled=True),
    Surface("snapshot", snapshots, try_snapshot, (SnapshotError,)),
    Surface("action", actions, try_action, (InvalidAction,)),
    Surface("arguments", arguments, try_arguments, (EnvConfigError,), check_arguments, 5),
    Surface("rule", lambda: mutate.texts_like(RULES), try_rule, (PolicyError, RuleError)),
    Surface("rule compiled", lambda: mutate.texts_like(RULES), try_rule, (PolicyError, RuleError), compiled=True),
]
