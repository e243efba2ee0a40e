"""Comparison and report of made-up runs."""

import json
import math

from tests.helpers.realism_events import events
from tests.helpers.realism_probes import FACTS, probe
from vcpu_env.realism import report
from vcpu_env.realism.compare import METRICS, compare_probe, is_near
from vcpu_env.realism.recording import Run

MS = 1_000_000
PROBE = probe(name="two", summary="two in turn", note="A note.", host_tasks=[{"name": "t", "count": 2}])
SETTINGS = {"command": "vcpu-env realism", "runs": 2, "seconds": 0.1, "seeds": 1}


def in_turn(*slices: int) -> Run:
    """Two tasks in turn for 100 ms, with these slices."""
    rows, now, who = [(0, 0, 0, 0, 1)], 0, 1
    while now < 100:
        now += slices[len(rows) % len(slices)]
        rows.append((now * MS, 0, who, 0, 3 - who))
        who = 3 - who
    return Run(events(*rows), 0, 100 * MS, 0.125)


def test_equal_runs():
    result = compare_probe(PROBE, [in_turn(4)] * 2, [in_turn(4)])
    assert (result.misses, result.interference, result.steal) == ([], 0, 0.125)
    rows = {row.metric: row for row in result.rows if row.task == "t-1"}
    assert list(rows) == [metric.name for metric in METRICS]
    assert rows["CPU share"].real == 52 and rows["wait p50"].simulated == 4000
    assert rows["slice p50"].ks == rows["wait p50"].ks == 0
    assert rows["voluntary switches"].near is None  # there are none
    assert rows["migrations"].near is None  # without a target


def test_misses_and_spread():
    result = compare_probe(PROBE, [in_turn(4), in_turn(5)], [in_turn(2)])
    rows = {row.metric: row for row in result.rows if row.task == "t-2"}
    wait = rows["wait p50"]
    assert (wait.real_low, wait.real, wait.real_high, wait.simulated) == (4000, 4500, 5000, 2000)
    assert wait.near is False and wait.ks == 1 and 0 < wait.ks_real < 1
    assert rows["involuntary switches"].near is False and rows["CPU share"].near is True


def test_within_the_real_range():
    result = compare_probe(PROBE, [in_turn(2), in_turn(6)], [in_turn(5)])
    wait = next(row for row in result.rows if row.metric == "wait p50")
    assert wait.near is False and wait.verdict == "spread" and wait not in result.misses
    assert "*4000 [2000 to 6000] / 5000*" in report.as_markdown(FACTS, [result], SETTINGS)


def test_targets():
    share, voluntary, wait = METRICS[0], METRICS[1], METRICS[7]
    assert is_near(share, 50, 51) and not is_near(share, 50, 51.5)
    assert is_near(voluntary, 100, 110) and not is_near(voluntary, 100, 111)
    assert is_near(voluntary, 0, 1) and not is_near(voluntary, 0, 2)
    assert is_near(wait, 100, 85) and not is_near(wait, 100, 84)
    assert is_near(wait, math.nan, 1) is None


def test_report():
    result = compare_probe(PROBE, [in_turn(4), in_turn(5)], [in_turn(2)])
    page = report.as_markdown(FACTS, [result], SETTINGS)
    assert "Linux 6.18.1, 2 CPUs (made up, virtual), HZ 250" in page and "| **4500 [4000 to 5000] / 2000** |" in page
    assert "A note." in page and page.endswith("\n") and "{" not in page
    data = json.loads(report.as_json(FACTS, [result], SETTINGS))
    assert data["kernel"]["hz"] == 250 and len(data["probes"][0]["rows"]) == 2 * len(METRICS)
    assert report.table(result).row_count == 2
    assert report.summary([result]) == (
        "2 of 6 numbers with a target are within it, 0 more within the range of the real runs"
    )


def test_nothing_seen_is_null():
    alone = Run(events((0, 0, 0, 0, 1)), 0, MS)
    result = compare_probe(probe(), [alone], [alone])
    data = json.loads(report.as_json(FACTS, [result], SETTINGS))
    assert data["probes"][0]["rows"][7]["real"] is None
    assert "| - / - |" in report.as_markdown(FACTS, [result], SETTINGS)
