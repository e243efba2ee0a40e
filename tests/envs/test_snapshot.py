"""Snapshots, restores and forks: the same future, whatever happens to the original; nothing half restored."""

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.paths import ROOT
from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    FLAT,
    HOST_TUNER,
    IDS,
    MSEC,
    SMALL,
    answer,
    make,
    make_vec,
    play,
    same,
    stack,
)
from vcpu_env.envs.lane import SnapshotError
from vcpu_env.policy.fingerprint import fingerprint, sources
from vcpu_env.policy.named import Policy
from vcpu_env.scenario import Run, Scenario, apply_overrides, list_scenarios, load_scenario

BRIEF = {"horizon_ns": 400_000, "warm_starts": 1}


def future(env, steps: int = 25) -> list:
    return play(env, np.random.default_rng(5), steps)


def digest(results) -> str:
    return hashlib.sha256(pickle.dumps(results)).hexdigest()


@settings(max_examples=15)
@given(env_id=st.sampled_from(IDS), seed=st.integers(0, 10_000), steps=st.integers(0, 40))
def test_a_fork_has_the_same_future_and_leaves_the_original_alone(env_id, seed, steps):
    env, undisturbed = make(env_id), make(env_id)
    for each in (env, undisturbed):
        each.reset(seed=seed)
        play(each, np.random.default_rng(seed), steps)
    fork = env.fork()
    forked = future(fork)
    assert same(future(env), forked)
    assert same(future(undisturbed), forked)
    later = fork.fork()
    assert same(future(later), future(fork))


@settings(max_examples=15)
@given(env_id=st.sampled_from(IDS), seed=st.integers(0, 10_000), steps=st.integers(0, 40))
def test_a_snapshot_brings_the_same_future_back(env_id, seed, steps):
    env = make(env_id)
    env.reset(seed=seed)
    before = play(env, np.random.default_rng(seed), steps)
    snapshot = env.snapshot()
    copy = pickle.loads(pickle.dumps(snapshot))
    assert copy == snapshot
    first = future(env)
    other = make(env_id)
    for target in (env, other):
        observation, info = target.restore(copy)
        if before:
            assert same(observation, before[-1][1])
            assert info["time_ns"] == before[-1][4]["time_ns"]
        assert same(future(target), first)
    assert copy == snapshot


def test_an_episode_that_is_over_stays_over():
    short = {"max_decisions": 1, "horizon_ns": 5 * MSEC}
    env = make(CANDIDATE_CHOICE, **short)
    env.reset(seed=1)
    *_, info = env.step(0)
    for other in (env.fork(), make(CANDIDATE_CHOICE, **short)):
        if other.lane.machine is None:
            assert same(other.restore(env.snapshot())[1], info)
        assert other.lane.over
        assert same(other.reset(), env.fork().reset())


def test_a_fork_before_the_first_reset_is_an_environment():
    assert same(make(CANDIDATE_CHOICE).fork().reset(seed=3), make(CANDIDATE_CHOICE).reset(seed=3))


def test_a_snapshot_is_understood_by_another_process():
    """Its machine is warmed up there anew, and its code lies elsewhere."""
    env = make(CANDIDATE_CHOICE, rule=LAST)
    env.reset(seed=1)
    play(env, np.random.default_rng(1), 20)
    snapshot = env.snapshot()
    command = [sys.executable, "-m", "tests.envs.test_snapshot"]
    done = subprocess.run(command, input=pickle.dumps(snapshot), cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == digest(future(env))


def last_candidate(view):
    return 1 + view.nr_candidates


LAST = Policy("last", "", frozenset(range(1, 10)), target_rule=last_candidate)


def other_environments(env_id: str):
    """Environments whose arguments differ in one thing."""
    return [
        make(env_id, nr_candidates=3),
        make(env_id, reward={"spin": -1.0}),
        make(env_id, rule="stock"),
        make(env_id, rule=Policy("series-v2", "another of this name", frozenset({5}))),
        make(env_id, scenario=FLAT),
        make(env_id, scenario=[(SMALL, 1), (FLAT, 1)]),
        make(HOST_TUNER if env_id == CANDIDATE_CHOICE else CANDIDATE_CHOICE),
    ]


@pytest.mark.parametrize("env_id", [CANDIDATE_CHOICE, HOST_TUNER])
def test_a_snapshot_of_another_environment_is_refused(env_id):
    env = make(env_id)
    env.reset(seed=1)
    snapshot = env.snapshot()
    for other in other_environments(env_id):
        other.reset(seed=2)
        refused(other, snapshot, "arguments: value ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0"}, r"snapshot.version: value '0\.0' \(allowed: "),
        ({"layout": "0" * 16}, r"snapshot.layout: value 0000000000000000 \(allowed: "),
        ({"words": b"1234"}, r"snapshot.layout: "),
        ({"arguments": "none"}, r"snapshot.arguments: value none \(allowed: CandidateChoiceEnv scenario=small "),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(change, message):
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=1)
    refused(env, dataclasses.replace(env.snapshot(), **change).sealed(), message)


