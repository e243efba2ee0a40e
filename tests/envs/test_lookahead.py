"""Search by forking: a try is what really happens, and trying changes nothing."""

import gymnasium
import numpy as np
import pytest

import vcpu_env  # noqa: F401
from tests.helpers.at_once import at_once
from vcpu_env.envs.lookahead import Lookahead
from vcpu_env.envs.register import id_of
from vcpu_env.scenario import Scenario

HORIZON_NS = 200_000
SMALL = at_once(
    Scenario(
        name="small",
        host={"cpus": 4},
        vms=[{"name": "vm", "count": 2, "vcpus": 4, "workload": "dedup", "params": {"threads": 4}}],
        run={"warmup_ns": 20_000_000},
    )
)


def environment(kind: str, **arguments):
    arguments = {"scenario": SMALL, "warm_starts": 1, "horizon_ns": 3_000_000, "reward": {"useful": 1.0}} | arguments
    return gymnasium.make(id_of(kind), **arguments).unwrapped


@pytest.mark.parametrize("kind", ["CandidateChoice", "JointYield", "WideYield"])
def test_trying_changes_nothing(kind):
    env = environment(kind)
    env.reset(seed=1)
    before = env.machine.world.words.copy()
    values = Lookahead(env, HORIZON_NS).values()
    assert np.array_equal(before, env.machine.world.words)
    legal = env.action_masks()[: len(values)]
    assert np.array_equal(np.isfinite(values).any(axis=1), legal)


def test_a_try_is_what_happens():
    """The value of an action is what a fork earns by it with the rule afterwards, up to the horizon."""
    env = environment("CandidateChoice", rule="series-v2", boost="rule")
    _, info = env.reset(seed=4)
    for _ in range(30):
        values = Lookahead(env, HORIZON_NS).values()
        for candidate in np.flatnonzero(info["action_mask"]):
            machine = env.machine.fork()
            before = useful_ns(machine)
            machine.world["env_params"]["own_rule"] = 0
            machine.answer_target(int(candidate))
            end_ns = machine.now_ns + HORIZON_NS
            while not machine.run_until(end_ns):
                machine.answer_target(1)
            expected = (useful_ns(machine) - before) * 1e-6 / SMALL.host.cpus
            assert values[candidate, 0] == pytest.approx(expected, abs=1e-9)
        _, _, _, over, info = env.step(1)
        if over:
            _, info = env.reset()


def useful_ns(machine) -> int:
    vms = machine.counters()["vms"]
    return sum(vm["user_ns"] + vm["kernel_ns"] - vm["spin_ns"] - vm["irq_ns"] - vm["cold_lost_ns"] for vm in vms)


def test_looking_to_the_end_of_the_episode_never_loses_to_the_rule():
    env = environment("CandidateChoice")
    gains = []
    for seed in range(6):
        totals = []
        for search in (True, False):
            env.reset(seed=seed)
            action = Lookahead(env, env.config.horizon_ns).choose() if search else 1
            total, over = 0.0, False
            while not over:
                _, reward, _, over, _ = env.step(action)
                total, action = total + reward, 1
            totals.append(total)
        gains.append(totals[0] - totals[1])
    assert min(gains) >= -1e-9
    assert max(gains) > 0


@pytest.mark.parametrize(("kind", "own"), [("PenaltyScale", (0, 0)), ("DirectedYield", (1, 0))])
def test_a_scale_is_chosen_too(kind, own):
    """The value of the rule's own action is what the rule earns; what is chosen is in the action space and best."""
    env = environment(kind, scenario="host-libvirt", rule="series-v2-no-limiter", horizon_ns=2_000_000)
    env.reset(seed=2)
    search = Lookahead(env, HORIZON_NS)
    for _ in range(5):
        values, action = search.values(), search.choose()
        assert env.action_space.contains(action)
        first = list(search.numbers()[0]).index(float(action[0])) if kind == "PenaltyScale" else action["candidate"]
        assert values[first].max() == values.max() >= values[own]
        env.step(action)


def test_bad_input():
    with pytest.raises(ValueError, match="environment: HostTuner .allowed: one whose agent answers decisions"):
        Lookahead(environment("HostTuner"))
    env = environment("CandidateChoice")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="horizon_ns: value 0"):
        Lookahead(env, 0)
