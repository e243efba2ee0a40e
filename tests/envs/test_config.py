"""Keyword arguments and options that cannot be: the documented error, in one clear line each."""

import gymnasium
import numpy as np
import pytest

from tests.helpers.small_env import CANDIDATE_CHOICE, HOST_TUNER, IDS, SMALL, make, make_vec
from vcpu_env.envs.compiled.types import EVERY_NTH, EVERY_SPIN, PERIOD, SAMPLED
from vcpu_env.envs.config import EnvConfigError, parse_filter
from vcpu_env.policy.named import POLICIES, Policy
from vcpu_env.policy.rules import EXTERNAL

SEARCH = next(name for name, policy in POLICIES.items() if policy.search)

WRONG = [
    ({"scenario": "dedup-2vms"}, r"dedup-2vms.*dedup-2vm"),
    ({"scenario": 5}, r"scenario: value 5 \(allowed: a name, a .toml file, a Scenario, or a list of them\)"),
    ({"scenario": []}, r"scenario: value \[\] \(allowed: at least one scenario\)"),
    ({"scenario": [("dedup-2vm", 0)]}, r"scenario: weight 0 \(allowed: a number above 0\)"),
    ({"scenario": [("dedup-2vm", float("nan"))]}, r"scenario: weight nan "),
    ({"scenario": [("dedup-2vm", "often")]}, r"scenario: weight 'often' "),
    ({"rule": "stok"}, r"rule: value 'stok' .*stock"),
    ({"rule": 3}, r"rule: value 3 \(allowed: the name of a policy, FILE.py, or a Policy\)"),
    (
        {"rule": Policy("asks", "", target_rule=EXTERNAL)},
        r"rule: value asks \(allowed: a policy that answers by itself\)",
    ),
    ({"scenario": None}, r"scenario: value None \(allowed: a name, a .toml file, a Scenario, or a list of them\)"),
    ({"reward": {}}, r"reward: value \{\} \(allowed: weights of work, useful, .*, at least one\)"),
    ({"rule": "oracle-eligible"}, r"rule: value oracle-eligible is an oracle \(allowed: with privileged=True\)"),
    ({"rule": SEARCH, "privileged": True}, rf"rule: value {SEARCH} searches \(allowed: a rule; envs.lookahead "),
    ({"boost": "borow_1"}, r"boost: value .*borow_1.*borrow_1"),
    ({"horizon": 5}, r"horizon: unexpected keyword argument 'horizon' .*horizon_ns"),
    ({"scenrio": "dedup-2vm"}, r"scenrio: unexpected keyword argument 'scenrio' .*scenario"),
    ({"nr_candidates": 0}, r"nr_candidates: value 0 \(allowed: .*1"),
    ({"nr_candidates": 65}, r"nr_candidates: value 65 \(allowed: .*64"),
    ({"nr_candidates": "many"}, r"nr_candidates: value .*many"),
    ({"horizon_ns": 0}, r"horizon_ns: value 0 "),
    ({"horizon_ns": 2.5}, r"horizon_ns: value 2.5 "),
    ({"max_decisions": 0}, r"max_decisions: value 0 "),
    ({"epoch_ns": -1}, r"epoch_ns: value -1 "),
    ({"jitter_ns": -1}, r"jitter_ns: value -1 "),
    ({"warm_starts": 0}, r"warm_starts: value 0 "),
    ({"max_penalty_scale": 1.0}, r"max_penalty_scale: value 1.0 "),
    ({"max_penalty_scale": float("nan")}, r"max_penalty_scale: value nan "),
    ({"penalty_levels": []}, r"penalty_levels: value \[\] \(allowed: 1..12 scales in 0..1024, 1 among them\)"),
    ({"penalty_levels": [0.0, 2.0]}, r"penalty_levels: value \[0.0, 2.0\] "),
    ({"penalty_levels": [1.0, -1.0]}, r"penalty_levels: value \[1.0, -1.0\] "),
    ({"penalty_levels": [1.0] * 13}, r"penalty_levels: value "),
    ({"observe": ["queu"]}, r"observe: value 'queu' .*queue"),
    ({"reward": {"usefull": 1.0}}, r"reward: value 'usefull' .*useful"),
    ({"reward": {"useful": float("inf")}}, r"reward"),
    ({"decision_filter": "every"}, r"decision_filter: value 'every' .*every_"),
    ({"decision_filter": "every_nth"}, r"decision_filter: value 'every_nth' \(allowed: 'every_nth:ARGUMENT', an int"),
    ({"decision_filter": "every_nth:0"}, r"decision_filter: value 'every_nth:0' "),
    ({"decision_filter": "every_nth:2.5"}, r"decision_filter: value 'every_nth:2.5' "),
    ({"decision_filter": "sampled:1.5"}, r"decision_filter: value 'sampled:1.5' .*probability above 0, up to 1"),
    ({"decision_filter": "sampled:nan"}, r"decision_filter: value 'sampled:nan' "),
    ({"decision_filter": "period_ns:-3"}, r"decision_filter: value 'period_ns:-3' .*ns from 1"),
    ({"decision_filter": "same_rq:1"}, r"value 'same_rq:1' \(allowed: 'same_rq' without an argument\)"),
    ({"render_mode": "rgb"}, r"render_mode: value 'rgb' \(allowed: ansi, rgb_array"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[str(arguments)[:60] for arguments, _ in WRONG])
def test_a_wrong_argument_is_refused_in_one_line(arguments, message):
    for vector in (False, True):
        with pytest.raises(EnvConfigError, match=message) as caught:
            build(vector, arguments)
        assert "\n" not in str(caught.value)


def build(vector: bool, arguments: dict):
    """Construct the class itself: gymnasium.make() has checks of its own for render modes."""
    from vcpu_env.envs.batch import CandidateChoiceVectorEnv
    from vcpu_env.envs.host_env import CandidateChoiceEnv

    return CandidateChoiceVectorEnv(2, **arguments) if vector else CandidateChoiceEnv(**arguments)


def test_every_wrong_argument_has_its_line():
    with pytest.raises(EnvConfigError) as caught:
        make(CANDIDATE_CHOICE, nr_candidates=0, warm_starts=0)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["nr_candidates", "warm_starts"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, r"num_envs: value 0 \(allowed: 1..65536\)"),
        ({"num_envs": True}, r"num_envs: value True "),
        ({"num_envs": 2.0}, r"num_envs: value 2.0 "),
        ({"autoreset_mode": "same"}, r"autoreset_mode: value 'same' \(allowed: NextStep, SameStep, Disabled\)"),
        ({"threads": 0}, r"threads: value 0 \(allowed: 1.."),
        ({"threads": 10_000}, r"threads: value 10000 \(allowed: 1.."),
        ({"threads": "all"}, r"threads: value 'all' \(allowed: 1.."),
        ({"max_episode_steps": 0}, r"max_episode_steps: value 0 \(allowed: an integer from 1\)"),
        ({"threads": True}, r"threads: value True "),
        ({"thread": 1}, r"thread: unexpected keyword argument .*threads"),
        ({"render_mode": "human"}, r"render_mode: value 'human' \(allowed: ansi, rgb_array\)"),
    ],
)
def test_a_wrong_argument_of_a_batch_is_refused(arguments, message):
    from vcpu_env.envs.batch import CandidateChoiceVectorEnv

    with pytest.raises(EnvConfigError, match=message):
        CandidateChoiceVectorEnv(**arguments)


