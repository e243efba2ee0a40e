"""The twin against recorded traces of the kernel, and the compiled scheduler against the twin."""

import gzip
import json
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.paths import GOLDEN
from tests.twin.compare import first_difference
from tests.twin.play import play
from tests.twin.random_scenario import random_scenario
from vcpu_env.trace.replay_sched import replay_sched

FULL = Path(os.environ.get("VCPU_ENV_GOLDEN", ""))


def recorded(root: Path) -> list[Path]:
    """Recorded scheduler traces below a folder, without the files of function calls."""
    files = [path for name in ("fair", "v1", "v2") for path in (root / name).rglob("*.jsonl.gz")]
    return sorted(path for path in files if "function" not in path.name)


def read(path: Path) -> tuple[dict, list[dict]]:
    with gzip.open(path, "rt") as lines:
        header, *records = [json.loads(line) for line in lines]
    return header["scenario"], records


def default_slices(scenario: dict) -> bool:
    """With mixed slices the kernel's tree keeps a stale min_slice, which the twin deliberately has not."""
    return not any("slice_ns" in task for task in scenario["tasks"])


@pytest.mark.parametrize("path", recorded(GOLDEN), ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_twin_plays_the_recorded_trace(path):
    scenario, records = read(path)
    if not default_slices(scenario):
        pytest.skip("mixed slices")
    assert first_difference(records, play(scenario)) is None


@pytest.mark.slow
@pytest.mark.skipif("VCPU_ENV_GOLDEN" not in os.environ, reason="VCPU_ENV_GOLDEN names no folder of recorded traces")
def test_twin_plays_every_recorded_trace():
    traces = [(path, *read(path)) for path in recorded(FULL)]
    assert len(traces) > 0
    different = {path.name: first_difference(records, play(s)) for path, s, records in traces if default_slices(s)}
    assert {name: difference for name, difference in different.items() if difference} == {}


def assert_core_equals_twin(seed: int, ops: int):
    for series, features in (("none", False), ("v2", False), ("v1", False), ("none", True)):
        scenario = random_scenario(Random(f"{seed} {series} {features}"), ops, series, features)
        assert first_difference(play(scenario), replay_sched(scenario)) is None


@pytest.mark.core
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_core_equals_twin(seed):
    assert_core_equals_twin(seed, ops=80)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_core_equals_twin_for_long(seed):
    assert_core_equals_twin(seed, ops=400)
