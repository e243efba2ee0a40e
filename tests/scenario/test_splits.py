"""Splits of the shipped scenarios: they do not overlap, and the test split asks what training never saw."""

from itertools import chain

import pytest

from tests.helpers.paths import DOCS
from vcpu_env.scenario import list_scenarios, load_scenario
from vcpu_env.scenario.splits import DIAGNOSTIC, PUBLISHED, SPLITS, overcommit, scenarios_page, split_of


def workloads(name: str) -> set[str]:
    return {vm.workload for vm in load_scenario(name).vms}


def unseen(name: str) -> bool:
    """What the docstring says of the test split."""
    scenario = load_scenario(name)
    weights = {vm.weight for vm in scenario.vms}
    return (
        overcommit(scenario) >= 4
        or scenario.host.cpus >= 64
        or "ferret" in workloads(name)
        or len(workloads(name)) >= 3
        or len(weights) > 1
    )


def test_splits_are_disjoint_and_name_shipped_scenarios():
    names = list(chain.from_iterable(SPLITS.values()))
    assert len(names) == len(set(names))
    assert set(names) <= set(list_scenarios())
    assert all(list(split) == sorted(split) for split in SPLITS.values())


def test_the_rest_is_diagnostic():
    rest = [name for name in list_scenarios() if split_of(name) == DIAGNOSTIC]
    alone = [name for name in rest if "-1vm-" in name or name.startswith(("micro-", "host-", "quota-", "scale-"))]
    assert all(load_scenario(name).host.topology for name in set(rest) - set(alone))
    assert not any(load_scenario(name).host.topology for names in SPLITS.values() for name in names)
    assert not any(name in rest for name in PUBLISHED)


def test_published_cells_are_three_in_each():
    assert len(PUBLISHED) == 9
    for split in SPLITS:
        assert sum(split_of(name) == split for name in PUBLISHED) == 3
    for name in PUBLISHED:
        scenario = load_scenario(name)
        assert (scenario.host.cpus, {vm.vcpus for vm in scenario.vms}) == (16, {16})


@pytest.mark.parametrize("split", SPLITS)
def test_only_the_test_split_is_unseen(split):
    for name in SPLITS[split]:
        assert unseen(name) == (split == "test"), name


def test_training_is_small_and_validation_holds_no_new_program():
    for name in SPLITS["train"]:
        assert overcommit(load_scenario(name)) in (2, 3) and load_scenario(name).host.cpus <= 16
    trained = set().union(*map(workloads, SPLITS["train"]))
    assert set().union(*map(workloads, SPLITS["validation"])) <= trained


def test_each_split_has_its_null_control():
    for names in SPLITS.values():
        assert sum(workloads(name) == {"blackscholes"} for name in names) == 1


def test_scenarios_page():
    assert (DOCS / "scenarios.md").read_text() == scenarios_page(), (
        "python -m vcpu_env.scenario.splits > docs/scenarios.md"
    )