@pytest.mark.core
def test_a_damaged_snapshot_is_refused():
    """Any byte, any field; also one that was written before there were checksums."""
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=1)
    snapshot = env.snapshot()
    flipped = bytearray(snapshot.words)
    flipped[np.random.default_rng(1).integers(len(flipped))] ^= 4
    for change in (
        {"words": bytes(flipped)},
        {"words": snapshot.words[:-8]},
        {"words": None},
        {"arguments": snapshot.arguments.replace("small", "smell")},
        {"scenario": snapshot.scenario[:-1]},
        {"number": 0.5},
        {"random": {}},
        {"over": None},
        {"checksum": ""},
    ):
        refused(
            env, dataclasses.replace(snapshot, **change), r"snapshot(: damaged, its checksum is not|\.\w+: value .+)"
        )


@pytest.mark.core
@pytest.mark.parametrize("scenario", ["host-noise", "host-io"])
def test_scenarios_with_programs_are_restored(scenario):
    env = make(CANDIDATE_CHOICE, scenario=apply_overrides(load_scenario(scenario), ["run.warmup_ns=1_000_000"]))
    observation, info = env.reset(seed=1)
    again = make(CANDIDATE_CHOICE, scenario=env.mix.scenarios[0])
    for each in (env, again):
        assert same(each.restore(env.snapshot()), (observation, info))


RULE = "SLACK_NS = {slack}\ndef choose_target(view):\n    return 1 if view.lag_ns > SLACK_NS else 0\n"


def with_rule(path, text: str):
    path.write_text(text)
    env = make(CANDIDATE_CHOICE, rule=str(path), warm_starts=1)
    env.reset(seed=1)
    return env


@pytest.mark.core
def test_a_snapshot_knows_the_content_of_its_rule_s_file(tmp_path):
    """A rule does not go by its name: the file's text counts, wherever the file lies."""
    (tmp_path / "elsewhere").mkdir()
    env = with_rule(tmp_path / "mine.py", RULE.format(slack=0))
    same_text = with_rule(tmp_path / "elsewhere" / "mine.py", RULE.format(slack=0))
    assert same(same_text.restore(env.snapshot()), env.restore(env.snapshot()))
    other = with_rule(tmp_path / "mine.py", RULE.format(slack=1000))
    with pytest.raises(
        SnapshotError, match=r"snapshot.arguments: value CandidateChoiceEnv scenario=small rule=mine \("
    ):
        other.restore(env.snapshot())


def test_a_snapshot_knows_what_a_rule_of_a_script_calls_and_captures():
    def rule(lag_ns, way):
        return lambda view: way(view, lag_ns)

    prints = {fingerprint(rule(lag_ns, way)) for lag_ns in (0, 1) for way in (ahead, behind)}
    assert len(prints) == 4 and fingerprint(rule(0, ahead)) in prints
    assert fingerprint(caller) != fingerprint(ahead) and len(sources(caller, [])) == 2


def ahead(view, lag_ns):
    return 1 if view.lag_ns > lag_ns else 0


def behind(view, lag_ns):
    return 1 if view.lag_ns < lag_ns else 0


def caller(view):
    return ahead(view, 0)


@pytest.mark.parametrize("wrong", [None, 5, "text", {"version": "0.1.0"}])
def test_what_is_no_snapshot_is_refused(wrong):
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=1)
    refused(env, wrong, r"snapshot: value .* \(allowed: what snapshot\(\) returned\)")


