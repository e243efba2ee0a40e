"""The studies: their sweeps load, their cells are run once, their tables and READMEs are made from all of them."""

import csv
import re
import runpy
from dataclasses import replace

import pytest

from baselines.statistics import Estimate
from baselines.store import Store
from experiments import study, tables
from tests.helpers.counting_machine import MACHINE
from vcpu_env.executors.local import Inline
from vcpu_env.policy.fingerprint import fingerprint
from vcpu_env.policy.named import POLICIES

STUDIES = study.list_studies()


@pytest.fixture(scope="module", params=STUDIES)
def finished(request, tmp_path_factory):
    """A study all of whose cells were run, quickly, on a machine that only counts."""
    directory = study.ROOT / request.param
    plans = {name: replace(plan, seeds=range(1)) for name, plan in study.load_plans(directory, quick=True).items()}
    store = Store(tmp_path_factory.mktemp("results") / request.param, resume=True)
    study.run_cells(plans, store, Inline(), MACHINE)
    return directory, plans, store


def test_tables_of_every_study_are_made(finished, tmp_path):
    directory, plans, store = finished
    runpy.run_path(str(study.script_of(directory)))["write_study"](study.read_sweeps(plans, store), directory, tmp_path)
    for path in (tmp_path / "tables").glob("*.csv"):
        with path.open(newline="") as file:
            assert len(list(csv.DictReader(file))) > 0
        assert (directory / "tables" / path.name).exists()


def test_readmes_hold_their_committed_tables(finished, tmp_path):
    directory, _, _ = finished
    readme = (directory / "README.md").read_text("utf-8")
    marks = tables.MARK.findall(readme)
    assert len(marks) >= 3
    for _, name, _ in marks:
        with (directory / "tables" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        body = re.search(rf"<!-- table: {name} -->\n(.*?)<!-- end -->", readme, re.DOTALL)
        lines = [line for line in body[1].splitlines() if line.startswith("|")]
        assert len(lines) == len(rows) + 1
        for line, row in zip(lines[2:], rows[1:], strict=True):
            assert line.startswith(f"| {row[0]} |")
    for drawing in re.findall(r"\]\((tables/[^)]*)\)", readme):
        assert (directory / drawing).exists()


def test_cells_are_run_once(finished, capsys):
    _, plans, store = finished
    study.run_cells(plans, store, Inline(), "no.such:machine")
    assert capsys.readouterr().err == ""


def test_a_sweep_that_was_not_run_is_named(tmp_path):
    plans = study.load_plans(study.ROOT / "series-review", ["pingpong"], quick=True)
    with pytest.raises(study.StudyError, match=r"pingpong: micro-pingpong, stock, seed 0 has not been run"):
        study.read_sweeps(plans, Store(tmp_path / "results", resume=True))
    with pytest.raises(study.StudyError, match=r"only: value 'pong' \(allowed: .*pingpong"):
        study.load_plans(study.ROOT / "series-review", ["pong"])


def test_the_machine_counts_what_tables_read(tmp_path):
    plans = study.load_plans(study.ROOT / "series-review", ["pingpong"], quick=True)
    store = Store(tmp_path / "results", resume=True)
    study.run_cells(plans, store, Inline())
    sweeps = study.read_sweeps(plans, store)
    script = runpy.run_path(str(study.ROOT / "series-review" / "series_review.py"))
    made = script["pingpong"](sweeps)
    assert len(made.rows) == 2 * 8
    assert all(row["yields per 1000 units"] > 0 for row in made.rows)
    rows = script["mechanism"](sweeps["pingpong"], ["series-v2"])
    assert all(isinstance(row["switches per unit"], Estimate) for row in rows)
    assert len(script["by_vm"](sweeps["pingpong"], ["stock", "series-v2"])) == 2 * 2
    counted = sweeps["pingpong"].of("series-v2")[0].cells[0]
    assert {f"deboost_{name}" for name in ("limited", "cross_rq", "wrapped", "penalty_ns", "forfeit")} <= counted.keys()


def test_every_process_gives_a_policy_the_same_address():
    for policy in POLICIES.values():
        assert " at 0x" not in fingerprint(policy), policy.name


def test_changes_are_bold_if_told_from_none():
    rows = [{"scenario": "a", "change": Estimate(0.031, 0.01, 0.052)}, {"scenario": "b", "change": None}]
    table = tables.Table("t", rows)
    assert "| a | **+3.1 (+1.0 to +5.2)** |" in table.markdown()
    assert table.csv().splitlines()[:2] == ["scenario,change,change_low,change_high", "a,3.10,1.00,5.20"]
    with pytest.raises(study.StudyError, match=r"table 'x' \(allowed: t\)"):
        tables.fill("<!-- table: x -->\n<!-- end -->", {"t": table})
