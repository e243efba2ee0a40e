"""Policies that know NUMA nodes: the scaled penalty, and candidates of the own node first."""

from types import SimpleNamespace

import pytest

from tests.helpers.at_once import at_once
from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES, Policy
from vcpu_env.policy.policy import SERIES_PATCHES
from vcpu_env.policy.rivals import same_node_first
from vcpu_env.policy.rules import EXTERNAL
from vcpu_env.policy.series import numa_scaled_penalty
from vcpu_env.scenario import Scenario

MSEC = 1_000_000


def view(same_node: list[int], good: list[int] | None = None) -> SimpleNamespace:
    fields = {"same_node": same_node, "good": good or [1] * len(same_node), "series_penalty_ns": 1_000_000}
    return SimpleNamespace(nr_candidates=len(same_node), **fields)


@pytest.mark.core
@pytest.mark.parametrize(
    ("same_node", "penalty"), [([], 1_000_000), ([1, 1], 1_000_000), ([1, 0, 1], 1_366_666), ([0, 0], 2_100_000)]
)
def test_penalty_grows_with_the_mean_distance(same_node, penalty):
    """Distances 10 and 21: one sibling of three on the other node makes it 41 / 30."""
    assert numa_scaled_penalty(view(same_node)) == penalty


@pytest.mark.core
@pytest.mark.parametrize(
    ("same_node", "good", "answer"), [([0, 1, 1], [1, 0, 1], 4), ([0, 0], [1, 1], 1), ([1], [0], 1), ([], [], 1)]
)
def test_own_node_first(same_node, good, answer):
    assert same_node_first(view(same_node, good)) == answer


def crowded(topology: str, policy: str | Policy, **host) -> Machine:
    """Two VMs of eight vCPUs on four CPUs."""
    vms = [{"name": "vm", "count": 2, "vcpus": 8, "workload": "dedup", "params": {"threads": 8}, "lock": "tas"}]
    return Machine(at_once(Scenario(name="crowded", host={"topology": topology, **host}, vms=vms)), policy, 2)


def test_view_says_who_waits_on_the_own_node():
    machine = crowded("2s2c", Policy("asks", "", SERIES_PATCHES, target_rule=EXTERNAL))
    seen = set()
    while len(seen) < 2:
        assert not machine.run_until(300 * MSEC), "candidates on one node only"
        asked = machine.decision
        node, cpu = machine.world["rq"]["node"], machine.world["task_struct"]["cpu"]
        for i in range(asked["nr_candidates"]):
            assert asked["same_node"][i] == (node[cpu[asked["candidate"][i]]] == node[asked["cpu"]])
            seen.add(int(asked["same_node"][i]))
        machine.answer_target(1)


def test_scaled_penalty_is_the_series_on_one_node():
    """All distances are the local one there: word by word the same but for the rule itself."""
    runs = [crowded("4c", policy, cgroups="flat") for policy in ("series-v2", "series-v2-numa")]
    for machine in runs:
        machine.run_until(60 * MSEC)
    counted = [machine.counters() for machine in runs]
    assert counted[0] == counted[1] and counted[0]["deboost"]["applied"] > 0


def test_scaled_penalty_charges_more_across_nodes():
    """The mean penalty lies between once and 2.1 times the series', in vruntime."""
    runs = [crowded("2s2c", policy, cgroups="flat") for policy in ("series-v2", "series-v2-numa")]
    for machine in runs:
        machine.run_until(100 * MSEC)
    mean = [run.counters()["deboost"]["penalty_ns"] / run.counters()["deboost"]["applied"] for run in runs]
    assert 1.1 < mean[1] / mean[0] < 2.1


def test_names():
    assert POLICIES["series-v2-numa"].penalty_rule is numa_scaled_penalty
    assert POLICIES["same-node"].target_rule is same_node_first
