"""Scenarios of one VM, and how they are refused."""

import pytest

from vcpu_env.scenario import (
    Scenario,
    ScenarioError,
    apply_overrides,
)

VM = {"name": "vm", "vcpus": 4, "workload": "dbench"}


def refused(*lines, **fields):
    with pytest.raises(ScenarioError) as error:
        Scenario(**{"name": "s", "vms": [VM]} | fields)
    assert str(error.value).splitlines() == list(lines)


def overridden(*overrides, **fields):
    return apply_overrides(Scenario(**{"name": "s", "vms": [VM]} | fields), overrides)
