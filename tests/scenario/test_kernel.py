"""`host.kernel`: what each kernel has by default, and what is refused on it."""

import pytest

from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import ScenarioError, apply_overrides, load_scenario

pytestmark = pytest.mark.core


def changed(*changes: str):
    return apply_overrides(load_scenario("dedup-1vm-2vcpu"), changes)


def on_7_3(*changes: str):
    return changed('host.kernel="7.3"', *changes)


def test_defaults():
    old, new = changed().host, on_7_3().host
    assert (old.kernel, old.preempt, old.cgroup_mode, old.features["HRTICK"]) == ("6.19", "full", None, False)
    assert (new.kernel, new.preempt, new.cgroup_mode, new.features["HRTICK"]) == ("7.3", "lazy", "concur", True)


def test_a_version_needs_no_quotes():
    assert changed("host.kernel=7.3").host == on_7_3().host


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["host.kernel=7.2"], r"host.kernel: value '7.2' \(allowed: 6.19, 7.3\)"),
        (['host.kernel="7.2"'], r"host.kernel: value '7.2' \(allowed: 6.19, 7.3\)"),
        (['host.cgroup_mode="max"'], r"host.cgroup_mode: value 'max' \(allowed: only with kernel '7.3'\)"),
        (["host.features.HRTICK=true"], r"host.features.HRTICK: value True"),
        (['host.kernel="7.3"', 'host.cgroup_mode="fair"'], r"host.cgroup_mode: value 'fair' \(allowed: up, smp,"),
        (['host.kernel="7.3"', 'host.lag_clamp="6.19.9"'], r"host.lag_clamp: value '6.19.9' \(allowed: only with ker"),
        (['host.kernel="7.3"', 'host.reweight="fixed"'], r"host.reweight: value 'fixed' \(allowed: only with kernel"),
        (['host.kernel="7.3"', "host.features.PARANOID_AVG=true"], r"host.features.PARANOID_AVG: value True"),
    ],
)
def test_what_a_kernel_has_not_is_refused(changes, message):
    with pytest.raises(ScenarioError, match=message):
        changed(*changes)


@pytest.mark.parametrize("policy", ["hierarchical-forfeit", "proportional-yield", "series-v2-fresh-gap"])
def test_policies_without_meaning_are_refused(policy):
    with pytest.raises(ValueError, match=rf"policy: value '{policy}' \(allowed on host.kernel 6.19 only, not on 7.3\)"):
        Machine(on_7_3(), policy)


def test_ports_are_labelled():
    names = ("stock", "ipi", "series-v2", "strict-borrow", "hierarchical-forfeit")
    labels = [POLICIES[name].on_7_3 for name in names]
    assert labels == ["as it is", "as it is", "ported", "ported", "no meaning"]
