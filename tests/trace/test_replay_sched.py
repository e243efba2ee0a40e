"""The host scheduler and the debooster against traces recorded from the real kernel code: equal in every field.

A selection lies in ``golden``; the environment variable VCPU_ENV_GOLDEN names a folder with the full sets.
"""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.paths import GOLDEN
from vcpu_env.trace.replay_sched import check_function_line, compare, replay_sched

FULL = Path(os.environ.get("VCPU_ENV_GOLDEN", ""))
SETS = ("fair", "v1", "v2")
FUNCTIONS = "function_vectors.jsonl.gz"


def lines(path: Path) -> list[dict]:
    with gzip.open(path, "rt") as text:
        return [json.loads(line) for line in text]


def traces(folder: Path) -> list[Path]:
    return sorted(path for name in SETS for path in (folder / name).rglob("*.jsonl.gz") if path.name != FUNCTIONS)


def mismatches(path: Path) -> list[str]:
    header, *records = lines(path)
    return [f"{path.name}: {mismatch}" for mismatch in compare(records, replay_sched(header["scenario"]))]


def check_functions(path: Path) -> Counter:
    calls = lines(path)
    assert [(call, wrong) for call in calls if (wrong := check_function_line(call))] == []
    return Counter(call["fn"] for call in calls)


def scenario(**changes) -> dict:
    """A small valid scenario with some fields changed."""
    tasks = [{"id": "A", "group": "g", "nice": 0}, {"id": "B", "group": None, "nice": 0}]
    ops = [{"t": 0, "op": "wake", "task": "A"}, {"t": 0, "op": "wake", "task": "B"}, {"t": 5_000_000, "op": "run"}]
    groups = [{"id": "g", "parent": None, "weight": 1024}]
    valid = {"hz": 1000, "base_slice_ns": 2_800_000, "groups": groups, "tasks": tasks, "ops": ops}
    return valid | changes


@pytest.mark.core
@pytest.mark.parametrize("path", traces(GOLDEN), ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}")
def test_trace(path):
    assert mismatches(path) == []


@pytest.mark.core
def test_functions():
    assert check_functions(GOLDEN / "v2" / FUNCTIONS) == {"penalty": 2024, "debounce": 9, "rate": 6}


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("VCPU_ENV_GOLDEN"), reason="VCPU_ENV_GOLDEN does not name the full sets")
@pytest.mark.parametrize("name", SETS)
def test_full_set(name):
    paths = [path for path in traces(FULL) if path.is_relative_to(FULL / name)]
    assert paths
    assert [wrong for path in paths for wrong in mismatches(path)[:1]] == []


def test_every_record_is_a_delta_that_names_the_change():
    """Full states rebuilt from the deltas: the same task runs as the queues say."""
    queues: dict = {}
    for record in replay_sched(scenario()):
        queues |= record["q"]
        top = queues["root"]["curr"]
        leaf = queues["g"]["curr"] if top == "g" else top
        assert record["curr"] == (leaf or "idle")


def test_comparison_names_the_field():
    records = list(replay_sched(scenario()))
    wrong = json.loads(json.dumps(records))
    wrong[3]["e"]["B"]["vruntime"] += 1
    assert [mismatch.field for mismatch in compare(records, wrong)] == ["vruntime"]
    assert [mismatch.field for mismatch in compare(records, records[:-1])] == ["records"]


def test_a_yield_that_only_one_trace_has_is_a_difference():
    _, *tried = lines(GOLDEN / "v2" / "lca_mixed_depths.jsonl.gz")
    none = [record | {"skip": "said so"} if record["ev"] == "yield_to" else record for record in tried]
    assert compare(tried, tried) == []
    for one, other in ((tried, none), (none, tried)):
        assert [mismatch.field for mismatch in compare(one, other)] == ["yields"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ops": [{"t": 0, "op": "jump"}]}, r"ops\[0\].op: value 'jump' \(allowed: fork, wake"),
        ({"ops": [{"t": 0, "op": "wake"}]}, r"ops\[0\].task: value None \(allowed: must be given\)"),
        ({"ops": [{"t": 0, "op": "wake", "task": "Z"}]}, r"ops\[0\].task: value 'Z'"),
        ({"ops": [{"t": 9, "op": "run"}, {"t": 3, "op": "run"}]}, r"ops\[1\].t: value 3 \(allowed: an integer from 9"),
        ({"ops": [{"t": 0, "op": "yield_to", "task": "A", "to": "g"}]}, r"ops\[0\].to: value 'g'"),
        ({"ops": [{"t": 0, "op": "renice", "task": "A", "nice": 20}]}, r"ops\[0\].nice: value 20 .*-20 to 19"),
        ({"tasks": [{"id": "A", "group": "h"}]}, r"tasks\[0\].group: value 'h'"),
        ({"tasks": [{"id": "A", "policy": "fifo"}]}, r"tasks\[0\].policy: value 'fifo' \(allowed: normal, batch"),
        ({"groups": [{"id": "g", "parent": "p", "weight": 1024}]}, r"groups\[0\].parent: value 'p'"),
        ({"groups": [{"id": "g", "weight": 1}]}, r"groups\[0\].weight: value 1 "),
        ({"features": {"HRTICK": 1}}, r"features: value 'HRTICK' \(allowed: PLACE_LAG"),
        ({"series": "v3"}, r"scenario.series: value 'v3' \(allowed: none, v1, v2\)"),
        ({"hz": 0}, r"scenario.hz: value 0 "),
    ],
)
def test_invalid_scenario_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replay_sched(scenario(**changes))


def test_unknown_function_is_refused():
    with pytest.raises(ValueError, match=r"fn: value 'gran' \(allowed: penalty, debounce, rate\)"):
        check_function_line({"fn": "gran"})
