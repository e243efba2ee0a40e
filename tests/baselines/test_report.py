"""The report: what it says, that it stands alone, and how it refuses what it cannot read."""

import importlib
import io
import json
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser

import numpy as np
import pytest

from baselines import attribution, statistics
from tests.helpers.evaluation import make_plan, run

pytest.importorskip("jinja2")
pytest.importorskip("scipy")

VOID = {"meta", "br", "img", "link"}


def report(*arguments):
    """Run the command; returns exit code, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["report", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            importlib.import_module("baselines.report.__main__").main()
    return end.value.code or 0, output.getvalue(), errors.getvalue()


class Page(HTMLParser):
    """Checks nesting; collects text, tags, and whatever an attribute refers to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.links = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("results") / "out"
    plan = make_plan(
        ("dbench-2vm", "dedup-3vm"),
        ("debooster", "ipi", "series-v2", "oracle", "oracle-hint"),
        overrides=["vms.*.params.histograms=1"],
        variants=({"name": "plain"}, {"name": "flat", "set": ["host.cgroups=flat"]}),
        title="Does <it> & they help?",
    )
    run(directory, plan)
    code, output, errors = report(directory)
    assert (code, output) == (0, ""), errors
    assert errors == f"{directory}/report.html, {directory}/report.md\n"
    return directory


def test_the_page_stands_alone(results):
    text = (results / "report.html").read_text()
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import|@font-face", text)
    assert "@media screen and (prefers-color-scheme: dark)" in text and "details::details-content" in text
    colours = {colour for colour in re.findall(r'(?:fill|stroke)="([^"]+)"', text)}
    assert {"#000", "black", "#fff", "white"}.isdisjoint(colours) and "currentColor" in colours
    # variants; gains of two programs; profiles of two layouts; two clouds; CPU time of policies, of variants
    assert page.tags.count("svg") == 1 + 2 + 2 + 2 + 1 + 1
    assert "Does <it> & they help?" in "".join(page.words)
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert {link[1:] for link in page.links} <= ids


def test_the_page_says_what_was_found(results):
    text = " ".join(" ".join(Page((results / "report.html").read_text()).words).split())
    manifest = json.loads((results / "manifest.json").read_text())
    for expected in (
        "4 cases, 3 seeds (0..2): 72 runs of 1 s after 400 ms",
        manifest["source"],
        "Against plain, the plain host: under stock flat has most,",
        "Policies against stock of the same layout; never averaged over layouts.",
        "Scores, plain: launched, per_vm cgroups, pvqspinlock locks, Linux 6.19",
        "Scores, flat: launched, flat cgroups, pvqspinlock locks, Linux 6.19",
        "Variants against each other, under stock",
        "or lost in one of seven ways",
        "oracle (oracle)",
        "against series-v2",
        "gap closed: same knobs",
        "With so few seeds they are too narrow",
        "faster in 2 of 2 cases, slower in none",
        "dedup-3vm [flat]",
        "+14.4 %",
        "series-v2, flat: +2",
        "0 → 300",
        "1.72 µs",
        "11.1 → 5.6 %",
    ):
        assert expected in text, expected


def test_the_markdown_has_its_drawings_and_whole_tables(results):
    text = (results / "report.md").read_text()
    drawings = re.findall(r"\]\(figures/([^)]+)\)", text)
    assert len(drawings) == len(set(drawings)) == 9
    assert {path.name for path in (results / "figures").iterdir()} == set(drawings)
    assert all((results / "figures" / name).read_text().startswith("<svg") for name in drawings)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_figures_have_the_order_of_the_tables(results):
    """Policies by their score on the plain host, in every table and every drawing."""
    text = (results / "report.md").read_text()
    (scores,) = re.findall(r"### Scores, plain:.*\n\n(?:\|.*\n){2}((?:\|.*\n)+)", text)
    order = [re.match(r"\| ([\w-]+)", line)[1] for line in scores.splitlines()]
    gains = (results / "figures" / "gain-1.svg").read_text()
    drawn = [name for name in re.findall(r">([\w-]+)</text>", gains) if name in order]
    assert len(order) == 5 and drawn == 2 * order  # plain and flat
    profile = re.findall(r">([\w-]+)</text>", (results / "figures" / "profile-1.svg").read_text())
    assert [name for name in profile if name in order] == order


def test_all_losses_are_drawn(results):
    """Those of a host with SMT and host tasks, too: one colour each."""
    from baselines.report.figures import LOSS_COLOURS, loss_bars

    assert len(LOSS_COLOURS) == len(set(LOSS_COLOURS)) == len(attribution.CPU_TIME) == 7
    drawing = loss_bars([("case", [("policy", [1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 7.0])])], "points")
    assert all(f'fill="{colour}"' in drawing for colour in LOSS_COLOURS)
    assert all(loss.title in drawing for loss in attribution.CPU_TIME)
    assert ">4.0<" in drawing.replace("+", "")  # their sum


