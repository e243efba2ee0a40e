"""What an action does: against plain machines, the candidates against the kernel's own checks."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.error import InvalidAction
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    CROWDED,
    DIRECTED_YIELD,
    FLAT,
    HOST_TUNER,
    JOINT_YIELD,
    MSEC,
    PENALTY_SCALE,
    SMALL,
    STACKED,
    WIDE_YIELD,
    answer,
    make,
    make_vec,
    stack,
)
from tests.helpers.worlds import differing
from vcpu_env.base.jit import NIL
from vcpu_env.envs.action import boosts
from vcpu_env.envs.compiled.types import JOINT_YIELD as JOINT_KIND
from vcpu_env.envs.compiled.types import WIDE_YIELD as WIDE_KIND
from vcpu_env.machine import Machine
from vcpu_env.policy.named import SERIES_PATCHES, Policy, policy_named

SCENARIOS = {"small": SMALL, "flat": FLAT, "crowded": CROWDED, "stacked": STACKED}
OWN_STATE = {"env_params", "env_state", "observation", "action_mask", "vm_account", "hidden"}
DECISION_STATE = {"decision_rules", "yield_view", "candidate", "answer", "decision_kind", "decision_cpu"} | {
    "decision_by_kick",
    "scan_chosen",
}
"""How the machine was asked and answered; the rest of the world is what happened."""


# Candidates


def kernel_candidates(world, me: int, limit: int) -> list[int]:
    """The siblings that kvm_vcpu_on_spin() could yield to, in scan order from last_boosted_vcpu."""
    vcpus, vms = world["kvm_vcpu"], world["kvm"]
    vm = vms[vcpus["vm"][me]]
    found = []
    for step in range(int(vm["nr_vcpus"])):
        vcpu = int(vm["first_vcpu"] + (vm["last_boosted_vcpu"] + 1 + step) % vm["nr_vcpus"])
        v = vcpus[vcpu]
        wakes = v["pv_unhalted"] or v["event"] or v["nmi"] or v["smi"] or v["async_pf"]
        wakes = wakes or (v["apicv"] and v["pir_pending"])
        spins_unasked = v["in_spin_loop"] and not v["dy_eligible"]
        if vcpu != me and v["ready"] and (not v["blocking"] or wakes) and not spins_unasked:
            found.append(vcpu)
    return found[:limit]


@settings(max_examples=12)
@given(
    scenario=st.sampled_from(sorted(SCENARIOS)),
    seed=st.integers(0, 1000),
    limit=st.sampled_from([1, 2, 5, 16]),
    rule=st.sampled_from(["stock", "series-v2"]),
    env_id=st.sampled_from([CANDIDATE_CHOICE, WIDE_YIELD, DIRECTED_YIELD]),
)
def test_legal_candidates_are_those_that_pass_the_kernel_s_checks(scenario, seed, limit, rule, env_id):
    arguments = {"scenario": SCENARIOS[scenario], "nr_candidates": limit, "rule": rule, "warm_starts": 1}
    env = make(env_id, **arguments)
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        world, mask = env.machine.world, env.action_masks()
        at_decision = bool(world["env_state"]["at_decision"][0])
        me = int(world["yield_view"]["vcpu"][0])
        expected = kernel_candidates(world, me, limit) if at_decision else []
        assert mask[:2].all()
        assert mask[2 : 2 + limit].tolist() == [True] * len(expected) + [False] * (limit - len(expected))
        assert mask[2 + limit :].all()
        assert world["yield_view"]["candidate"][0][: len(expected)].tolist() == expected or not at_decision
        if env.step(answer(env, rng))[3]:
            env.reset()


def test_a_chosen_candidate_is_tried_first():
    """The first attempt is the choice's: it is boosted, or it runs or sleeps by then, or both CPUs have one task."""
    env = make(CANDIDATE_CHOICE, scenario=SMALL, horizon_ns=10 * MSEC)
    rng, boosted = np.random.default_rng(1), 0
    env.reset(seed=2)
    for _ in range(300):
        world = env.machine.world
        me = int(world["yield_view"]["vcpu"][0])
        choice = int(rng.choice(np.flatnonzero(env.action_masks())))
        target = int(world["yield_view"]["candidate"][0][choice - 2])
        attempts = int(world["kvm_vcpu"]["ple_yield_attempt"][me])
        cpus = world["task_struct"]["cpu"][[me, target]]
        possible = (world["rq"]["nr_running"][cpus] != 1).any()
        possible &= world["rq"]["curr"][cpus[1]] != target
        possible &= world["task_struct"]["state"][target] == 0 and world["sched_entity"]["on_rq"][target] == 1
        now_ns = env.machine.now_ns
        over = env.step(choice)[3]
        if choice >= 2:
            assert world["kvm_vcpu"]["ple_yield_attempt"][me] > attempts
            last_boost_ns = int(world["kvm_vcpu"]["last_boost_ns"][target])
            assert not possible or last_boost_ns >= now_ns
            boosted += possible
        if over:
            env.reset()
    assert boosted > 30


