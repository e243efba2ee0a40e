"""A directory of results: keys, integrity, refusals."""

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baselines import cells, evaluate, store
from baselines.policies import PolicySource
from tests.helpers.evaluation import make_plan, run
from vcpu_env.scenario import apply_overrides, load_scenario

STOCK, IPI = PolicySource("stock"), PolicySource("ipi")


def test_key_changes_with_everything_that_matters(monkeypatch):
    scenario = load_scenario("dbench-2vm")
    keys = [
        cells.Cell(scenario, STOCK, 0).key,
        cells.Cell(apply_overrides(scenario, ["host.hz=250"]), STOCK, 0).key,
        cells.Cell(scenario, IPI, 0).key,
        cells.Cell(scenario, PolicySource("stock", digest="other parameters"), 0).key,
        cells.Cell(scenario, STOCK, 1).key,
    ]
    assert cells.Cell(load_scenario("dbench-2vm"), STOCK, 0).key == keys[0]
    monkeypatch.setattr(cells, "source_id", lambda: "edited")
    keys.append(cells.Cell(scenario, STOCK, 0).key)
    assert len(set(keys)) == 6


def test_a_cell_comes_back_as_it_was(tmp_path):
    results = store.Store(tmp_path / "out", False)
    cell = cells.Cell(load_scenario("dbench-2vm"), STOCK, 0)
    row = {"scenario": "dbench-2vm", "x": 0.1 + 0.2, "n": 2**62, "vm_n": [1, 2], "none": None, "vm_log2": [[1], [2]]}
    assert results.load(cell) is None
    results.save(cell, row)
    assert results.load(cell) == row
    assert [path.name for path in (tmp_path / "out/cells").iterdir()] == [results.path(cell).name]


def test_a_full_disk_loses_nothing_that_was_stored(tmp_path, monkeypatch):
    directory = tmp_path / "out"
    write, written = Path.write_bytes, []

    def until_full(path, content):
        written.append(path)
        if len(written) == 5:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(store.StoreError, match=r"\.parquet: cannot be written \(No space left on device\)"):
        run(directory)
    monkeypatch.undo()
    stored = {path: path.read_bytes() for path in (directory / "cells").iterdir()}
    assert len(stored) == 3  # the manifest was first
    assert all(path.suffix == ".parquet" and not path.name.startswith(".") for path in stored)
    assert str(run(directory, resume=True)) == str(run(tmp_path / "with_room"))
    assert all(path.read_bytes() == content for path, content in stored.items())


