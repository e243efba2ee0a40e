"""The KVM half against traces recorded from the real kernel code: equal in every field of every record.

A selection lies in ``golden/kvm``; the environment variable VCPU_ENV_GOLDEN names a folder with the full sets.
"""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.paths import GOLDEN
from vcpu_env.trace.replay_kvm import check_function_line, compare_kvm, replay_kvm

SELECTION = GOLDEN / "kvm"
FULL = Path(os.environ.get("VCPU_ENV_GOLDEN", "")) / "kvm"


def lines(path: Path) -> list[dict]:
    with gzip.open(path, "rt") as text:
        return [json.loads(line) for line in text]


def traces(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.jsonl.gz") if path.name != "pure_functions.jsonl.gz")


def mismatches(path: Path) -> list[str]:
    header, *records = lines(path)
    return [f"{path.name}: {mismatch}" for mismatch in compare_kvm(records, replay_kvm(header["scenario"]))]


def check_functions(path: Path) -> Counter:
    calls = lines(path)
    assert [(call, wrong) for call in calls if (wrong := check_function_line(call))] == []
    return Counter(call["fn"] for call in calls)


@pytest.mark.core
@pytest.mark.parametrize("path", traces(SELECTION), ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_trace(path):
    assert mismatches(path) == []


@pytest.mark.core
def test_functions():
    assert check_functions(SELECTION / "pure_functions.jsonl.gz") == {"ple": 840, "halt_poll": 672, "halt_sequence": 60}


@pytest.mark.slow
@pytest.mark.skipif("VCPU_ENV_GOLDEN" not in os.environ, reason="VCPU_ENV_GOLDEN names no folder of recorded traces")
def test_all_traces():
    paths = traces(FULL)
    assert len(paths) > 0
    assert [mismatch for path in paths for mismatch in mismatches(path)] == []
    check_functions(FULL / "pure_functions.jsonl.gz")


@pytest.mark.core
def test_compare_finds_a_difference():
    header, *records = lines(SELECTION / "T10_window_changed.jsonl.gz")
    own = list(replay_kvm(header["scenario"]))
    own[2]["v"]["1"] = dict(own[2]["v"].get("1", records[0]["v"]["1"]), ready=1)
    own[4]["is_receiver"] = 0
    found = {mismatch.field: mismatch for mismatch in compare_kvm(records, own)}
    assert found.keys() == {"v.ready", "is_receiver"}
    assert found["v.ready"].record == 2
    assert found["v.ready"].own == ("1", 1)
    assert (found["is_receiver"].kernel, found["is_receiver"].own) == (1, 0)
    assert [mismatch.field for mismatch in compare_kvm(records, own[:2])] == ["records"]
