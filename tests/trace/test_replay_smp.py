"""Traces of many CPUs with quotas and of load tracking, held against the kernel's own; what the comparison notices.

A selection lies in ``golden/smp``; the environment variable VCPU_ENV_GOLDEN names a folder with the full sets.
"""

import copy
import gzip
import json
import os
import re
from pathlib import Path

import pytest

from tests.helpers.paths import GOLDEN
from tests.helpers.smp_traces import check, trace_lines, trace_paths
from vcpu_env.trace.replay import TraceError, check_file, replayed_lines
from vcpu_env.trace.replay_smp import Comparison, compare_smp
from vcpu_env.trace.smp_scenario import load_smp_scenario

SELECTION = GOLDEN / "smp"
FULL = Path(os.environ.get("VCPU_ENV_GOLDEN", "")) / "smp"
SETS = ("pelt_sequences", "bandwidth_micro", "bandwidth", "bandwidth_slack", "smp_bandwidth")
SMALL = SELECTION / "bandwidth_micro" / "two_cpus_share_pool.jsonl.gz"


@pytest.mark.core
@pytest.mark.parametrize("path", trace_paths(SELECTION, SETS), ids=lambda p: f"{p.parent.name}-{p.name.split('.')[0]}")
def test_trace(path):
    records, reached, found = check(path)
    assert [str(mismatch) for mismatch in found] == []
    assert reached == records


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("VCPU_ENV_GOLDEN"), reason="VCPU_ENV_GOLDEN does not name the full sets")
@pytest.mark.parametrize("name", SETS)
def test_full_set(name):
    paths = trace_paths(FULL, (name,))
    assert paths
    assert [f"{path.name}: {wrong}" for path in paths for wrong in check(path)[2][:1]] == []


def changed(record: int, kind: str, name: str, field: str, by: int) -> tuple[dict, list[dict]]:
    """The small trace with one number changed."""
    header, *records = copy.deepcopy(trace_lines(SMALL))
    records[record][kind][name][field] += by
    return header["scenario"], records


@pytest.mark.core
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            (47, "e", "t1", "vruntime", 1),
            r"record 47 at 53000000 ns \(period_timer on CPU 0\): vruntime of t1: expected",
        ),
        ((47, "rq", "1", "curr", -2), r"record 47 .*: curr of CPU 1: expected -1, got 1"),
        ((47, "q", "1:1", "rr", 1), r"record 47 .*: rr of queue 1:1: expected 2, got 1"),
        (
            (47, "tg", "1", "throttled_time", 5),
            r"record 47 .*: throttled_time of group 1: expected 64000005, got 64000000",
        ),
        ((47, "e", "t0", "cpu", 1), r"record 47 .*: cpu of t0: expected 1, got 0"),
    ],
)
def test_a_wrong_value_is_named(change, message):
    scenario, records = changed(*change)
    (first, *_) = compare_smp(scenario, records)
    assert re.match(message, str(first))


@pytest.mark.core
def test_another_history_is_not_compared():
    """After a difference of what runs where the comparison stops; after another it goes on."""
    for field, stops in (("curr", True), ("nr", False)):
        scenario, records = changed(47, "rq", "1", field, 1)
        comparison = Comparison(load_smp_scenario(scenario))
        assert [mismatch.difference.field for mismatch in comparison.run(records)] == [field]
        assert (comparison.reached < len(records)) == stops


@pytest.mark.core
def test_a_missing_event_is_noticed():
    header, *records = trace_lines(SMALL)
    without = [record for record in records if record["i"] != 47]
    (first,) = compare_smp(header["scenario"], without)
    assert "event of the trace: expected tick, got period_timer on CPU 0 at 53000000 ns" in str(first)
    later = [*records, records[-1] | {"t": records[-1]["t"] + 5, "ev": "wake", "task": 0, "i": 999}]
    assert [mismatch.difference.field for mismatch in compare_smp(header["scenario"], later)] == ["records"]


@pytest.mark.core
def test_averages_can_be_forced():
    """Recorded averages are written over the simulator's own, also where they differ."""
    header, *records = trace_lines(SMALL)
    assert Comparison(load_smp_scenario(header["scenario"]), force=True).run(records) == []
    scenario, records = changed(47, "q", "1:0", "la", 7)
    recorded = records[47]["q"]["1:0"]["la"]
    for force in (False, True):
        comparison = Comparison(load_smp_scenario(scenario), force=force)
        comparison.run(records[:48])
        assert comparison.states.world["cfs_rq"]["load_avg"][2] == recorded - (0 if force else 7)


