"""The runs that a report lets one look into: which they are, how they are named, and their pages."""

import json

import pytest

from baselines.report.results import read_results
from baselines.report.timelines import commands, exhibits
from baselines.store import read_manifest
from tests.baselines.test_report import Page, report
from tests.helpers.evaluation import make_plan, run

pytest.importorskip("jinja2")
pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("results") / "out"
    run(directory, make_plan(("dbench-2vm", "dedup-3vm"), ("ipi", "series-v2", "oracle"), seeds=3))
    return directory


def test_the_best_gain_and_the_worst_harm_of_what_a_host_could_run(results):
    found = exhibits(read_results(results))
    assert [(e.name, e.comparison.policy) for e in found] == [("gain", "series-v2"), ("harm", "ipi")]
    for exhibit in found:
        launch = exhibit.seed - exhibit.first_seed
        assert sorted(exhibit.changes)[1] == exhibit.changes[launch]  # the median of three
    gain, harm = found
    assert gain.changes == (gain.comparison.ratios - 1).tolist()
    assert (
        max(c.change.value for c in read_results(results).comparisons if c.policy == "series-v2")
        == gain.comparison.change.value
    )
    assert harm.title == f"Worst harm, to {harm.comparison.worst_vm}"
    begin_ns, end_ns = gain.window_ns
    timing = gain.comparison.scenario.run
    assert begin_ns == timing.warmup_ns + timing.duration_ns // 2 and end_ns == begin_ns + 10_000_000


def test_the_report_names_the_commands(results):
    code, _, errors = report(results)
    assert code == 0, errors
    read = read_results(results)
    text = (results / "report.md").read_text()
    for exhibit in exhibits(read):
        trace, diff = commands(read, exhibit)
        name = exhibit.comparison.scenario.name
        policy = exhibit.comparison.policy
        assert trace.startswith(f"vcpu-env trace {name} --policy stock --beside {policy} --seed {exhibit.seed} --from ")
        assert f"`{trace}` draws both runs" in text and f"`{diff}` finds" in text
    assert "`python -m baselines.report DIR --timelines` draws these runs" in text
    assert not (results / "timelines").exists()


def test_a_scenario_that_was_changed_has_no_command(tmp_path):
    directory = tmp_path / "out"
    run(directory, make_plan(("dbench-2vm",), ("series-v2",), overrides=["host.hz=250"]))
    read = read_results(directory)
    assert [commands(read, exhibit) for exhibit in exhibits(read)] == [[]]


def test_results_of_another_source_are_not_drawn(results, tmp_path):
    path = results / "manifest.json"
    before = path.read_text()
    path.write_text(json.dumps(read_manifest(results) | {"source": "f" * 16}))
    try:
        code, _, errors = report(results, "--timelines", "--out", tmp_path / "there")
    finally:
        path.write_text(before)
    assert code == 2 and errors.startswith("error: timelines: results of source ffffffffffffffff (allowed: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.slow
def test_pages_are_written_and_linked(tmp_path):
    """A real evaluation of a small host, its two runs drawn again: a page holds both, in the window that was named."""
    from baselines import evaluate, experiment, store
    from vcpu_env.executors import make as executor
    from vcpu_env.policy.named import POLICIES

    directory = tmp_path / "out"
    scenario = tmp_path / "storm.toml"
    scenario.write_text(
        'name = "storm"\n[host]\ncpus = 3\nplacement = "one_per_cpu"\nnoise = "none"\n'
        '[[vms]]\nname = "vm"\ncount = 2\nvcpus = 6\nworkload = "dbench"\n'
        "[run]\nwarmup_ns = 10_000_000\nduration_ns = 40_000_000\n"
    )
    asked = experiment.Experiment(name="test", scenarios=(str(scenario),), policies=("series-v2", "vee21"), seeds=2)
    plan = experiment.make_plan(asked, POLICIES, [])
    evaluate.evaluate(plan, store.Store(directory, False), executor.make_executor("inline", None))
    code, _, errors = report(directory, "--timelines")
    assert code == 0, errors
    found = exhibits(read_results(directory))
    links = [link for link in Page((directory / "report.html").read_text()).links if not link.startswith("#")]
    assert links == [f"timelines/{exhibit.name}.html" for exhibit in found] and found
    for exhibit in found:
        text = (directory / "timelines" / f"{exhibit.name}.html").read_text()
        data = json.loads(text.partition('type="application/json">')[2].partition("</script>")[0])
        assert [one["policy"] for one in data["runs"]] == ["stock", exhibit.comparison.policy]
        assert data["from_ns"] == exhibit.window_ns[0] and data["seed"] == exhibit.seed
        assert data["runs"][0]["explain"] == ""