def test_the_report_is_the_same_every_time(results, tmp_path):
    assert report(results, "--out", tmp_path / "again")[0] == 0
    for name in ("report.html", "report.md"):
        assert (tmp_path / "again" / name).read_bytes() == (results / name).read_bytes()


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        (lambda: make_plan(("dbench-2vm",), ("ipi",), 1), "One seed: no interval, no claim."),
        (lambda: make_plan(("dbench-2vm",), ("ipi",), 2), "No policy is clearly better than stock"),
        (
            lambda: make_plan(("dbench-2vm",), ("ipi",), 2, ["vms.*.params.stalled=1"]),
            "No policy can be scored: some VM did no work under stock.",
        ),
        (
            lambda: make_plan(("dbench-2vm", "vips-2vm"), ("stock",), 2),
            "Only stock was run: there is nothing to compare",
        ),
    ],
)
def test_small_and_odd_experiments_have_a_report(tmp_path, plan, line):
    run(tmp_path / "out", plan())
    code, _, errors = report(tmp_path / "out")
    assert code == 0, errors
    assert line in (tmp_path / "out/report.md").read_text()
    Page((tmp_path / "out/report.html").read_text())


@pytest.mark.parametrize("wrong", ["nothing", "a file", "partial", "torn", "misfit", "unwritable"])
def test_what_cannot_be_reported_is_one_line_and_code_2(results, tmp_path, wrong):
    shutil.copytree(results, tmp_path / "out")
    arguments, manifest = [tmp_path / "out"], json.loads((results / "manifest.json").read_text())
    del manifest["checksum"]
    if wrong == "nothing":
        arguments, line = [tmp_path / "none"], "manifest.json: No such file"
    elif wrong == "a file":
        arguments, line = [tmp_path / "out/manifest.json"], "allowed: a directory of results"
    elif wrong == "partial":
        (tmp_path / "out/manifest.json").write_text(json.dumps(manifest | {"status": "partial", "command": "again"}))
        line = "holds results that are partial (go on with: again --resume)"
    elif wrong == "torn":
        (tmp_path / "out/cells.parquet").write_bytes(b"PAR1")
        line = "cells.parquet: cannot be read"
    elif wrong == "misfit":
        manifest["policies"].append({"label": "new", "summary": "", "oracle": False, "knobs": False})
        (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
        line = "manifest.json and cells.parquet do not fit"
    else:
        arguments, line = [tmp_path / "out", "--out", tmp_path / "out/manifest.json/x"], "a directory to write to"
    code, output, errors = report(*arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert line in errors


def test_pages_are_an_extra(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for name in ("content", "render"):
        monkeypatch.delitem(sys.modules, f"baselines.report.{name}")
        monkeypatch.delattr(f"baselines.report.{name}")
    code, output, errors = report(results, "--out", tmp_path)
    assert (code, output) == (2, "")
    assert errors == "error: report: needs jinja2 (pip install 'vcpu-env[report]')\n"


def test_a_gain_is_time_times_efficiency():
    stock = [{"host_guest_ns": 900, "host_host_ns": 100, "spin_ns": 300, "irq_ns": 50, "cold_lost_ns": 50}] * 3
    better = [{"host_guest_ns": 950, "host_host_ns": 50, "spin_ns": 200, "irq_ns": 50, "cold_lost_ns": 50}] * 3
    stock, better = (
        [row | {"host_poll_ns": 0, "host_idle_ns": 0, "host_task_ns": 0, "smt_lost_ns": 0} for row in rows]
        for rows in (stock, better)
    )
    assert attribution.work_share(stock) == pytest.approx(0.5)
    assert attribution.work_change(better, stock).value == pytest.approx(0.3)
    efficiency = attribution.efficiency_change(better, stock, np.array([1.43, 1.43, 1.43]))
    assert efficiency.value == pytest.approx(0.1)
    lost = {q.title: q.change(better, stock) for q in attribution.CPU_TIME}
    freed = -sum(change.value for change in lost.values())
    assert freed == pytest.approx(attribution.work_share(better) - attribution.work_share(stock))
    assert lost["spinning"] == statistics.Estimate(pytest.approx(-0.1), pytest.approx(-0.1), pytest.approx(-0.1))


def test_what_is_not_counted_has_no_change():
    (exits,) = [q for q in attribution.QUANTITIES if q.name == "ple_exits_per_s"]
    some, none = [{"kvm_pause_exits": 5, "time_ns": 1}], [{"kvm_pause_exits": 0, "time_ns": 1}]
    assert exits.change(some, none) is None
    assert exits.change(none, some).value == -1.0
    assert np.isnan(exits.value([{"time_ns": 1}]))
    assert exits.change([{"time_ns": 1}], [{"time_ns": 1}]) is None
