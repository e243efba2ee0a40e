"""The evaluation: cells, storage, resumption, parallel runs, tables and the command line, on a fake machine."""

import io
import json
import os
import re
import signal
import time

import numpy as np
import pytest
from rich.console import Console

from baselines import cells, published, summary
from baselines.experiment import Case
from baselines.policies import PolicySource
from baselines.report import columns, numbers, terminal
from tests.helpers.evaluation import FAKE, launch, make_plan, plan_of, run, start, table, wait_for_cells
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario


def test_a_row_measures_after_the_warmup():
    scenario = apply_overrides(load_scenario("dbench-2vm"), ["run.duration_ns=500_000_000"])
    row = cells.run_cell(cells.Cell(scenario, PolicySource("stock"), 0), FAKE)
    assert row["time_ns"] == 500_000_000
    assert row["events"] == 500_000
    assert type(row["events"]) is int
    assert row["kvm_ple_yield_attempt"] == 500
    assert row["run_ns"] == 2 * row["vm_run_ns"][0] == 8_000_000_000
    assert row["units_per_s"] == pytest.approx(sum(row["vm_units_per_s"]))
    assert row["vm_name"] == ["vm-1", "vm-2"]
    assert 2000 <= row["units_per_s"] <= 4000


def test_tables_hold_everything(tmp_path):
    run(tmp_path / "out")
    rows = table(tmp_path / "out/cells.csv")
    assert len(rows) == 2 * 4 * 3
    assert [row["seed"] for row in rows[:4]] == ["0", "1", "2", "0"]
    assert json.loads(rows[0]["vm_name"]) == ["vm-1", "vm-2"]
    lines = {(row["scenario"], row["policy"]): row for row in table(tmp_path / "out/summary.csv")}
    line = lines["dbench-2vm", "debooster"]
    assert 0.1 <= float(line["change_low"]) <= float(line["change"]) <= float(line["change_high"]) <= 0.122
    assert float(line["published_v2"]) == 0.144
    assert float(line["ple_exits_per_s"]) == 2000
    assert float(line["yields_useful_share"]) == pytest.approx(0.1)
    assert float(line["spin_share"]) == pytest.approx(0.0625)
    assert float(line["penalties_per_s"]) == 300
    assert float(lines["dbench-2vm", "stock"]["change"]) == 0.0
    scores = {row["policy"]: row for row in table(tmp_path / "out/scores.csv")}
    assert float(scores["series-v2"]["change"]) >= 0.2
    assert float(scores["ipi"]["probability_of_improvement"]) == 0.0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert Scenario(**manifest["cases"][0]["scenario"]) == load_scenario("dbench-2vm")


def test_vms_that_differ_are_compared_by_ratio():
    vms = [{"name": "a", "vcpus": 2, "workload": "dbench"}, {"name": "b", "vcpus": 2, "workload": "vips"}]
    scenario = Scenario(name="mixed", vms=vms)

    def rows(*work):
        return [{"vm_units_per_s": list(pair), "vm_name": ["a", "b"], "seed": i} for i, pair in enumerate(work)]

    comparison = summary.Comparison(
        Case(scenario), "x", rows((2000.0, 5.0), (1000.0, 10.0)), rows((1000.0, 10.0), (1000.0, 10.0))
    )
    assert comparison.ratios == pytest.approx([1.0, 1.0])
    assert comparison.worst_vm == "b"
    assert comparison.worst_vm_change.value == pytest.approx(np.sqrt(0.5) - 1)
    assert np.isnan(comparison.rate_of_work.value)


def test_layouts_are_scored_apart(tmp_path):
    scenarios = [load_scenario("dbench-2vm"), apply_overrides(load_scenario("dbench-3vm"), ["host.cgroups=flat"])]
    _, scores = run(tmp_path / "out", plan_of(scenarios, ("stock", "ipi"), 2))
    assert [(row["layout"], row["policy"], row["scenarios"]) for row in scores] == [
        ("launched, per_vm cgroups, pvqspinlock locks, Linux 6.19", "stock", 1),
        ("launched, per_vm cgroups, pvqspinlock locks, Linux 6.19", "ipi", 1),
        ("launched, flat cgroups, pvqspinlock locks, Linux 6.19", "stock", 1),
        ("launched, flat cgroups, pvqspinlock locks, Linux 6.19", "ipi", 1),
    ]