def small_scenario(**changes) -> dict:
    """A small valid scenario with some fields changed."""
    valid = {
        "cpus": [[0, 0, 0], [1, 0, 0]],
        "domains": {},
        "hz": 1000,
        "base_slice_ns": 1_400_000,
        "features": {},
        "record": "events",
        "groups": [{"id": 1, "parent": 0, "weight": 1024, "period_phase_ns": 0, "idle": 0}],
        "tasks": [{"id": 0, "group": 1, "nice": 0, "policy": "normal", "slice_ns": 0, "cpus_allowed": 3}],
        "ops": [{"t": 5, "op": "fork", "task": 0, "cpu": 1}, {"t": 9, "op": "end"}],
    }
    return valid | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpus": []}, r"scenario.cpus: value \[\] \(allowed: a list of 1 to 63 CPUs\)"),
        ({"cpus": [[0, 0]]}, r"cpus\[0\]: value \[0, 0\] \(allowed: the numbers of core"),
        (
            {"record": "all"},
            r"scenario.record: value 'all' \(allowed: every tick of every CPU, tick instants, events\)",
        ),
        ({"features": {"HRTICK": 1}}, r"features: value 'HRTICK'"),
        ({"features": {"SIS_UTIL": 2}}, r"features.SIS_UTIL: value 2 \(allowed: 0 or 1\)"),
        ({"ops": [{"t": 5, "op": "jump"}]}, r"ops\[0\].op: value 'jump' \(allowed: fork, wake"),
        ({"ops": [{"t": 5, "op": "fork", "task": 0}]}, r"ops\[0\].cpu: value None \(allowed: must be given\)"),
        ({"ops": [{"t": 5, "op": "fork", "task": 0, "cpu": 2}]}, r"ops\[0\].cpu: value 2 \(allowed: .* 0 to 1\)"),
        ({"ops": [{"t": 5, "op": "aff", "task": 0, "mask": 4}]}, r"ops\[0\].mask: value 4 \(allowed: .* 1 to 3\)"),
        ({"ops": [{"t": 5, "op": "end"}, {"t": 4, "op": "end"}]}, r"ops\[1\].t: value 4 \(allowed: an integer from 5"),
        ({"ops": [{"t": 5, "op": "shares", "group": 2, "weight": 9}]}, r"ops\[0\].group: value 2"),
        (
            {"ops": [{"t": 5, "op": "bw", "group": 1, "period_us": 10, "quota_us": 5, "burst_us": 0, "cpu": 0}]},
            r"ops\[0\].period_us: value 10 \(allowed: an integer from 1000 to 1000000\)",
        ),
        ({"tasks": [{"id": 1}]}, r"tasks\[0\].id: value 1 \(allowed: an integer from 0 to 0\)"),
        ({"groups": [{"id": 1, "parent": 1}]}, r"groups\[0\].parent: value 1 \(allowed: an integer from 0 to 0\)"),
    ],
)
def test_invalid_scenario_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        load_smp_scenario(small_scenario(**changes))


def write(path: Path, lines: list[dict]) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def test_command_reads_these_traces(tmp_path):
    assert check_file(SMALL).mismatches == []
    assert check_file(SMALL).records == 140
    with pytest.raises(TraceError, match="a trace of many CPUs can only be checked"):
        replayed_lines(SMALL)
    with pytest.raises(TraceError, match=r"records: none \(allowed: a trace with its initial state\)"):
        check_file(write(tmp_path / "short.jsonl.gz", trace_lines(SMALL)[:1]))
    with pytest.raises(TraceError, match="balance.level: value 3"):
        ops = [{"t": 5, "op": "balance", "cpu": 0, "level": 3}]
        init = {"i": 0, "t": 0, "ev": "init", "log": [], "rq": {}, "q": {}, "e": {}, "tg": {}, "sd": {}, "llc": {}}
        lines = [{"scenario": small_scenario(ops=ops)}, init, init | {"i": 1, "t": 5, "ev": "balance"}]
        check_file(write(tmp_path / "level.jsonl.gz", lines))
