"""An agent for every VM: PettingZoo's own tests, whose turn it is, who is paid for what."""

import numpy as np
import pytest

pytest.importorskip("pettingzoo")

from tests.helpers.small_env import CANDIDATE_CHOICE, FLAT, SHORT, SMALL, make, same, small  # noqa: E402
from vcpu_env.envs.tenants import TenantsEnv  # noqa: E402

RULE = 1


def tenants(scenario=SMALL):
    return TenantsEnv(scenario, **SHORT[CANDIDATE_CHOICE])


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_s_own_tests():
    from pettingzoo.test import api_test, seed_test

    api_test(tenants(), num_cycles=60)
    seed_test(tenants, num_cycles=30)


def played(env, answer, seed=0):
    """Of one episode: (agent, observation, reward, whether it was over) of every turn."""
    env.reset(seed=seed)
    turns = []
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, _ = env.last()
        assert not terminated and env.observation_space(agent).contains(observation)
        turns.append((agent, observation, reward, truncated))
        env.step(None if truncated else answer(observation["action_mask"]))
    return turns


def test_it_is_the_host_s_episode_with_the_turns_given_out():
    """All as the rule: the same observations and masks one after the other as of the host's own environment."""
    turns = [turn for turn in played(tenants(), lambda legal: RULE) if not turn[3]]
    assert {agent for agent, *_ in turns} == {"vm-1", "vm-2"}
    host = make(CANDIDATE_CHOICE)
    observation, info = host.reset(seed=0)
    for agent, seen, *_ in turns:
        assert same(seen, {"observation": observation, "action_mask": info["action_mask"]})
        spinner = host.machine.world["yield_view"]["vcpu"][0]
        assert agent == f"vm-{1 + host.machine.world['kvm_vcpu']['vm'][spinner]}"
        observation, *_, over, info = host.step(RULE)
    assert over


def test_each_is_paid_for_the_work_of_its_own_vm():
    env = TenantsEnv(FLAT, **SHORT[CANDIDATE_CHOICE] | {"horizon_ns": 20_000_000})
    paid = dict.fromkeys(env.possible_agents, 0.0)
    env.reset(seed=1)
    before = env.host.machine.counters()["vms"]
    unit_ns = env.host.machine.world["vm_account"]["unit_ns"].copy()
    for agent in env.agent_iter():
        _, reward, _, truncated, _ = env.last()
        paid[agent] += reward
        env.step(None if truncated else RULE)
    after = env.host.machine.counters()["vms"]
    for i, agent in enumerate(env.possible_agents):
        work = after[i]["work_units"] - before[i]["work_units"]
        assert work > 0 and paid[agent] == pytest.approx(work * unit_ns[i] * 1e-6)


def test_whose_turn_it_is_not_has_no_legal_action():
    env = tenants()
    env.reset(seed=0)
    other = next(agent for agent in env.agents if agent != env.agent_selection)
    assert not env.observe(other)["action_mask"].any() and env.observe(env.agent_selection)["action_mask"].any()


def test_a_list_of_scenarios_has_no_one_set_of_agents():
    with pytest.raises(ValueError, match=r"^scenario: 2 of them \(allowed: one; its VMs are the agents\)$"):
        TenantsEnv([SMALL, small("other", "vips")])


def test_a_copy_of_a_seed_is_the_same_game():
    rng = [np.random.default_rng(3) for _ in range(2)]
    games = [played(tenants(), lambda legal, r=r: int(r.choice(np.flatnonzero(legal))), seed=5) for r in rng]
    assert len(games[0]) == len(games[1])
    assert all(a[0] == b[0] and same(a[1], b[1]) and a[2:] == b[2:] for a, b in zip(*games, strict=True))