def printed(tables):
    console = Console(width=160, record=True, file=io.StringIO())
    terminal.print_report(console, *tables)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert max(map(len, lines)) <= 80
    return "\n".join(lines)


def test_tables_fit_80_columns(tmp_path):
    text = printed(run(tmp_path / "out", scenarios=("dbench-2vm", "dedup-4vm")))
    for expected in ("dbench-2vm", "+14.4%", "+18.5%*", "dedup-4vm:\n", "P(better)", "12.5%"):
        assert expected in text
    assert "gap" not in text and "plain" not in text  # no oracle, no variants: columns of nothing are left out


def test_variants_are_held_against_the_plain_host(tmp_path):
    variants = ({"name": "plain"}, {"name": "flat-groups-of-a-long-name", "set": ["host.cgroups=flat"]})
    plan = make_plan(("dbench-2vm",), ("ipi",), variants=variants)
    tables = run(tmp_path / "out", plan)
    scores = {(row["layout"].partition(":")[0], row["policy"]): row for row in tables[1]}
    assert scores["plain", "stock"]["plain_change"] == 0.0
    stock, own = scores["flat-groups-of-a-long-name", "stock"], scores["flat-groups-of-a-long-name", "ipi"]
    assert own["plain_change"] == pytest.approx((1 + stock["plain_change"]) * (1 + own["change"]) - 1)
    text = printed(tables)
    assert "plain" in text and "(flat-groups-of-a-long-name)" in text


def test_hosts_with_other_vms_cannot_be_held_against_each_other():
    def comparison(workload, *names):
        vms = [{"name": name, "vcpus": 1, "workload": workload if i else "dedup"} for i, name in enumerate(names)]
        rows = [{"vm_units_per_s": [1.0 + i for i in range(len(vms))], "vm_name": list(names), "seed": 0}]
        return summary.Comparison(Case(Scenario(name="x", vms=vms)), "stock", rows, rows)

    two, three, mixed = comparison("dedup", "a", "b"), comparison("dedup", "a", "b", "c"), comparison("vips", "a", "b")
    assert summary.between(three, two) == pytest.approx([2.0])  # 6 units against 3
    assert summary.between(mixed, mixed) == pytest.approx([1.0])
    assert summary.between(mixed, two) is None
    assert summary.against([mixed], [two]) is None


@pytest.mark.parametrize("width", [4, 8, 20])
def test_names_break_between_words(width):
    name = "series-v3-margin/own_rule:of, mine"
    lines = columns.broken(name, width).splitlines()
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")
    assert all(len(line) <= max(width, 7) and re.fullmatch(r"\S.*", line) for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.1234, "0.123"),
        (999.4, "999"),
        (999.6, "1k"),
        (1234, "1.23k"),
        (999_600, "1M"),
        (1.4e6, "1.4M"),
        (2e12, "2000G"),
    ],
)
def test_amounts_are_short(value, text):
    assert numbers.amount(value) == text


def test_published_numbers():
    assert list(published.PUBLISHED) == [f"{w}-{n}vm" for w in ("dbench", "dedup", "vips") for n in (2, 3, 4)]
    assert published.PUBLISHED["dedup-4vm"].v3 == pytest.approx(0.185, abs=5e-4)
    assert published.gain_from_latency(0.0887) == pytest.approx(0.097, abs=5e-4)


def test_an_idle_baseline_is_said_not_hidden(tmp_path):
    scenario = apply_overrides(load_scenario("dbench-2vm"), ["vms.*.params.stalled=1"])
    tables = run(tmp_path / "out", plan_of([scenario], ("stock", "ipi"), 2))
    assert "n/a: some VM did no work under stock" in printed(tables)