def test_nobody_means_no_yield():
    env = make(CANDIDATE_CHOICE, horizon_ns=5 * MSEC, jitter_ns=0)
    env.reset(seed=1)
    before = env.machine.counters()["kvm"]["ple_yield_attempt"]
    while not env.step(0)[3]:
        pass
    assert env.machine.counters()["kvm"]["ple_yield_attempt"] == before


# The rule


def resume(machine: Machine, policy: Policy) -> None:
    """Answer the decision that the machine has stopped at as the kernel would; from then on its own rules answer."""
    if machine.decision is not None:
        if machine.decision["target"] == NIL:
            machine.answer_target(1)
        else:
            machine.answer_penalty(int(machine.decision["series_penalty_ns"]))
    policy.apply(machine.world)


AS_RULE = {
    CANDIDATE_CHOICE: lambda env: 1,
    DIRECTED_YIELD: lambda env: {"candidate": 1, "penalty_scale": np.zeros(1, np.float32)},
    JOINT_YIELD: lambda env: np.array([1, env.config.penalty_levels.index(1.0)]),
    PENALTY_SCALE: lambda env: np.zeros(1, np.float32),
    HOST_TUNER: lambda env: np.zeros(10, np.float32),
}


@pytest.mark.parametrize("scenario", ["small", "flat", "stacked"])
@pytest.mark.parametrize("rule", ["series-v2", "stock", "debooster-v1"])
@pytest.mark.parametrize("env_id", AS_RULE)
def test_answering_as_the_rule_is_the_rule(env_id, rule, scenario):
    """Word for word, beside the record of how the decisions were put and answered."""
    env = make(env_id, scenario=SCENARIOS[scenario], rule=rule, horizon_ns=12 * MSEC, epoch_ns=3 * MSEC)
    env.reset(seed=3)
    machine, policy = env.machine.fork(), policy_named(rule)
    resume(machine, policy)
    steps = 0
    while not env.lane.over:
        env.step(AS_RULE[env_id](env))
        steps += 1
    machine.run_until(env.machine.now_ns)
    ignored = OWN_STATE | DECISION_STATE
    if env_id == HOST_TUNER:  # it writes every cap with the denominator 1024
        ignored = ignored | {"cap_num", "cap_den"}
        caps = [world["deboost_params"][0] for world in (env.machine.world, machine.world)]
        assert (caps[0]["cap_num"] / caps[0]["cap_den"] == caps[1]["cap_num"] / caps[1]["cap_den"]).all()
    assert differing(env.machine.world, machine.world, ignored) == set()
    assert env.machine.counters() == machine.counters()
    assert steps > 0


def prefers_last(view):
    for i in range(view.nr_candidates - 1, -1, -1):
        if view.preempted[i]:
            return 2 + i
    return 1


def half_penalty(view):
    return view.series_penalty_ns // 2


