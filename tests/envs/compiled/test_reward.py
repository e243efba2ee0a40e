"""The reward: what an episode earned, counted again from the machine's documented counters."""

from copy import deepcopy

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    FLAT,
    HOST_TUNER,
    IDS,
    JOINT_YIELD,
    MSEC,
    SMALL,
    STACKED,
    WIDE_YIELD,
    answer,
    make,
)
from vcpu_env.envs.compiled.types import REWARD_TERMS
from vcpu_env.envs.config import EnvConfigError
from vcpu_env.envs.start import vm_shares
from vcpu_env.scenario import Scenario

UNEQUAL = at_once(
    Scenario(
        name="unequal",
        host={"cpus": 4, "cgroups": "libvirt"},
        groups=[{"name": "gold", "weight": 300}, {"name": "spare", "weight": 50}],
        vms=[
            {"name": "a", "vcpus": 4, "workload": "dedup", "weight": 200, "group": "gold"},
            {"name": "b", "vcpus": 4, "workload": "dbench", "group": "gold"},
            {"name": "c", "vcpus": 3, "workload": "vips"},
        ],
    )
)
SCENARIOS = {
    scenario.name: at_once(Scenario(**scenario.model_dump(exclude_unset=True) | {"run": {"warmup_ns": 400 * MSEC}}))
    for scenario in (SMALL, FLAT, STACKED, UNEQUAL)
}
"""Warmed up for long enough to know what a unit of work is worth."""