def refused(env, snapshot, message: str) -> None:
    """The restore fails in one line and changes nothing."""
    undisturbed = env.fork()
    with pytest.raises(SnapshotError, match=message) as caught:
        env.restore(snapshot)
    assert "\n" not in str(caught.value)
    assert same(future(env, 10), future(undisturbed, 10))


@pytest.mark.parametrize("name", list_scenarios())
def test_every_shipped_scenario_survives(name):
    """It is equal after being written as JSON, whole or what was given of it; its environment restores its snapshot."""
    scenario = load_scenario(name)
    for unset in (False, True):
        text = scenario.model_dump_json(exclude_unset=unset)
        assert Scenario.model_validate_json(text) == Scenario(**json.loads(text)) == scenario
    if not scenario.vms:
        return
    brief = scenario.model_copy(update={"run": Run(warmup_ns=MSEC)})
    env = make(CANDIDATE_CHOICE, scenario=brief, warm_starts=1)
    first = env.reset(seed=1)
    snapshot = env.snapshot()
    play(env, np.random.default_rng(1), 3)
    assert same(env.restore(pickle.loads(pickle.dumps(snapshot))), first)
    assert env.snapshot() == snapshot


# Batches


def drive(batch, steps: int = 30) -> list:
    rng, results = np.random.default_rng(5), []
    for _ in range(steps):
        masks = batch.action_masks() if batch.actions.nr_candidates else [None] * batch.num_envs
        results.append(batch.step(stack([answer(batch, rng, mask) for mask in masks])))
    return results


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("env_id", IDS)
def test_a_batch_forks_and_restores(env_id, mode):
    brief = BRIEF | ({"epoch_ns": 100_000} if env_id == HOST_TUNER else {})
    batch, undisturbed, other = (make_vec(env_id, 3, mode, scenario=[SMALL, FLAT], **brief) for _ in range(3))
    for each in (batch, undisturbed):
        each.reset(seed=4)
        results = drive(each, 17)
    fork, snapshots = batch.fork(), pickle.loads(pickle.dumps(batch.snapshot()))
    forked = drive(fork)
    assert same(drive(batch), forked)
    assert same(drive(undisturbed), forked)
    for each in (batch, other):
        observations, info = each.restore(snapshots)
        assert same(observations, results[-1][0]) and same(info["time_ns"], results[-1][4]["time_ns"])
        assert same(drive(each), forked)


def test_a_batch_s_snapshots_fit_single_environments():
    batch = make_vec(CANDIDATE_CHOICE, 3, scenario=[SMALL, FLAT])
    batch.reset(seed=4)
    drive(batch, 10)
    for i, snapshot in enumerate(batch.snapshot()):
        env = make(CANDIDATE_CHOICE, scenario=[SMALL, FLAT])
        observation, _ = env.restore(snapshot)
        assert env.machine.scenario is not None
        assert same(observation, batch.refresh().observations[i])
        snapshots = batch.snapshot()
        snapshots[i] = env.snapshot()
        batch.restore(snapshots)
    after = make_vec(CANDIDATE_CHOICE, 3, scenario=[SMALL, FLAT])
    after.reset(seed=4)
    drive(after, 10)
    assert same(drive(after, 20), drive(batch, 20))


def test_a_batch_refuses_what_does_not_fit():
    batch, undisturbed = (make_vec(CANDIDATE_CHOICE, 2) for _ in range(2))
    for each in (batch, undisturbed):
        each.reset(seed=4)
    snapshots = batch.snapshot()
    old = dataclasses.replace(snapshots[1], version="0.0")
    for wrong, message in (
        (snapshots[:1], r"snapshots: value .*allowed: a list of 2"),
        (snapshots[0], r"snapshots: value .*allowed: a list of 2"),
        ([snapshots[0], old], "snapshot.version: value '0.0'"),
        ([snapshots[0], None], "snapshot: value None"),
    ):
        with pytest.raises(SnapshotError, match=message):
            batch.restore(wrong)
    assert same(drive(batch), drive(undisturbed))


if __name__ == "__main__":
    there = make(CANDIDATE_CHOICE, rule=LAST)
    there.restore(pickle.loads(sys.stdin.buffer.read()))
    print(digest(future(there)))