OWN = Policy("own", "", SERIES_PATCHES, target_rule=prefers_last, penalty_rule=half_penalty)


@pytest.mark.parametrize("env_id", [CANDIDATE_CHOICE, DIRECTED_YIELD, JOINT_YIELD, HOST_TUNER])
def test_a_compiled_rule_can_be_the_rule(env_id):
    env = make(env_id, scenario=STACKED, rule=OWN, horizon_ns=8 * MSEC, epoch_ns=2 * MSEC)
    env.reset(seed=3)
    machine = env.machine.fork()
    if machine.decision is not None:
        view = SimpleNamespace(**{name: machine.decision[name] for name in machine.decision.dtype.names})
        machine.answer_target(int(prefers_last(view)))
    OWN.apply(machine.world)
    while not env.lane.over:
        env.step(AS_RULE[env_id](env))
    machine.run_until(env.machine.now_ns)
    assert env.machine.counters() == machine.counters()


# Penalties


def penalties(env_id: str, action, seed: int = 3, **arguments) -> dict:
    """What the yields of an episode cost."""
    env = make(env_id, scenario=STACKED, horizon_ns=100 * MSEC, jitter_ns=0, warm_starts=1, **arguments)
    env.reset(seed=seed)
    before = env.machine.counters()["deboost"]
    while not env.lane.over:
        env.step(action)
    return {key: value - before[key] for key, value in env.machine.counters()["deboost"].items()}


def test_a_scale_of_minus_one_is_no_penalty():
    nothing = np.array([-1.0], np.float32)
    assert penalties(PENALTY_SCALE, np.zeros(1, np.float32))["penalty_ns"] > 0
    assert penalties(PENALTY_SCALE, nothing)["penalty_ns"] == 0
    assert penalties(DIRECTED_YIELD, {"candidate": 1, "penalty_scale": nothing})["penalty_ns"] == 0
    assert penalties(JOINT_YIELD, np.array([1, 0]))["penalty_ns"] == 0


@pytest.mark.parametrize(
    ("action", "largest", "factor"),
    [(0.0, 4, 1), (1.0, 4, 4), (1.0, 64, 64), (0.5, 4, 2), (-0.5, 4, 0.25), (-0.75, 64, 0.0625), (-1.0, 4, 0)],
)
def test_the_scale_multiplies_each_penalty(action, largest, factor):
    """One step after a penalty decision: the penalty charged is the series' times the factor."""
    env = make(PENALTY_SCALE, max_penalty_scale=largest)
    env.reset(seed=1)
    charged = 0
    for _ in range(6):
        if not env.machine.world["env_state"]["at_decision"][0]:
            break
        series = int(env.machine.world["yield_view"]["series_penalty_ns"][0])
        before = env.machine.world["yield_stats"].copy()
        over = env.step(np.array([action], np.float32))[3]
        stats = env.machine.world["yield_stats"]
        asked = 1 if not over else 0
        applied = int(stats["applied"][0] - before["applied"][0])
        penalty = int(stats["penalty_ns"][0] - before["penalty_ns"][0])
        scale = int(((1 + action) ** 2 if action < 0 else largest**action) * 65536 + 0.5)
        assert scale == pytest.approx(factor * 65536, abs=1)
        assert penalty == (series * scale) >> 16
        assert applied == (scale > 0)
        charged += asked
        if over:
            env.reset()
    assert charged > 0


def test_levels_scale_the_penalties_of_joint_actions():
    """The first penalty of an episode, from equal states: each level charges its multiple of the series'."""
    charged = {}
    for level, scale in enumerate((0.0, 0.25, 0.5, 1.0, 2.0, 4.0)):
        env = make(JOINT_YIELD, scenario=STACKED, horizon_ns=60 * MSEC, jitter_ns=0, warm_starts=1)
        env.reset(seed=3)
        stats = env.machine.world["yield_stats"]
        before = stats.copy()
        while not env.lane.over and stats["penalty_ns"][0] == before["penalty_ns"][0]:
            env.step(np.array([1, level]))
        charged[scale] = int(stats["penalty_ns"][0] - before["penalty_ns"][0])
    assert charged[0.0] == 0 < charged[1.0]
    assert charged[2.0] == 2 * charged[1.0] and charged[4.0] == 4 * charged[1.0]
    assert charged[0.5] == charged[1.0] // 2 and charged[0.25] == charged[1.0] // 4


