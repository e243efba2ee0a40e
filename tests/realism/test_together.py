"""What CPUs do together, of made-up runs worked by hand; the shipped probes of several CPUs in the simulator."""

import json
import math

import numpy as np
import pytest

from tests.helpers.realism_events import events
from tests.helpers.realism_probes import FACTS, probe
from vcpu_env.realism import report
from vcpu_env.realism.compare import compare_probe
from vcpu_env.realism.probe import shipped_probes
from vcpu_env.realism.recording import Run
from vcpu_env.realism.simulated import scenario_of, simulate_probe
from vcpu_env.realism.together import measure_together, phases, top_groups

MS = 1_000_000
SETTINGS = {"command": "vcpu-env realism", "runs": 1, "seconds": 1.0, "seeds": 1}


def vms(quota: dict | None = None):
    """Two groups as VMs, a task of each on both CPUs: tasks 1 and 2 are vm1's, 3 and 4 vm2's."""
    tasks = [{"name": f"{vm}-{cpu}", "group": vm, "cpus": [cpu]} for vm in ("vm1", "vm2") for cpu in (0, 1)]
    return probe(
        name="vms",
        summary="two",
        cpus=2,
        groups=[{"name": n} | (quota or {}) for n in ("vm1", "vm2")],
        host_tasks=tasks,
    )


def taking_turns(phase: int, end: int = 96) -> Run:
    """Both CPUs change every 8 ms, CPU 1 `phase` ms after CPU 0."""
    rows = []
    for cpu, ids, first in ((0, (1, 3), 0), (1, (2, 4), phase)):
        who = 0
        rows.append((0, cpu, 0, 0, ids[0]))
        for time in range(first + 8, end, 8):
            rows.append((time, cpu, ids[who], 0, ids[1 - who]))
            who = 1 - who
    rows = [(time * MS, *rest) for time, *rest in sorted(rows)]
    return Run(events(*rows), 16 * MS, 80 * MS)


@pytest.mark.parametrize(("phase", "gang", "where"), [(0, 1.0, 0.0), (2, 0.75, 0.5), (4, 0.5, 1.0), (8, 0.0, 0.0)])
def test_in_step_and_out_of_step(phase, gang, where):
    found = measure_together(vms(), taking_turns(phase))
    assert (found.gang_index, found.switch_phase) == pytest.approx((gang, where))
    assert math.isnan(found.limited_spread)


def test_only_time_counts_in_which_all_cpus_run_the_probe():
    """CPU 1 runs nothing but for 4 ms, in which both run vm1, and 4 ms in which CPU 0 runs vm2."""
    rows = [(0, 0, 0, 0, 1), (12, 0, 1, 0, 3), (8, 1, 0, 0, 2), (16, 1, 2, 1, 0)]
    run = Run(events(*[(time * MS, *rest) for time, *rest in sorted(rows)]), 0, 40 * MS)
    assert measure_together(vms(), run).gang_index == 0.5
    alone = Run(events((0, 0, 0, 0, 1)), 0, 40 * MS)
    assert math.isnan(measure_together(vms(), alone).gang_index)
    assert math.isnan(measure_together(vms(), alone).switch_phase)


def test_times_without_neighbours_have_no_phase():
    assert phases(np.array([5, 12, 15, 30]), np.array([10, 20])).tolist() == [0.4, 1.0]


def test_spread_of_those_with_a_quota():
    rows = [(0, 0, 0, 0, 1), (10, 0, 1, 0, 3), (0, 1, 0, 0, 2), (30, 1, 2, 0, 4)]
    run = Run(events(*[(time * MS, *rest) for time, *rest in sorted(rows)]), 0, 40 * MS)
    assert measure_together(vms({"quota_us": 50_000}), run).limited_spread == pytest.approx(0.5)


def test_groups_are_those_below_the_probes_own():
    groups = [{"name": "vm"}, {"name": "vcpu0", "parent": "vm"}, {"name": "vcpu1", "parent": "vm"}, {"name": "other"}]
    tasks = [{"name": n, "group": n} for n in ("vcpu0", "vcpu1", "other")]
    assert top_groups(probe(name="p", summary="s", groups=groups, host_tasks=tasks)) == [0, 0, 1]
    assert top_groups(probe(name="p", summary="s", host_tasks=[{"name": "t", "count": 2}])) == [0, 1]


def test_report_shows_both_sides():
    result = compare_probe(vms(), [taking_turns(0), taking_turns(4)], [taking_turns(2)])
    assert [(row.metric, row.real, row.simulated, row.verdict) for row in result.together] == [
        ("gang index", 75.0, 75.0, ""),
        ("phase of switches", 50.0, 50.0, ""),
    ]
    assert "gang index 75.0 [50.0 to 100] / 75.0 %; phase of switches 50.0 [0.0 to 100] / 50.0 %" in report.as_markdown(
        FACTS, [result], SETTINGS
    )
    rows = json.loads(report.as_json(FACTS, [result], SETTINGS))["probes"][0]["rows"]
    assert [row["metric"] for row in rows if row["task"] == "all"] == ["gang index", "phase of switches"]


def test_probes_of_one_cpu_have_none():
    one = probe(name="one", summary="s", host_tasks=[{"name": "t", "count": 2}])
    run = Run(events((0, 0, 0, 0, 1), (4 * MS, 0, 1, 0, 2)), 0, 8 * MS)
    assert compare_probe(one, [run], [run]).together == []


def test_shipped_probes_of_several_cpus():
    """Simulated: quotas on two CPUs are shared about evenly and use up their time; VMs run half in step or so."""
    shipped = shipped_probes()
    for name in ("quota-two-cpus", "quota-two-vms", "two-vms", "three-vms", "two-vms-free", "two-vms-sleepers"):
        runs = [simulate_probe(scenario_of(shipped[name], FACTS), 300 * MS, 2300 * MS, seed) for seed in range(2)]
        found = [measure_together(shipped[name], run) for run in runs]
        assert all(0 <= one.gang_index <= 1 for one in found)
        if name == "quota-two-cpus":
            assert all(one.gang_index == 1 and one.limited_spread < 0.06 for one in found)
        if name == "quota-two-vms":
            assert all(one.limited_spread < 0.06 for one in found)
