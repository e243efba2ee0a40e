"""Validation: what is compared, how it is judged, and the page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import paths
from tests.helpers.command_line import call, refused
from vcpu_env.executors.local import Inline
from vcpu_env.validate import cells, golden, page, published
from vcpu_env.validate.runs import Job, Rates, run
from vcpu_env.validate.verdict import Part, Verdict

GOLDEN = str(paths.GOLDEN / "kvm")
STACKED = next(cell for cell in cells.cells() if cell.id == "d-n2-ipi-2vm-stacked-stock")


def rates(**values) -> Rates:
    given = dict.fromkeys(("work", "pause_exits", "yields", "switches", "steal_share", "stacked", "gang_index"), 0.0)
    return Rates(vm_work=(), **(given | values))


def test_every_recorded_cell_is_a_scenario():
    every = cells.cells()
    assert len(every) == 52 and len({cell.id for cell in every}) == 52
    for cell in every:
        scenario = cells.scenario_of(cell)
        assert [[cpu for (cpu,) in vm.pinning or ()] for vm in scenario.vms] == [list(cpus) for cpus in cell.placement]
        assert all(vm.pinning is None for vm in cells.scenario_of(cell, pinned=False).vms)
        assert scenario.host.base_slice_ns == {2: 1_400_000, 4: 2_100_000}[cell.cpus]


def test_bistable_cells():
    """Nobody is yielded to; three VMs spread; or a vCPU starved."""
    for cell in cells.cells():
        spread = len(cell.placement) == 3 and all(sorted(cpus) == [0, 1] for cpus in cell.placement)
        assert cell.bistable == (cell.policy == "ignore" or spread or cell.id == "rw0-n4-pin-ipi-2vm-borrow")


def test_a_stacked_cell_meets_its_recording():
    """Two VMs, each with both vCPUs on one CPU: a unit of work takes a yield each way."""
    seen = run(Job(cells.scenario_of(STACKED), "stock", 0))
    assert seen.stacked > 0.99 and seen.gang_index == 0
    assert seen.work == pytest.approx(STACKED.work, rel=0.1)
    assert seen.switches == pytest.approx(STACKED.switches, rel=0.1)
    assert seen.yields == pytest.approx(STACKED.yields, rel=0.1)


def test_verdicts_of_a_cell():
    cell = replace(STACKED, work=1000.0, pause_exits=5000.0, yields=50.0, switches=0.0, bistable=False)
    two = [rates(work=1000, pause_exits=5600, yields=150, switches=0), rates(work=1198, pause_exits=5600, yields=149)]
    assert [v.met for v in cells.judge(cell, two)] == [True, False, True, True]
    bistable = replace(cell, bistable=True)
    wide = [rates(work=400, pause_exits=100, yields=0), rates(work=2000, pause_exits=4000, yields=0)]
    assert [v.met for v in cells.judge(bistable, wide)] == [True, False, True, True]


def test_a_recording_as_one_more_draw():
    """Three seeds: a draw from the same distribution lies within their range in half of all cases."""
    cell = replace(STACKED, work=1000.0, pause_exits=5000.0, yields=50.0, switches=7.0)
    three = [rates(work=w, pause_exits=p, yields=50, switches=7) for w, p in ((900, 4900), (1100, 4950), (1001, 4000))]
    part = cells.among_draws({cell.id: three}, [cell], 3)
    assert [v.met for v in part.verdicts] == [True, False, True, True] and part.needed == 0.5
    assert part.verdicts[0].seen == "1 of 3 below; 900 to 1,100"


def test_every_published_figure_can_be_measured():
    ids = [check.id for check in published.checks()]
    assert sorted(ids) == sorted(published.QUESTIONS)
    assert all(check.low < check.high for check in published.checks())
    results = published.Results()
    for check in published.checks():
        published.QUESTIONS[check.id](results, 3)
    assert len(results.asked) == len({s.model_dump_json() for s, _ in results.asked.values()})


def test_hogs_steal_half():
    check = next(check for check in published.checks() if check.id == "T10-two-hogs")
    share = published.answers(Inline(), [check], 1, lambda done, of: None)["T10-two-hogs"]
    assert check.low <= share <= check.high


def test_golden_sets(tmp_path):
    sets = golden.sets_of(Path(GOLDEN))
    assert sets and all(paths for paths in sets.values())
    with pytest.raises(ValueError, match="golden: value .* with recorded traces"):
        golden.sets_of(tmp_path)


def test_the_page():
    verdicts = (Verdict("a | b", "1", "2", False), Verdict("c", "1", "1", True), Verdict("d", "", "3"))
    part = Part("Cells", "what they are", verdicts, 0.5)
    text = page.markdown([part], "vcpu-env validate cells")
    assert part.score == (1, 2)
    assert "| Cells | 1 of 2 | 50% |" in text and "| a \\| b | 1 | 2 | missed |" in text
    assert text.index("missed |") < text.index("| met |", text.index("## Cells"))


def test_refusals(tmp_path):
    assert refused("validate", "cels") == "PART: value 'cels' (did you mean 'cells'?)"
    assert refused("validate", "golden") == "golden: no directory of traces (allowed: with --golden DIR)"
    assert "with recorded traces" in refused("validate", "golden", "--golden", tmp_path)


def test_traces_from_the_command_line(tmp_path):
    code, out, _ = call("validate", "golden", "--golden", GOLDEN, "--json", "--workers", 1)
    (part,) = json.loads(out)
    assert code == 0 and part["met"] == part["of"] > 0
    code, out, _ = call("validate", "golden", "--golden", GOLDEN, "-o", tmp_path / "page.md", "--workers", 1)
    assert code == 0 and "Traces of the kernel's own code" in out
    assert (tmp_path / "page.md").read_text().startswith("# Validation")
