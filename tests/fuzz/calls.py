"""Surfaces that are called from Python: machines, batches, resets, changes of scenarios."""

import functools
from typing import Any

import numpy as np
from gymnasium.error import Error, InvalidAction, ResetNeeded
from hypothesis import strategies as st

from tests.fuzz import mutate
from tests.fuzz.invent import NONSENSE, data_of
from tests.fuzz.running import environment
from tests.fuzz.surface import Surface
from tests.helpers.small_env import CANDIDATE_CHOICE, CHOOSING, IDS, SMALL, make_vec
from vcpu_env.base.errors import InputError
from vcpu_env.envs import batch
from vcpu_env.envs.config import EnvConfig, EnvConfigError
from vcpu_env.envs.lane import SnapshotError
from vcpu_env.machine import CONTROLS, Machine
from vcpu_env.policy.policy import Policy
from vcpu_env.policy.rules import EXTERNAL
from vcpu_env.scenario import Scenario, ScenarioError, apply_overrides, list_scenarios, load_scenario

MSEC = 1_000_000
NR_ENVS = 2
OVERRIDES = [
    "host.hz=250", "vms.*.lock=fifo", "vms.0.params.clients=8", "run.duration_ns=1_000_000", 'host.cgroups="libvirt"',
    "host.costs.tick_ns=0", "vms=[]", "host_tasks.0.program.0.run_ns=5", "workloads.x.threads.0.count=2", "name=a",
]  # fmt: skip
OUTSIDE = Policy("outside", "for tests", frozenset(range(1, 6)), target_rule=EXTERNAL, penalty_rule=EXTERNAL)
BATCHES = (batch.CandidateChoiceVectorEnv, batch.WideYieldVectorEnv)
whole_numbers = st.one_of(st.integers(-3, 20), st.integers(-(2**65), 2**65))


def overrides() -> st.SearchStrategy[tuple[str, list[str]]]:
    """A shipped scenario and changes of it."""
    changes = st.lists(st.one_of(st.sampled_from(OVERRIDES), mutate.texts_like(OVERRIDES)), min_size=1, max_size=3)
    return st.tuples(st.sampled_from(list_scenarios()), changes)


def try_overrides(given: tuple[str, list[str]]) -> Scenario:
    return apply_overrides(load_scenario(given[0]), given[1])


def machines() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A call of a machine that waits for a target, with an argument or two."""
    numbers = st.one_of(NONSENSE, whole_numbers)
    names = st.one_of(NONSENSE, st.sampled_from(sorted(CONTROLS)))
    calls = {
        "Machine": {"scenario": NONSENSE, "policy": NONSENSE, "seed": numbers, "trace_events": numbers},
        "run_until": {"end_ns": numbers},
        "answer_target": {"answer": numbers, "boost": numbers, "penalty_scale": numbers},
        "answer_penalty": {"penalty_ns": numbers},
        "set_control": {"name": names, "value": numbers},
    }
    required = {"run_until": 1, "answer_target": 1, "answer_penalty": 1, "set_control": 2}

    def of(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
        both = list(calls[name].items())
        least = required.get(name, 0)
        return st.tuples(st.just(name), st.fixed_dictionaries(dict(both[:least]), optional=dict(both[least:])))

    return st.sampled_from(sorted(calls)).flatmap(of)


@functools.cache
def waiting() -> Machine:
    """A machine that has stopped at a decision about a target."""
    machine = Machine(SMALL, OUTSIDE, 3)
    machine.run_until(100 * MSEC)
    assert machine.decision is not None
    return machine


def try_machine(given: tuple[str, dict[str, Any]]) -> None:
    name, arguments = given
    if name == "Machine":
        Machine(**{"scenario": SMALL} | arguments)
        return
    machine = waiting().fork()
    before = machine.world.words.copy()
    try:
        getattr(machine, name)(**arguments)
    except InputError:
        assert (machine.world.words == before).all(), "what is refused changes nothing"
        raise


def batches() -> st.SearchStrategy[tuple[Any, dict[str, Any]]]:
    """Arguments of a batch."""
    others = st.fixed_dictionaries(
        {},
        optional={
            "num_envs": st.one_of(NONSENSE, whole_numbers),
            "max_episode_steps": NONSENSE,
            "autoreset_mode": st.one_of(NONSENSE, st.sampled_from(["SameStep", "NextStep", "Disabled"])),
            "threads": st.one_of(NONSENSE, whole_numbers),
            "render_mode": NONSENSE,
            "rule": NONSENSE,
        },
    )
    return st.tuples(st.sampled_from(BATCHES), st.one_of(st.just({}), data_of(EnvConfig, share=0.1)), others)


def try_batch(given: tuple[Any, dict[str, Any], dict[str, Any]]) -> None:
    kind, config, others = given
    if not isinstance(others.get("num_envs"), int) or others["num_envs"] <= 64 or others["num_envs"] > batch.MOST_ENVS:
        kind(**config | {"scenario": SMALL} | others)


@functools.cache
def batch_of(env_id: str) -> Any:
    """A batch of this process, under way."""
    envs = make_vec(env_id, NR_ENVS)
    envs.reset(seed=1)
    return envs


def batch_calls() -> st.SearchStrategy[tuple[str, str, Any]]:
    """An environment, a call of its batch, and what is given to it."""
    several = st.lists(NONSENSE, min_size=NR_ENVS, max_size=NR_ENVS)
    options = st.dictionaries(st.sampled_from(["reset_mask", "scenario", "seed", ""]), st.one_of(NONSENSE, several))
    given = {
        "step": st.one_of(NONSENSE, several, st.lists(several, max_size=3)),
        "restore": st.one_of(NONSENSE, several),
        "seed": st.one_of(NONSENSE, several, whole_numbers),
        "options": st.one_of(NONSENSE, options),
    }
    return st.sampled_from(sorted(given)).flatmap(
        lambda call: st.tuples(st.sampled_from(CHOOSING), st.just(call), given[call])
    )


def try_batch_call(given: tuple[str, str, Any]) -> None:
    env_id, call, value = given
    envs = batch_of(env_id)
    before = [lane.running.world.words.copy() for lane in envs.lanes]
    try:
        if call in ("seed", "options"):
            envs.reset(**{call: value})
        else:
            getattr(envs, call)(value)
    except (InvalidAction, SnapshotError):
        assert all((lane.running.world.words == words).all() for lane, words in zip(envs.lanes, before, strict=True))
        raise


def resets() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Arguments of a reset."""
    options = st.dictionaries(st.sampled_from(["scenario", "seed", ""]), st.one_of(NONSENSE, st.just(SMALL)))
    given = {"seed": st.one_of(NONSENSE, whole_numbers), "options": st.one_of(NONSENSE, options)}
    return st.tuples(st.sampled_from(IDS), st.fixed_dictionaries({}, optional=given))


def try_reset(given: tuple[str, dict[str, Any]]) -> None:
    environment(given[0]).reset(**given[1])


def check_episodes_go_on(_: Any) -> None:
    """Whatever was tried before, the next step is an ordinary one."""
    env = environment(CANDIDATE_CHOICE)
    if not env.lane.over:
        assert np.isfinite(env.step(1)[1])


SURFACES = [
    Surface("override", overrides, try_overrides, (ScenarioError,)),
    Surface("machine", machines, try_machine, (InputError,)),
    Surface("batch", batches, try_batch, (EnvConfigError,)),
    Surface("batch call", batch_calls, try_batch_call, (EnvConfigError, InvalidAction, ResetNeeded, SnapshotError)),
    Surface("reset", resets, try_reset, (EnvConfigError, Error), check_episodes_go_on),
]