def terms_of(env, first: dict, last: dict) -> dict[str, float]:
    """Changes between two readings of `Machine.counters()`, as the terms are documented: ms a CPU, ms a VM, 1000 a
    CPU."""
    scenario = env.machine.scenario
    cpus, units_ns = scenario.host.cpus, env.machine.world["vm_account"]["unit_ns"].tolist()
    change = [
        {key: vm[key] - was[key] for key in vm if isinstance(vm[key], int | float)}
        for vm, was in zip(last["vms"], first["vms"], strict=True)
    ]
    run_ns = [vm["run_ns"] for vm in change]
    shares = vm_shares(scenario)
    useful = sum(vm["user_ns"] + vm["kernel_ns"] - vm["spin_ns"] - vm["irq_ns"] - vm["cold_lost_ns"] for vm in change)
    wrong = sum(abs(run - sum(run_ns) * share) for run, share in zip(run_ns, shares, strict=True)) / 2
    return {
        "work": sum(vm["work_units"] * unit for vm, unit in zip(change, units_ns, strict=True)) / 1e6 / len(change),
        "useful": useful / 1e6 / cpus,
        "spin": sum(vm["spin_ns"] for vm in change) / 1e6 / cpus,
        "unfairness": wrong / 1e6 / cpus,
        "switches": (last["sched"]["nr_switches"] - first["sched"]["nr_switches"]) / 1e3 / cpus,
        "ipi_latency": sum(vm["ipi_latency_ns"] for vm in change) / 1e6 / cpus,
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("env_id", IDS)
def test_an_episode_earns_what_the_counters_say(env_id, scenario):
    weights = {"work": 0.5, "useful": 1.0, "spin": -0.25, "unfairness": -0.1, "switches": -2.0, "ipi_latency": -0.01}
    arguments = {"scenario": SCENARIOS[scenario], "reward": weights, "horizon_ns": 20 * MSEC, "epoch_ns": 3 * MSEC}
    env = make(env_id, **arguments)
    env.reset(seed=6)
    rng, first = np.random.default_rng(3), deepcopy(env.machine.counters())
    rewards, summed = [], dict.fromkeys(REWARD_TERMS, 0.0)
    while not env.lane.over:
        _, reward, _, _, info = env.step(answer(env, rng))
        assert reward == pytest.approx(sum(weights[term] * info["reward_terms"][term] for term in weights), abs=1e-9)
        rewards.append(reward)
        for term, value in info["reward_terms"].items():
            summed[term] += value
    expected = terms_of(env, first, env.machine.counters())
    totals = {term: info["episode_totals"][term] for term in REWARD_TERMS}
    # shares are kept to a millionth, which of 20 ms is 20 ns a VM
    assert totals["unfairness"] == pytest.approx(expected.pop("unfairness"), abs=1e-4)
    for term, value in expected.items():
        assert totals[term] == pytest.approx(value, abs=1e-9), term
    assert summed == pytest.approx(totals, abs=1e-9)
    assert sum(rewards) == pytest.approx(sum(weights[term] * totals[term] for term in weights), abs=1e-9)
    assert expected["useful"] > 1 and expected["switches"] > 0


def test_terms_without_a_weight_are_worth_nothing():
    env = make(CANDIDATE_CHOICE, reward={"spin": -2.0})
    env.reset(seed=1)
    while not env.lane.over:
        _, reward, _, _, info = env.step(1)
        assert reward == pytest.approx(-2 * info["reward_terms"]["spin"], abs=1e-12)


def test_the_default_is_useful_time_less_a_tenth_of_the_unfair():
    env = make(WIDE_YIELD)
    env.reset(seed=1)
    _, reward, _, _, info = env.step(np.array([1, 0]))
    terms = info["reward_terms"]
    assert reward == pytest.approx(terms["useful"] - 0.1 * terms["unfairness"], abs=1e-12)


def test_work_is_worth_the_time_that_the_rule_takes_for_it():
    """Over long the rule earns about 1 ms of work per ms."""
    patient = at_once(Scenario(**FLAT.model_dump() | {"run": {"warmup_ns": 300 * MSEC}}))
    env = make(HOST_TUNER, scenario=patient, horizon_ns=300 * MSEC, epoch_ns=50 * MSEC)
    env.reset(seed=2)
    while not env.lane.over:
        *_, info = env.step(np.zeros(10, np.float32))
    assert info["episode_totals"]["work"] == pytest.approx(300, rel=0.15)


def test_time_and_elapsed():
    env = make(JOINT_YIELD)
    _, info = env.reset(seed=1)
    assert info["elapsed_ns"] == 0 and set(info["reward_terms"].values()) == {0.0}
    time_ns = start_ns = info["time_ns"]
    while not env.lane.over:
        *_, info = env.step(np.array([1, 3]))
        assert info["time_ns"] == env.machine.now_ns == time_ns + info["elapsed_ns"]
        time_ns = info["time_ns"]
    assert time_ns == start_ns + env.config.horizon_ns


def test_totals_add_up_from_step_to_step():
    env = make(CANDIDATE_CHOICE, max_decisions=3, horizon_ns=5 * MSEC)
    _, info = env.reset(seed=1)
    expected = dict.fromkeys(info["episode_totals"], 0)
    for step in range(4):
        assert info["episode_totals"] == pytest.approx(expected, abs=1e-9)
        if step == 3:
            break
        *_, truncated, info = env.step(0)
        assert truncated == (step == 2)
        expected["decisions"] += 1
        for term, change in info["reward_terms"].items():
            expected[term] += change
    assert [type(info["episode_totals"][name]) for name in ("decisions", "unasked", "useful")] == [int, int, float]


@pytest.mark.parametrize(
    ("scenario", "shares"),
    [
        (SMALL, [1 / 2, 1 / 2]),
        (FLAT, [1 / 2, 1 / 2]),
        # gold, spare (nobody in it), machine.slice: 300 and 100; in gold 200 and 100
        (UNEQUAL, [3 / 4 * 2 / 3, 3 / 4 * 1 / 3, 1 / 4]),
    ],
    ids=["small", "flat", "unequal"],
)
def test_what_a_vm_is_entitled_to(scenario, shares):
    assert vm_shares(scenario) == pytest.approx(shares)


def test_work_must_be_measurable():
    with pytest.raises(EnvConfigError, match=r"reward.work: vm-1 of small completes \d units in the warm-up"):
        make(CANDIDATE_CHOICE, reward={"work": 1.0}).reset(seed=0)
