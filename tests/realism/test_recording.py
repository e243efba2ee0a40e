"""Recordings: what is written is read again; files that are none are refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.helpers.realism_events import events
from tests.helpers.realism_probes import FACTS, probe
from vcpu_env.realism.kernel_facts import RATES
from vcpu_env.realism.recording import KEY, SHIPPED, UNCHECKED_FORMAT, Recording, Run, load_recording, save_recording
from vcpu_env.scenario.errors import ScenarioError

FIRST = Run(events((0, 0, 0, 0, 1), (5, 0, 1, 0, 2), (6, 0, 1)), 0, 10, 0.25)
SECOND = Run(events((3, 0, 0, 0, 2)), 1, 10)


def recording() -> Recording:
    groups, tasks = [{"name": "g", "weight": 7}], [{"name": "t", "group": "g"}]
    probes = {"a": probe(name="a"), "b": probe(name="b", groups=groups, host_tasks=tasks)}
    return Recording(FACTS, probes, {"a": [FIRST, SECOND], "b": [SECOND]})


def test_round_trip(tmp_path):
    path = tmp_path / "r.parquet"
    save_recording(recording(), path)
    again = load_recording(path)
    assert (again.facts, again.probes) == (FACTS, recording().probes)
    for name, runs in recording().runs.items():
        assert len(again.runs[name]) == len(runs)
        for want, got in zip(runs, again.runs[name], strict=True):
            assert np.array_equal(want.events, got.events)
            assert (want.begin_ns, want.end_ns, want.steal) == (got.begin_ns, got.end_ns, got.steal)
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]


def test_part_of_it():
    assert list(recording().only(["b"]).runs) == ["b"] and list(recording().only([]).runs) == ["a", "b"]
    with pytest.raises(ScenarioError, match="probe: value 'c'"):
        recording().only(["c"])


def test_files_that_are_none(tmp_path):
    text, other = tmp_path / "text", tmp_path / "other.parquet"
    text.write_text("no parquet")
    pq.write_table(pa.table({"a": [1]}), other)
    for path in (text, other, tmp_path / "missing"):
        with pytest.raises(ScenarioError, match="compare: value '.*allowed: a recording") as error:
            load_recording(path)
        assert "\n" not in str(error.value)


def test_shipped_recording():
    shipped = load_recording(SHIPPED)
    assert len(shipped.probes) >= 15 and shipped.facts.hz in RATES
    for name, one in shipped.probes.items():
        for run in shipped.runs[name]:
            assert (np.diff(run.events["time_ns"]) >= 0).all()
            assert run.events["next_pid"].max() == len(one.tasks)
            assert run.end_ns - run.begin_ns >= 500_000_000


@pytest.mark.parametrize("part", ["events", "about"])
def test_a_changed_recording_is_refused(tmp_path, part):
    path = tmp_path / "r.parquet"
    save_recording(recording(), path)
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[KEY])
    if part == "events":
        table = table.set_column(table.column_names.index("time_ns"), "time_ns", pc.add(table["time_ns"], 1))
    else:
        about["runs"][0]["end_ns"] += 1
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(about)}), path)
    with pytest.raises(ScenarioError, match="this one is damaged") as error:
        load_recording(path)
    assert str(error.value).startswith(f"compare: value '{path}'")


def test_a_flipped_byte_is_refused_or_says_the_same(tmp_path):
    path = tmp_path / "r.parquet"
    save_recording(recording(), path)
    whole, refused = path.read_bytes(), 0
    for at in range(0, len(whole), 17):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :])
        try:
            assert load_recording(path).facts == FACTS
        except ScenarioError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > len(whole) / 17 / 2


def test_the_old_format_is_read_and_said(tmp_path, capsys):
    path = tmp_path / "r.parquet"
    save_recording(recording(), path)
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[KEY]) | {"format": UNCHECKED_FORMAT}
    del about["checksum"]
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps(about)}), path)
    assert load_recording(path).probes == recording().probes
    assert capsys.readouterr().err.startswith(f"{path}: has no checksum (written by version 0.1)")
