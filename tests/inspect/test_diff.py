"""Two runs part where the first thing is done differently, not before and not after."""

import numpy as np
import pytest

from tests.helpers.command_line import refused
from tests.helpers.recordings import MSEC, machine
from tests.helpers.worlds import differing
from vcpu_env.inspect.diff import counts, development, first_difference, part

PARAMETERS = {"kvm_params", "deboost_params", "decision_rules"}
TRACKED = {"last_ipi_vector", "last_ipi_sender", "last_ipi_receiver", "pending_ipi", "ipi_time_ns", "ipi_response_ns"}
"""What the series notes of IPIs, long before it matters to anybody."""


def rows(*values):
    return np.array([(i, value) for i, value in enumerate(values)]).reshape(-1, 2)


@pytest.mark.parametrize(
    ("a", "b", "place"),
    [
        (rows(1, 2, 3), rows(1, 2, 3), None),
        (rows(1, 2, 3), rows(1, 4, 3), 1),
        (rows(1, 2), rows(1, 2, 3), 2),
        (rows(), rows(), None),
        (rows(), rows(5), 0),
    ],
)
def test_first_difference(a, b, place):
    assert first_difference(a, b) == place


def test_a_policy_does_not_part_from_itself():
    assert part(machine("stock"), machine("stock"), 6 * MSEC) is None


def test_stock_and_series_part_where_their_states_do():
    parted = part(machine("stock"), machine("series-v2"), 14 * MSEC)
    assert parted is not None and parted.at_decision and parted.number >= 1
    for end_ns, same in ((parted.time_ns - 1, True), (parted.time_ns, False)):
        machines = machine("stock"), machine("series-v2")
        for one in machines:
            one.run_until(end_ns)
        assert (differing(*(one.world for one in machines), PARAMETERS | TRACKED) == set()) == same
        assert int(machines[0].world["engine"]["decisions"][0]) == parted.number - same


def test_development_counts_from_the_parting_on():
    machines = machine("stock"), machine("series-v2")
    for one in machines:
        one.run_until(4 * MSEC)
    before = [counts(one) for one in machines]
    found = development(*machines, 4 * MSEC, 7 * MSEC)
    assert [row["after_ns"] for row in found] == [MSEC, 3 * MSEC]
    for policy, first, said in zip(("stock", "series-v2"), before, found[1]["policies"], strict=True):
        plain = machine(policy)
        plain.run_until(7 * MSEC)
        assert said == {name: value - first[name] for name, value in counts(plain).items()}
        assert said["steal_ns"] > 0 and said["decisions"] > 0


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ([], "--policy: given 0 times (allowed: twice)"),
        (["stock"], "--policy: given 1 times (allowed: twice)"),
        (["stock", "stok"], "policy: value 'stok'"),
        (["stock", "balance"], "--policy: value 'balance' places vCPUs from time 0 on"),
    ],
)
def test_mistakes_are_named(policies, said):
    named = [part for policy in policies for part in ("--policy", policy)]
    assert refused("diff", "dedup-1vm-2vcpu", *named).startswith(said)
