"""The calibration page: every assumed number has a range; effects are found; cells are run once; the page is made."""

import csv
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from baselines.store import Store
from experiments.calibration.__main__ import DIRECTORY, analyse
from experiments.calibration.design import SEEDS, Range, load_ranges, make_design, make_plans
from experiments.calibration.effects import Effect, Response, effects_of, response
from experiments.calibration.page import check_ranges, conclusions, tag_of, write_page
from experiments.study import StudyError, read_sweeps
from tests.helpers.counting_machine import CountingMachine
from tests.helpers.paths import ROOT
from vcpu_env.executors.local import Inline
from vcpu_env.guest.workloads import APPLICATIONS
from vcpu_env.scenario import Costs

RANGES = load_ranges(DIRECTORY / "ranges.toml")
MACHINE = "tests.experiments.test_calibration:AssumingMachine"
YIELD_NS = "host.costs.yield_to_ns"
COUNTED = ("kernel_ns", "nvcsw", "nivcsw", "ipi_reschedule", "ipi_call")


class AssumingMachine(CountingMachine):
    """A machine on which series-v2 gains the more, the cheaper a yield is, and unserved-credit gains by chance."""

    def counters(self):
        counted = super().counters()
        cost = self.scenario.host.costs.yield_to_ns / 1200
        luck = np.random.default_rng([1, self.seed, self.scenario.host.costs.tick_ns]).normal(0, 0.02)
        gain = {"series-v2": 1.3 - 0.2 * cost + luck / 20, "unserved-credit": 1 + luck}.get(self.policy, 1.0)
        for vm in counted["vms"]:
            vm["work_units"] = 1000.0 * gain * self.now / 1e9
            vm |= dict.fromkeys(COUNTED, self.now // 1000)
        return counted


def small(seeds: int = 1):
    return RANGES.model_copy(update={"seeds": seeds})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    ranges = small(2)
    designs = [make_design(ranges, workload, "morris", 4) for workload in ("dbench", "vips")]
    store = Store(tmp_path_factory.mktemp("results") / "c", resume=True)
    return ranges, designs, store, analyse(ranges, designs, store, Inline(), (), MACHINE)


def test_every_assumed_number_has_a_range_that_holds_it():
    assert check_ranges(RANGES) == []
    without = RANGES.model_copy(update={"ranges": RANGES.ranges[1:]})
    assert check_ranges(without) == [RANGES.ranges[0].field]
    beside = Range(field=YIELD_NS, low=5000, high=9000, reason="too high")
    assert check_ranges(RANGES.model_copy(update={"ranges": (*RANGES.ranges, beside)})) == [YIELD_NS]
    assert RANGES.workloads.keys() <= APPLICATIONS.keys()


def test_values_of_a_range():
    whole = Range(field="vms.*.params.n", low=4, high=64, whole=True, reason="")
    assert [whole.value(u) for u in (0, 0.25, 0.5, 1)] == [4, 8, 16, 64]
    share = Range(field="x", low=0, high=1, scale="linear", reason="")
    assert share.value(0.25) == 0.25
    with pytest.raises(ValueError, match=r"low: value 0 \(allowed: below high, 1; above 0 if scale is log\)"):
        Range(field="x", low=0, high=1, reason="")


def test_tags():
    assert tag_of("half a round trip [measured]") == "measured" and tag_of("a [b] c") == ""
    tags = {tag_of(field.description or "") for field in Costs.model_fields.values()}
    assert tags == {"assumed", "measured", "published"}


@pytest.mark.parametrize("method", ["morris", "sobol"])
def test_points_become_scenarios(method):
    design = make_design(RANGES, "dedup", method, 2)
    assert design.points.shape[1] == len(RANGES.of("dedup")) + 1 == len(design.problem["names"])
    for point in design.points[:: len(design.points) // 3]:
        scenario = design.scenario(point)
        at = {r.field: r.value(float(u)) for r, u in zip(design.ranges, point[:-1], strict=True)}
        assert scenario.host.costs.yield_to_ns == at[YIELD_NS]
        assert scenario.guest_costs.futex_ns == at["guest_costs.futex_ns"]
        assert {vm.params["write_ns"] for vm in scenario.vms} == {at["vms.*.params.write_ns"]}
        assert scenario.run.duration_ns == 400_000_000
    again = make_design(RANGES, "dedup", method, 2)
    assert (again.points == design.points).all()
    plans = make_plans(RANGES, design)
    cases = sum(len(plan.cases) for name, plan in plans.items() if not name.endswith("default"))
    assert cases == len(design.points)
    seeds = [set(plan.seeds) for name, plan in plans.items() if not name.endswith("default")]
    assert len(set.union(*seeds)) == sum(map(len, seeds)), "sets of seeds have none in common"


@pytest.mark.parametrize("method", ["morris", "sobol"])
def test_the_number_that_decides_is_found(method):
    design = make_design(RANGES, "vips", method, 8)
    column = [r.field for r in design.ranges].index(YIELD_NS)
    gains = 10 * design.points[:, column] + np.random.default_rng(1).normal(0, 0.1, len(design.points))
    effects = sorted(effects_of(design, gains, RANGES.levels), key=lambda effect: -effect.size)
    found = Response("vips", "p", gains, 5.0, effects)
    assert [e.parameter for e in found.told] == [YIELD_NS]
    assert found.verdict in ("gain, robust", "depends")
    assert {e.size for e in effects_of(design, 0 * gains, RANGES.levels)} == {0.0}


@pytest.mark.parametrize(
    ("gains", "told", "verdict"),
    [
        ([2, 3, 4], 0, "gain, robust"),
        ([-2, -3, -4], 9, "loss, robust"),
        ([0.1, -0.2, 0.3], 9, "no effect, robust"),
        ([-2, 3, 4], 9, "depends"),
        ([-2, 3, 4], 1, "not told from chance"),
    ],
)
def test_verdicts(gains, told, verdict):
    effects = [Effect("a", told, 0, 0.5), Effect(SEEDS, 1, 0, 0.5)]
    found = Response("w", "p", np.array(gains, float), 1.0, effects)
    assert found.verdict == verdict
    text = "\n".join(conclusions([found]))
    assert f"**w, p: {verdict}.**" in text
    assert ("Robust, whatever the assumptions are within their ranges: w under p." in text) == verdict.endswith(
        "robust"
    )


def test_effects_of_a_run(finished):
    ranges, designs, store, plans = finished
    sweeps = read_sweeps(plans, store)
    series, credit = (response(designs[1], sweeps, policy, ranges.levels) for policy in ranges.policies)
    assert [e.parameter for e in series.told] == [YIELD_NS] and series.effects[0].parameter == YIELD_NS
    assert credit.told == []
    assert series.default == pytest.approx(10, abs=1) and len(series.gains) == len(designs[1].points)
    assert series.noise < 1 < credit.noise


def test_page(finished, tmp_path):
    ranges, designs, store, plans = finished
    write_page(ranges, designs, read_sweeps(plans, store), tmp_path / "page.md", tmp_path / "tables", 4)
    page = (tmp_path / "page.md").read_text()
    for heading in ("What each workload rests on", "Which conclusions hold", "What decides", "### dbench", "### vips"):
        assert heading in page
    assert "](tables/effects.svg)" in page and (tmp_path / "tables" / "effects.svg").exists()
    assert f"| {YIELD_NS} |" in page and "vips, series-v2: " in page
    with (tmp_path / "tables" / "robustness.csv").open(newline="") as file:
        assert [(row["workload"], row["policy"]) for row in csv.DictReader(file)] == [
            (design.workload, policy) for design in designs for policy in ranges.policies
        ]


def test_cells_are_run_once(finished, capsys):
    ranges, designs, store, plans = finished
    analyse(ranges, designs, store, Inline(), (), "no.such:machine")
    assert capsys.readouterr().err == ""
    cells = {cell.key for plan in plans.values() for cell in plan.cells().values()}
    assert len(list((store.directory / "cells").iterdir())) == len(cells)
    more = [replace(designs[0], points=1 - designs[0].points)]
    with pytest.raises(ModuleNotFoundError):
        analyse(ranges, more, store, Inline(), (), "no.such:machine")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("policies = 3", "policies: value 3 (allowed: a list of strings)"),
        ("x = ", "(allowed: a TOML file;"),
        ("seeds = 0", "seeds: value 0 (allowed: integer 1..1000)"),
    ],
)
def test_ranges_that_cannot_be(tmp_path, toml, message):
    (tmp_path / "r.toml").write_text(toml)
    with pytest.raises(StudyError) as error:
        load_ranges(tmp_path / "r.toml")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quick"], "error: out: missing (needed with --quick"),
        (["--method", "fast"], "error: method: value 'fast' (allowed: morris, sobol)"),
        (["--only", "games", "--out", "x"], "error: only: value 'games' (allowed: dbench, dedup, vips)"),
        (["--method", "sobol", "--samples", "12", "--out", "x"], "error: samples: value 12 (allowed: a power of 2"),
    ],
)
def test_mistakes(arguments, message):
    command = [sys.executable, "-m", "experiments.calibration", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
