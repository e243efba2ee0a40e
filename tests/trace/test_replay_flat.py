"""The scheduler of v7.3 against traces recorded from the kernel's own code: equal in every field.

A selection lies in ``golden/flat``; the environment variable VCPU_ENV_GOLDEN names a folder with the full sets.
"""

import copy
import gzip
import json
import os
from pathlib import Path

import pytest

from tests.helpers.paths import GOLDEN
from vcpu_env.trace.flat_compare import compare_flat
from vcpu_env.trace.replay import check_file, replayed_lines
from vcpu_env.trace.replay_flat import replay_flat

SELECTION = GOLDEN / "flat"
FULL = Path(os.environ.get("VCPU_ENV_GOLDEN", "")) / "flat"
SETS = ("micro", "random", "smp")
SMALL = SELECTION / "smp" / "smp2_yield_to_remote_target.jsonl.gz"


def lines(path: Path) -> list[dict]:
    with gzip.open(path, "rt") as text:
        return [json.loads(line) for line in text]


def traces(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl.gz"))


def mismatches(path: Path) -> list[str]:
    header, *records = lines(path)
    return [f"{path.name}: {mismatch}" for mismatch in compare_flat(records, replay_flat(header["scenario"]))]


def scenario(**changes) -> dict:
    """A small valid scenario with some fields changed."""
    tasks = [{"id": "A", "group": "g", "nice": 0}, {"id": "B", "group": None, "nice": 0}]
    ops = [{"t": 0, "op": "wake", "task": "A"}, {"t": 0, "op": "wake", "task": "B"}, {"t": 5_000_000, "op": "run"}]
    groups = [{"id": "g", "parent": None, "weight": 1024}]
    valid = {"hz": 1000, "base_slice_ns": 2_800_000, "cgroup_mode": "concur", "groups": groups, "tasks": tasks}
    return valid | {"ops": ops} | changes


def weights_of_group(mode: str, **changes) -> set[int]:
    """What the entity of a group of shares 1024, busy on both CPUs of two for 300 ms, weighs on them at the end."""
    tasks = [{"id": f"t{cpu}", "group": "g", "nice": 0, "cpu": cpu} for cpu in (0, 1)]
    ops = [{"t": 0, "op": "wake", "task": f"t{cpu}"} for cpu in (0, 1)]
    ops.append({"t": 300_000_000, "op": "run"})
    entities: dict = {}
    for record in replay_flat(scenario(cpus=2, cgroup_mode=mode, tasks=tasks, ops=ops, **changes)):
        entities |= record["e"]
    return {entities[f"g@{cpu}"]["weight"] // 1024 for cpu in (0, 1)}


@pytest.mark.core
@pytest.mark.parametrize("path", traces(SELECTION), ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}")
def test_trace(path):
    assert mismatches(path) == []


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("VCPU_ENV_GOLDEN"), reason="VCPU_ENV_GOLDEN does not name the full sets")
@pytest.mark.parametrize("name", SETS)
def test_full_set(name):
    paths = traces(FULL / name)
    assert paths
    assert [wrong for path in paths for wrong in mismatches(path)[:1]] == []


@pytest.mark.core
@pytest.mark.parametrize(
    ("mode", "weights"),
    [
        ("up", {1024}),
        ("smp", {512}),
        ("concur", {512}),  # two CPUs kept busy count as one: the sum of two averages below 1024, rounded down
        ("tasks", {512}),
        ("max", {1024}),
    ],
)
def test_what_a_group_of_two_busy_cpus_weighs(mode, weights):
    assert weights_of_group(mode) == weights


def test_cpuset_bounds_what_a_group_weighs():
    """Under `max` a group has its shares once for each CPU that it may use."""
    assert weights_of_group("max", groups=[{"id": "g", "weight": 1024, "cpuset_cpus": 1}]) == {512}


def test_comparison_names_the_field():
    header, *records = lines(SMALL)
    last = len(records) - 1
    for name, field in (("A", "vruntime"), ("A", "h_load"), ("g1@0", "weight")):
        wrong = copy.deepcopy(records)
        wrong[last]["e"].setdefault(name, {"weight": 0})[field] = 12345
        assert field in [mismatch.field for mismatch in compare_flat(wrong, replay_flat(header["scenario"]))]
    assert [mismatch.field for mismatch in compare_flat(records, records[:-1])] == ["records"]
    skipped = [record for record in records if record["i"] != 9]
    assert [mismatch.field for mismatch in compare_flat(records, skipped)] == ["order"]


def test_command_plays_these_traces():
    assert check_file(SMALL).mismatches == []
    written = replayed_lines(SMALL)
    assert written[0] == lines(SMALL)[0]
    assert compare_flat(lines(SMALL)[1:], written[1:]) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cgroup_mode": "fair"}, r"scenario.cgroup_mode: value 'fair' \(allowed: up, smp, concur, max, tasks\)"),
        ({"cpus": 0}, r"scenario.cpus: value 0 \(allowed: an integer from 1 to 63\)"),
        ({"features": {"LATENCY_WARN": 1}}, r"features: value 'LATENCY_WARN' \(allowed: PLACE_LAG"),
        ({"features": {"HRTICK": 2}}, r"features.HRTICK: value 2 \(allowed: 0 or 1\)"),
        ({"ops": [{"t": 0, "op": "jump"}]}, r"ops\[0\].op: value 'jump' \(allowed: fork, wake"),
        ({"ops": [{"t": 0, "op": "wake", "task": "Z"}]}, r"ops\[0\].task: value 'Z'"),
        ({"ops": [{"t": 0, "op": "wake", "task": "A", "cpu": 1}]}, r"ops\[0\].cpu: value 1 .* from 0 to 0"),
        ({"ops": [{"t": 0, "op": "migrate", "task": "A"}]}, r"ops\[0\].cpu: value None \(allowed: must be given\)"),
        ({"ops": [{"t": 0, "op": "cgroup_mode", "mode": "all"}]}, r"ops\[0\].mode: value 'all' \(allowed: up"),
        ({"tasks": [{"id": "A", "group": None, "cpu": 1}]}, r"tasks\[0\].cpu: value 1"),
        ({"groups": [{"id": "g", "weight": 9, "cpuset_cpus": 2}]}, r"groups\[0\].cpuset_cpus: value 2"),
    ],
)
def test_invalid_scenario_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replay_flat(scenario(**changes))
