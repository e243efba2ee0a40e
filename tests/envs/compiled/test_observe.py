"""The observation: within its space, each feature as its table says, only the groups asked for; decision filters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    CROWDED,
    FLAT,
    HOST_TUNER,
    IDS,
    MSEC,
    PENALTY_SCALE,
    SMALL,
    STACKED,
    WIDE_YIELD,
    answer,
    make,
    make_vec,
    play,
    stack,
)
from tests.twin import observation as twin
from vcpu_env.base.random import draw
from vcpu_env.envs.compiled.observe import (
    CANDIDATE_FEATURES,
    FEATURES,
    GROUPS,
    NR_CANDIDATE_FEATURES,
    NR_FEATURES,
    feature_names,
    log_time,
    signed_log_time,
)
from vcpu_env.envs.compiled.tuner import TUNER_FEATURES
from vcpu_env.scenario import Scenario

SCENARIOS = {"small": SMALL, "flat": FLAT, "crowded": CROWDED, "stacked": STACKED}


@pytest.mark.core
@given(st.integers(-(2**62), 2**62))
def test_times_are_scaled_as_documented(time_ns):
    assert log_time(time_ns) == twin.log_time(time_ns)
    assert signed_log_time(time_ns) == twin.signed(time_ns)
    if time_ns >= 0:
        exact = min(np.log2(1 + time_ns / 1024) / 24, 1)
        assert abs(log_time(time_ns) - exact) < 0.045  # of one unit of 1.024 us, and of a chord of log2


@pytest.mark.core
def test_times_in_between():
    assert log_time(0) == 0 == log_time(1023)
    assert log_time(1_000_000) == pytest.approx(0.413, abs=1e-3)
    assert log_time(17_200_000_000) == 1.0 and log_time(2**62) == 1.0


@pytest.mark.parametrize("env_id", IDS)
def test_every_observation_lies_in_the_space(env_id):
    scenarios = [STACKED] if env_id == PENALTY_SCALE else list(SCENARIOS.values())
    batch = make_vec(env_id, 6, scenario=scenarios, horizon_ns=12 * MSEC, epoch_ns=200_000)
    observations, _ = batch.reset(seed=3)
    rng = np.random.default_rng(4)
    seen = np.zeros(observations.shape[1], bool)
    for _ in range(250):
        assert batch.observation_space.contains(observations)
        assert np.isfinite(observations).all()
        seen |= (observations != observations[0]).any(axis=0)
        masks = batch.action_masks() if batch.actions.nr_candidates else [None] * 6
        observations = batch.step(stack([answer(batch, rng, mask) for mask in masks]))[0]
    assert seen.sum() > (20 if env_id == HOST_TUNER else 40)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("env_id", [CANDIDATE_CHOICE, WIDE_YIELD, PENALTY_SCALE])
def test_every_feature_is_what_the_table_says(env_id, scenario):
    env = make(env_id, scenario=SCENARIOS[scenario], nr_candidates=7, horizon_ns=15 * MSEC)
    env.reset(seed=4)
    rng = np.random.default_rng(2)
    for _ in range(150):
        _, observation, _, truncated, _ = play(env, rng, 1)[0]
        assert (observation == twin.observe(env.machine.world, 7)).all()
        assert (observation[0] == 0) == (truncated or not env.machine.world["env_state"]["at_decision"][0])


def test_every_feature_tells_something():
    """Each takes more than one value somewhere."""
    names, moved = feature_names(2), set()
    posted = Scenario(**SMALL.model_dump() | {"kvm": {"apicv": "apicv"}})  # interrupts without EOI exits
    for env_id in (CANDIDATE_CHOICE, PENALTY_SCALE):
        env = make(env_id, scenario=[SMALL, posted, FLAT, STACKED], nr_candidates=2, horizon_ns=24 * MSEC)
        env.reset(seed=4)
        observations = np.array([step[1] for step in play(env, np.random.default_rng(2), 1500)])
        moved |= {
            name.split("[")[0]
            for name, values in zip(names, observations.T, strict=True)
            if len(set(values.tolist())) > 1
        }
    assert moved == {feature.name for feature in FEATURES + CANDIDATE_FEATURES}


def test_the_last_observation_tells_of_the_host_as_it_is_then():
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=2)
    while not env.lane.over:
        observation, *_, info = env.step(0)
    names = feature_names(env.config.nr_candidates)
    shown = {name for name, value in zip(names, observation, strict=True) if value != 0}
    assert shown <= {"busy", "load", "elapsed"}
    assert (observation == twin.observe(env.machine.world, env.config.nr_candidates)).all()
    assert info["action_mask"][:2].all() and not info["action_mask"][2:].any()


@settings(max_examples=10)
@given(st.sets(st.sampled_from(GROUPS)))
def test_hidden_groups_read_zero(groups):
    env, open_env = make(CANDIDATE_CHOICE, observe=sorted(groups)), make(CANDIDATE_CHOICE)
    hidden = set(GROUPS) - groups
    results = []
    for each in (env, open_env):
        each.reset(seed=5)
        results.append(play(each, np.random.default_rng(1), 15))
    table = list(FEATURES) + list(CANDIDATE_FEATURES) * env.config.nr_candidates
    covered = np.array([f.group in hidden for f in table])
    for ours, theirs in zip(*results, strict=True):
        assert (ours[1][covered] == 0).all()
        assert (ours[1][~covered] == theirs[1][~covered]).all()
        assert ours[2:4] == theirs[2:4]
    assert env.observation_space == open_env.observation_space


def test_names_and_table_agree():
    names = feature_names(3)
    assert len(names) == len(set(names)) == NR_FEATURES + 3 * NR_CANDIDATE_FEATURES
    assert names[NR_FEATURES] == "present[0]" and names[-1] == "queue_length[2]"
    assert len({feature.name for feature in TUNER_FEATURES}) == len(TUNER_FEATURES) == 29


def test_the_tuner_sees_the_epoch():
    """The features that `Machine.counters()` can tell."""
    env = make(HOST_TUNER, horizon_ns=20 * MSEC, epoch_ns=5 * MSEC)
    env.reset(seed=1)
    names = [feature.name for feature in TUNER_FEATURES]
    rng = np.random.default_rng(3)
    before = env.machine.counters()
    action = np.zeros(10, np.float32)
    while not env.lane.over:
        action = rng.uniform(-1, 1, 10).astype(np.float32)
        observation, *_, info = env.step(action)
        shown = dict(zip(names, observation.tolist(), strict=True))
        now = env.machine.counters()
        cpu_ns = 4 * info["elapsed_ns"]
        kvm = {key: now["kvm"][key] - before["kvm"][key] for key in now["kvm"]}
        yields = {key: now["deboost"][key] - before["deboost"][key] for key in now["deboost"]}
        terms = info["reward_terms"]
        per_ms = {
            "decisions": now["decisions"] - before["decisions"],
            "yields": yields["yields"],
            "pause_exits": kvm["pause_exits"],
            "halt_exits": kvm["halt_exits"],
            "irq_exits": kvm["irq_exits"],
            "switches": now["sched"]["nr_switches"] - before["sched"]["nr_switches"],
        }
        expected = {name: twin.log_time(int(n * 1_048_576 / (cpu_ns / 1e6))) for name, n in per_ms.items()}
        expected |= {name: terms[name] * 4e6 / cpu_ns for name in ("useful", "spin")}
        expected["unfairness"] = abs(terms["unfairness"]) * 4e6 / cpu_ns
        for name, key in (("same_rq", "ple_yield_same_rq"), ("ran", "ple_yield_ran")):
            expected[f"yields_{name}"] = twin.share(kvm[key], max(yields["yields"], 1))
        for name in ("applied", "limited", "cross_rq"):
            expected[f"yields_{name}"] = twin.share(yields[name], max(yields["yields"], 1))
        assert {name: shown[name] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert observation[-10:].tolist() == action.tolist()
        assert shown["vcpus"] == 8 / 32
        before = now


# Which decisions are asked


def asked(decision_filter: str, env_id: str = CANDIDATE_CHOICE, scenario=SMALL) -> tuple[list[dict], dict]:
    """The decisions put to an agent that always answers as the rule, and what the episode came to."""
    env = make(env_id, scenario=scenario, decision_filter=decision_filter, horizon_ns=30 * MSEC, jitter_ns=0)
    _, info = env.reset(seed=7)
    log = []
    action = 1 if env_id == CANDIDATE_CHOICE else np.zeros(1, np.float32)
    while not env.lane.over:
        view = env.machine.world["yield_view"][0]
        if env.machine.world["env_state"]["at_decision"][0]:
            n = int(view["nr_candidates"])
            log.append(
                {
                    "now_ns": int(view["now_ns"]),
                    "vcpu": int(view["vcpu"]),
                    "same_rq": bool(view["same_rq"][:n].any()),
                    "acts": bool((view["good"][:n] | view["preempted"][:n]).any()),
                }
            )
        *_, info = env.step(action)
    return log, info["episode_totals"] | {"key": int(env.machine.world["env_state"]["sample_key"][0])}


def up_to(log: list[dict], everything: list[dict]) -> list[dict]:
    """An episode begins, and so ends, at the first decision that is asked: what lies within the other one."""
    return [decision for decision in log if decision["now_ns"] <= everything[-1]["now_ns"]]


def test_every_nth():
    everything, _ = asked("every_spin")
    log, totals = asked("every_nth:3")
    assert len(everything) > 30
    assert log == everything[::3]
    assert totals["decisions"] == len(log) and totals["unasked"] == len(everything) - len(log)


def test_sampled():
    everything, totals = asked("every_spin")
    log, _ = asked("sampled:0.25")
    key = np.int64(totals["key"])
    chosen = [decision for i, decision in enumerate(everything) if draw(key, i + 1) < 2**30]
    assert up_to(log, everything) == chosen
    assert 0 < len(log) < len(everything)
    assert asked("sampled:1")[0] == everything


def test_period():
    everything, _ = asked("every_spin")
    expected, next_ns = [], 0
    for decision in everything:
        if decision["now_ns"] >= next_ns:
            expected.append(decision)
            next_ns = decision["now_ns"] + 500_000
    assert asked("period_ns:500_000")[0] == expected
    assert 1 < len(expected) < len(everything)


@pytest.mark.parametrize(
    ("decision_filter", "fact", "scenario"),
    [("same_rq", "same_rq", FLAT), ("rule_acts", "acts", FLAT), ("rule_acts", "acts", SMALL)],
    ids=["same_rq", "rule_acts", "rule_acts small"],
)
def test_filters_by_what_could_be_done(decision_filter, fact, scenario):
    everything, _ = asked("every_spin", scenario=scenario)
    log, totals = asked(decision_filter, scenario=scenario)
    chosen = [decision for decision in everything if decision[fact]]
    assert up_to(log, everything) == chosen
    assert 0 < len(chosen) < len(everything)
    assert all(decision[fact] for decision in log) and log
    assert totals["decisions"] == len(log)


def test_penalty_decisions_are_asked_by_these_filters_too():
    everything, _ = asked("every_spin", PENALTY_SCALE, STACKED)
    assert everything
    for decision_filter in ("same_rq", "rule_acts"):
        assert asked(decision_filter, PENALTY_SCALE, STACKED)[0] == everything
    assert asked("every_nth:2", PENALTY_SCALE, STACKED)[0] == everything[::2]


# Privileged


def test_awaited_names_a_candidate_that_holds_what_the_spinner_wants():
    env = make(CANDIDATE_CHOICE, privileged=True, horizon_ns=10 * MSEC)
    _, info = env.reset(seed=1)
    named = 0
    while not env.lane.over:
        view = env.machine.world["yield_view"][0]
        awaited = int(view["awaited"])
        listed = view["candidate"][: min(int(view["nr_candidates"]), 16)].tolist()
        assert info["awaited"] == (2 + listed.index(awaited) if awaited in listed else 0)
        assert info["action_mask"][info["awaited"]]
        named += info["awaited"] > 0
        *_, info = env.step(info["awaited"])
    assert named > 3
    assert info["awaited"] == 0
    assert "awaited" not in make(CANDIDATE_CHOICE).reset(seed=1)[1]