def test_options_that_cannot_be():
    env, batch = make(CANDIDATE_CHOICE), make_vec(CANDIDATE_CHOICE, 2)
    for each in (env, batch):
        each.reset(seed=1)
        with pytest.raises(EnvConfigError, match=r"options: value 'scenrio' \(allowed: .*scenario"):
            each.reset(options={"scenrio": SMALL})
        with pytest.raises(EnvConfigError, match="dedup-2vms"):
            each.reset(options={"scenario": "dedup-2vms"})
        each.reset(options={"scenario": SMALL})


@pytest.mark.parametrize("seed", [-1, 0.5, "1"])
def test_seeds_that_cannot_be(seed):
    with pytest.raises(gymnasium.error.Error, match=r"[Ss]eed"):
        make(CANDIDATE_CHOICE).reset(seed=seed)


def test_seeds_of_a_batch_that_cannot_be():
    batch = make_vec(CANDIDATE_CHOICE, 2)
    for seed in (-1, [0, -5], [1, 2, 3]):
        with pytest.raises(EnvConfigError, match=r"seed: value .* \(allowed: an integer from 0, or 2 of them\)"):
            batch.reset(seed=seed)


@pytest.mark.parametrize(
    ("text", "filter_"),
    [
        ("every_spin", (EVERY_SPIN, 0)),
        ("every_nth:16", (EVERY_NTH, 16)),
        ("sampled:0.25", (SAMPLED, 1 << 30)),
        ("sampled:1", (SAMPLED, 1 << 32)),
        ("period_ns:50_000", (PERIOD, 50_000)),
    ],
)
def test_filters(text, filter_):
    assert parse_filter(text) == filter_


@pytest.mark.parametrize("env_id", IDS)
def test_spaces_do_not_depend_on_the_scenario(env_id):
    a, b = make(env_id, scenario="dedup-2vm"), make(env_id, scenario="dbench-1vm-2vcpu")
    assert a.observation_space == b.observation_space and a.action_space == b.action_space
    if env_id != HOST_TUNER:
        assert a.observation_space.shape == (22 + 16 * 16,)
        assert make(env_id, nr_candidates=5).observation_space.shape == (22 + 16 * 5,)


def test_extreme_arguments_work():
    env = make(
        CANDIDATE_CHOICE,
        nr_candidates=64,
        horizon_ns=1_000,
        jitter_ns=0,
        warm_starts=1,
        reward={"useful": 0},
        observe=(),
    )
    observation, info = env.reset(seed=0)
    assert len(info["action_mask"]) == 66 and observation.shape == (22 + 16 * 64,)
    _, reward, _, _, _ = env.step(np.int64(1))
    assert reward == 0
