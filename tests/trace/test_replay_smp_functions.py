"""The scheduler of many CPUs against recordings of the kernel's own code: single functions, and traces.

A selection lies in ``golden/smp``; the environment variable VCPU_ENV_GOLDEN names a folder with the full sets.
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.paths import GOLDEN
from tests.helpers.smp_traces import check, trace_lines
from vcpu_env.trace.replay import TraceError, check_file
from vcpu_env.trace.replay_smp_functions import check_smp_functions

SELECTION = GOLDEN / "smp"
FULL = Path(os.environ.get("VCPU_ENV_GOLDEN", "")) / "smp"
FUNCTIONS = ("pelt_functions", "group_functions", "balance_functions", "select", "find_busiest")
TRACES = ("smp_basic", "smp_wake", "smp_mixed", "smp_balance", "smp_long", "smp_default")


def files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [path for name in names for path in sorted((folder / name).glob("*.jsonl.gz"))]


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.name.split('.')[0]}"


@pytest.mark.core
@pytest.mark.parametrize("path", files(SELECTION, FUNCTIONS), ids=name_of)
def test_functions(path):
    lines = trace_lines(path)
    assert list(check_smp_functions(lines)) == []
    assert len(lines) > 80


@pytest.mark.core
def test_every_function_is_called():
    called = Counter(call.get("fn") for path in files(SELECTION, FUNCTIONS) for call in trace_lines(path)[1:])
    assert len(called) == 14  # 13 functions, and the domains of the topologies
    assert min(called.values()) >= 6


@pytest.mark.core
@pytest.mark.parametrize("path", files(SELECTION, TRACES), ids=name_of)
def test_trace(path):
    assert [str(found) for found in check(path)[2]] == []


@pytest.mark.core
def test_a_wrong_output_is_named(tmp_path):
    path = files(SELECTION, ("select",))[0]
    lines = trace_lines(path)[:10]
    lines[4]["cpu"] += 1
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = lines[4]["cpu"] - 1
    expected = f"select_task_rq_fair.cpu: line 5: recorded {own + 1}, own {own}"
    assert check_file(wrong).mismatches == [expected]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"fn": "newidle"}, r"line 2: fn: value 'newidle' \(allowed: decay_load, "),
        ({"fn": "decay_load", "val": 1}, "a field is missing or of a wrong type"),
    ],
)
def test_invalid_call_is_refused(tmp_path, line, message):
    path = tmp_path / "calls.jsonl"
    path.write_text(f'{{"header": {{"seed": 1}}}}\n{json.dumps(line)}\n')
    with pytest.raises(TraceError, match=message):
        check_file(path)


def test_a_header_with_too_many_cpus_is_refused(tmp_path):
    path = tmp_path / "calls.jsonl"
    path.write_text(json.dumps({"header": {"cpus": [[i, 0, 0] for i in range(63)]}}) + "\n")
    with pytest.raises(TraceError, match=r"header.cpus: 63 CPUs \(allowed: 2 to 62"):
        check_file(path)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("VCPU_ENV_GOLDEN"), reason="VCPU_ENV_GOLDEN does not name the full sets")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_functions(name):
    paths = files(FULL, (name,))
    assert paths
    assert [wrong for path in paths for wrong in check_smp_functions(trace_lines(path))][:1] == []


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("VCPU_ENV_GOLDEN"), reason="VCPU_ENV_GOLDEN does not name the full sets")
@pytest.mark.parametrize("name", TRACES)
def test_all_traces(name):
    paths = files(FULL, (name,))
    assert paths
    assert [f"{path.name}: {found}" for path in paths for found in check(path)[2][:1]] == []