# Boosts


def test_names_of_the_boosts():
    levels = (0.0, 0.5, 1.0, 2.0)
    assert [name for name, _, _ in boosts(JOINT_KIND, levels)] == ["penalty_0", "penalty_0.5", "penalty_1", "penalty_2"]
    assert [name for name, _, _ in boosts(WIDE_KIND, levels)] == [
        "hint", "penalty_0.5", "penalty_1", "penalty_2", "credit", "transfer", "plain", "stay", "stay_credit",
        "borrow_1", "borrow_4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["hint", "penalty_1", "credit", "transfer", "plain", "stay", "stay_credit", "borrow_1", "borrow_4"]
)
def test_a_boost_leaves_its_mark_and_no_other(name):
    levels = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
    boost = [boost for boost, _, _ in boosts(WIDE_KIND, levels)].index(name)
    counted = penalties(WIDE_YIELD, np.array([1, boost]))
    marks = {
        "applied": name == "penalty_1",
        "credited": name in ("credit", "transfer", "stay_credit"),
        "plain": name == "plain",
        "stayed": name in ("stay", "stay_credit"),
        "not_applied": name == "penalty_1",
        "yields": name != "plain",
    }
    assert {key: counted[key] > 0 for key in marks} == marks
    assert (counted["credit_ns"] > 0) == marks["credited"]
    if name.startswith("stay"):
        assert counted["stayed"] == counted["yields"] and counted["forfeit"] == 0
    if name == "penalty_1":
        assert counted["applied"] + counted["not_applied"] == counted["yields"]


# The tuner


def test_a_tuner_sets_the_constants():
    env = make(HOST_TUNER)
    env.reset(seed=1)
    action = np.array([1, -1, -0.5, 0, 0.5, 1, 0, -1, 1, -0.25], np.float32)
    env.step(action)
    world = env.machine.world
    params, kvm = world["deboost_params"][0], world["kvm_params"][0]
    assert params["penalty_scale_q16"] == 4 * 65536
    original = Machine(SMALL, "series-v2").world["deboost_params"][0]
    factors = params["cap_num"][:6] / params["cap_den"][:6] / (original["cap_num"][:6] / original["cap_den"][:6])
    assert factors == pytest.approx([0.25, 0.5, 1, 2, 4, 1], rel=1e-3)
    assert params["rate_limit_ns"] == 6_000_000 // 16
    assert kvm["ipi_window_ns"] == 50_000_000_000 and kvm["enable_relaxed_boost"] == 0
    env.step(-np.ones(10, np.float32))
    assert world["deboost_params"]["penalty_scale_q16"][0] == 0 and world["kvm_params"]["ipi_window_ns"][0] == 50_000


def test_a_tuner_acts_once_an_epoch():
    env = make(HOST_TUNER, horizon_ns=5 * MSEC, epoch_ns=2 * MSEC)
    _, info = env.reset(seed=1)
    start_ns, elapsed = info["time_ns"], []
    while not env.lane.over:
        *_, info = env.step(np.zeros(10, np.float32))
        elapsed.append(info["elapsed_ns"])
    assert elapsed == [2 * MSEC, 2 * MSEC, 1 * MSEC] and info["time_ns"] == start_ns + 5 * MSEC
    assert {key: info["episode_totals"][key] for key in ("decisions", "unasked", "illegal")} == {
        "decisions": 3,
        "unasked": 0,
        "illegal": 0,
    }


# What is not an action