def test_command(tmp_path):
    arguments = ("--scenario", "dbench-2vm", "--policy", "series-v2", "--quick", "--workers", "2")
    code, output, errors = launch(*arguments, cwd=tmp_path)
    assert code == 0, errors
    assert "series-v2" in output
    assert "stock" in output
    (directory,) = (tmp_path / "results").iterdir()
    assert directory.name.startswith("evaluate-")
    assert "4 cells in results/evaluate-" in errors
    assert (
        json.loads((directory / "manifest.json").read_text())["cases"][0]["scenario"]["run"]["duration_ns"]
        == 60_000_000
    )
    code, output, errors = launch(*arguments, cwd=tmp_path)
    assert (code, output) == (2, "")
    assert (
        errors == f"error: out: value 'results/{directory.name}' holds results that are complete (--resume uses them)\n"
    )
    code, resumed, _ = launch(*arguments, "--resume", cwd=tmp_path)
    assert code == 0
    assert "series-v2" in resumed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--policy", "series-v3"),
            "policy: value 'series-v3' (did you mean 'series-v2'?; or a file, as rules.py:NAME)",
        ),
        (
            ("--scenario", "dbench-2"),
            "scenario: value 'dbench-2' (a .toml file or a shipped name; did you mean 'dbench-2vm'?)",
        ),
        (
            ("--scenario", "dbench-2vm", "--scenario", "dbench-2vm"),
            "scenario: 'dbench-2vm' given twice (allowed: names that differ)",
        ),
        (
            ("--set", "host.hz=1", "--set", "kvm.ple=no"),
            "host.hz: value 1 (allowed: 100, 250, 300, 1000); kvm.ple: value 'no' (allowed: vmx, svm, off)",
        ),
        (("--set", "host.hs=1"), "host.hs: unknown field (did you mean 'hz'?)"),
        (
            ("--scenario", "vips-2vm", "--set", "vms.0.params.refuse=1", "--workers", "2"),
            "vips-2vm, stock, seed N: vms.0.params.refuse: unknown parameter",
        ),
        (("--executor", "proces"), "executor: value 'proces' (did you mean 'process'?)"),
        (("--address", "here:1"), "address: given with executor 'process' (allowed: with ray)"),
        (
            ("--experiment", "inerd"),
            "experiment: value 'inerd' (a .toml file or a shipped name; did you mean 'inert'?)",
        ),
        (("--workers", "-1"), None),
        (("--seeds", "0"), None),
        (("--seeds", "x"), None),
        (("--nonsense",), None),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, arguments, line):
    code, output, errors = launch(*arguments, cwd=tmp_path)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "Traceback" not in errors
    if line is not None:
        assert re.sub(r"seed \d", "seed N", errors) == f"error: {line}\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupt_and_resume(tmp_path, workers):
    arguments = (
        "--scenario",
        "dbench-2vm",
        "--policy",
        "ipi",
        "--seeds",
        "6",
        "--out",
        "stopped",
        "--workers",
        workers,
    )
    process = start(*arguments, cwd=tmp_path, seconds=0.05)
    wait_for_cells(process, tmp_path / "stopped", 3)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert "Traceback" not in errors
    assert "of 12 cells are stored; go on with: python -m baselines.evaluate --scenario dbench-2vm" in errors
    assert errors.endswith("--resume\n")
    assert json.loads((tmp_path / "stopped/manifest.json").read_text())["status"] == "partial"
    assert not (tmp_path / "stopped/cells.csv").exists()
    assert launch(*arguments, "--resume", cwd=tmp_path)[0] == 0
    assert launch(*arguments[:-4], "--out", "whole", "--workers", "2", cwd=tmp_path)[0] == 0
    assert (tmp_path / "stopped/cells.csv").read_bytes() == (tmp_path / "whole/cells.csv").read_bytes()


def test_a_killed_run_takes_its_workers_along_and_resumes(tmp_path):
    arguments = ("--scenario", "vips-2vm", "--policy", "ipi", "--seeds", "6", "--out", "killed", "--workers", "2")
    process = start(*arguments, cwd=tmp_path, seconds=0.05)
    wait_for_cells(process, tmp_path / "killed", 3)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("worker processes outlive the run")
    process.stdout.close(), process.stderr.close()
    assert launch(*arguments, "--resume", cwd=tmp_path)[0] == 0