@pytest.mark.parametrize("damage", ["torn", "flipped", "swapped", "empty"])
def test_a_damaged_cell_is_noticed(tmp_path, damage):
    results = store.Store(tmp_path / "out", False)
    one, two = (cells.Cell(load_scenario("dbench-2vm"), STOCK, seed) for seed in (0, 1))
    for cell in (one, two):
        results.save(cell, {"numbers": list(range(1000)), "seed": cell.seed})
    content = bytearray(results.path(one).read_bytes())
    if damage == "flipped":
        content[len(content) // 3] ^= 1
    content = {"torn": content[:100], "empty": b"", "swapped": results.path(two).read_bytes()}.get(damage, content)
    results.path(one).write_bytes(content)
    with pytest.raises(store.StoreError, match=r"\.parquet: damaged, or not the result of dbench-2vm, stock, seed 0"):
        results.load(one)
    assert results.load(two)["seed"] == 1


def test_resume_runs_only_what_is_missing(tmp_path, monkeypatch, capsys):
    directory = tmp_path / "out"
    before = run(directory, seeds=2)
    files = sorted((directory / "cells").iterdir())
    files[0].unlink()
    files[1].write_bytes(b"torn")
    ran = []
    monkeypatch.setattr(evaluate, "run_cell", lambda cell, machine: ran.append(cell) or cells.run_cell(cell, machine))
    assert repr(run(directory, seeds=2, resume=True)) == repr(before)
    assert sorted(f"{cell.key[:32]}.parquet" for cell in ran) == [path.name for path in files[:2]]
    assert f"{files[1]}: damaged, or not the result of " in capsys.readouterr().err
    ran.clear()
    run(directory, seeds=3, resume=True)
    assert [cell.seed for cell in ran] == [2] * 8


def test_changed_source_never_mixes_results(tmp_path, monkeypatch):
    run(tmp_path / "out", seeds=1)
    ran = []
    monkeypatch.setattr(cells, "source_id", lambda: "edited")
    monkeypatch.setattr(evaluate, "run_cell", lambda cell, machine: ran.append(cell) or cells.run_cell(cell, machine))
    run(tmp_path / "out", seeds=1, resume=True)
    assert len(ran) == 8


def test_a_directory_that_vanishes_is_an_error(tmp_path):
    results = store.Store(tmp_path / "out", False)
    (tmp_path / "out/cells").rmdir()
    with pytest.raises(store.StoreError, match=r"\.parquet: cannot be written \(No such file or directory\)"):
        results.save(cells.Cell(load_scenario("dbench-2vm"), STOCK, 0), {"seed": 0})


def test_equal_cells_run_once(tmp_path):
    plan = make_plan(("dbench-2vm",), ("stock",), 2)
    plan = plan.__class__(
        "twice", "", [*plan.cases, plan.cases[0].__class__(plan.cases[0].scenario, "again")], plan.policies, plan.seeds
    )
    summary, _ = run(tmp_path / "out", plan)
    assert [row["variant"] for row in summary] == ["", "again"]
    assert len(list((tmp_path / "out/cells").iterdir())) == 2
    assert pq.read_table(tmp_path / "out/cells.parquet").num_rows == 4


def test_a_directory_is_not_overwritten(tmp_path):
    run(tmp_path / "out", seeds=1)
    with pytest.raises(store.StoreError, match=r"holds results that are complete \(--resume"):
        store.Store(tmp_path / "out", resume=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    for resume in (False, True):
        with pytest.raises(store.StoreError, match="an empty directory"):
            store.Store(tmp_path / "mine", resume)
        with pytest.raises(store.StoreError, match="a directory"):
            store.Store(tmp_path / "mine/letter.txt", resume)


@pytest.mark.parametrize("manifest", ["{", "[]", json.dumps({"status": "complete"}), None])
def test_foreign_directories_are_refused(tmp_path, manifest):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(store.StoreError, match=r"manifest\.json: (not written by an evaluation|No such file)"):
        store.read_manifest(tmp_path)
    if manifest is not None:
        with pytest.raises(store.StoreError, match="not written by an evaluation"):
            store.Store(tmp_path, resume=True)
    (tmp_path / "cells.parquet").write_text("no table")
    with pytest.raises(store.StoreError, match=r"cells\.parquet: cannot be read"):
        store.read_rows(tmp_path)


ROWS = [{"scenario": "a", "x": 0.1, "n": 3, "vm_n": [1, 2], "none": None}, {"scenario": "b", "x": float("inf")}]


def test_a_damaged_table_is_refused(tmp_path):
    """A flipped byte is noticed, or lies where nothing is read; a table of another content never passes."""
    results = store.Store(tmp_path / "out", False)
    results.write_tables(ROWS, ROWS, ROWS)
    path = tmp_path / "out/cells.parquet"
    whole, rows = path.read_bytes(), store.read_rows(tmp_path / "out")
    assert [row["x"] for row in rows] == [0.1, float("inf")]
    refused = 0
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            assert store.read_rows(tmp_path / "out") == rows
        except store.StoreError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refused += 1
    assert refused > len(whole) / 5 / 2
    other = pa.Table.from_pylist(ROWS[:1]).replace_schema_metadata({store.CHECKSUM: b"0" * 32})
    pq.write_table(other, path)
    with pytest.raises(store.StoreError, match=r"cells\.parquet: damaged"):
        store.read_rows(tmp_path / "out")


def test_a_table_without_a_checksum_is_refused(tmp_path):
    """A byte of its metadata is enough to lose the checksum's name."""
    pq.write_table(pa.Table.from_pylist(ROWS[:1]), tmp_path / "cells.parquet")
    with pytest.raises(store.StoreError, match=r"cells\.parquet: no checksum: damaged, or written before 0\.2"):
        store.read_rows(tmp_path)


def test_a_changed_manifest_is_refused(tmp_path):
    content = {"status": "complete", "source": "s", "policies": [], "seeds": 5, "cases": []}
    results = store.Store(tmp_path / "out", False)
    results.write_manifest(content)
    assert store.read_manifest(tmp_path / "out") == content
    results.manifest.write_text(results.manifest.read_text().replace("5", "6", 1))
    with pytest.raises(store.StoreError, match=r"manifest\.json: damaged"):
        store.read_manifest(tmp_path / "out")