@pytest.mark.parametrize(
    ("env_id", "action", "message"),
    [
        (CANDIDATE_CHOICE, 18, r"action: value \[\[18\]\] \(allowed: 0..17\)"),
        (CANDIDATE_CHOICE, -1, r"action: value \[\[-1\]\] \(allowed: 0..17\)"),
        (CANDIDATE_CHOICE, 1.0, r"action: value 1.0 \(allowed: integers of shape \(1,\)\)"),
        (CANDIDATE_CHOICE, [1, 1], r"action: value \[1, 1\] \(allowed: integers"),
        (CANDIDATE_CHOICE, "one", r"action: value 'one' \(allowed: integers"),
        (CANDIDATE_CHOICE, None, r"action: value None \(allowed: integers"),
        (JOINT_YIELD, [1, 6], r"action: value \[\[1, 6\]\] \(allowed: 0..17 and 0..5\)"),
        (JOINT_YIELD, [1], r"action: value \[1\] \(allowed: integers of shape \(2,\)\)"),
        (JOINT_YIELD, [[1], [2, 3]], r"allowed: integers"),
        (WIDE_YIELD, [1, -1], r"action: value \[\[1, -1\]\] \(allowed: 0..17 and 0..12\)"),
        (PENALTY_SCALE, [np.nan], r"action: value \[\[nan\]\] \(allowed: -1..1\)"),
        (PENALTY_SCALE, [1.5], r"action: value \[\[1.5\]\] \(allowed: -1..1\)"),
        (PENALTY_SCALE, [0.5j], r"allowed: numbers of shape \(1,\)"),
        (HOST_TUNER, np.zeros(9), r"allowed: numbers of shape \(10,\)"),
        (CANDIDATE_CHOICE, True, r"action: value True \(allowed: integers of shape "),
        (JOINT_YIELD, [True, False], r"action: value \[True, False\] \(allowed: integers of shape \(2,\)\)"),
        (PENALTY_SCALE, True, r"action: value True \(allowed: numbers of shape \(1,\)\)"),
        (DIRECTED_YIELD, 1, r"action: value 1 \(allowed: a dict of 'candidate' and 'penalty_scale'\)"),
        (DIRECTED_YIELD, {"candidate": 1}, r"allowed: a dict of 'candidate' and 'penalty_scale'"),
        (DIRECTED_YIELD, {"candidate": 1, "penalty_scale": [-2]}, r"penalty_scale: value \[\[-2.0\]\] \(allowed"),
        (DIRECTED_YIELD, {"candidate": 0.5, "penalty_scale": [0]}, r"candidate: value 0.5 \(allowed: integers"),
    ],
)  # fmt: skip
def test_what_is_not_an_action_is_refused(env_id, action, message):
    env, other = make(env_id), make(env_id)
    for each in (env, other):
        each.reset(seed=1)
    with pytest.raises(InvalidAction, match=message) as caught:
        env.step(action)
    assert "\n" not in str(caught.value)
    assert differing(env.machine.world, other.machine.world) == set()


@pytest.mark.parametrize("shape", [(2, 3), (6,), (3, 3), (3, 2, 1)])
def test_a_batch_of_actions_has_one_shape(shape):
    batch = make_vec(JOINT_YIELD, 3)
    batch.reset(seed=1)
    with pytest.raises(InvalidAction, match=r"allowed: integers of shape \(3, 2\)"):
        batch.step(np.zeros(shape, int))


def test_a_batch_takes_what_its_space_samples():
    for env_id in (DIRECTED_YIELD, CANDIDATE_CHOICE, JOINT_YIELD, WIDE_YIELD, PENALTY_SCALE, HOST_TUNER):
        batch = make_vec(env_id, 3, strict=False)
        batch.reset(seed=1)
        batch.action_space.seed(0)
        for _ in range(5):
            batch.step(batch.action_space.sample())
        rng = np.random.default_rng(1)
        masks = batch.action_masks() if batch.actions.nr_candidates else [None] * 3
        batch.step(stack([answer(batch, rng, mask) for mask in masks]))
