"""Results of earlier versions beside each other: what is worse is marked, what is no result refused."""

import json
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from vcpu_env.bench.history import HistoryError, change, history, kept, load, table


def results(path, **figures):
    rows = [{"name": name, "value": value, "unit": unit} for name, (value, unit) in figures.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "before, now, unit, worse",
    [
        (100.0, 50.0, "1/s", 2.0),
        (100.0, 200.0, "1/s", 0.5),
        (10.0, 30.0, "ns", 3.0),
        (30.0, 10.0, "s", 1 / 3),
        (0.0, 1.0, "s", 1.0),
    ],
)
def test_more_events_are_better_and_less_time(before, now, unit, worse):
    assert change(before, now, unit) == pytest.approx(worse)


def test_table_marks_what_is_worse_by_a_tenth(tmp_path):
    files = [
        results(tmp_path / "1.jsonl", events=(1000.0, "1/s"), tick=(40.0, "ns"), gone=(1.0, "s")),
        results(tmp_path / "2.jsonl", events=(890.0, "1/s"), tick=(43.0, "ns"), new=(2.0, "MiB")),
    ]
    rows = table(["1", "2"], [load(path) for path in files]).splitlines()
    assert rows[2:] == [
        "| events, 1/s | 1,000 | 890 | 0.89 worse |",
        "| tick, ns | 40 | 43 | 1.07 |",
        "| gone, s | 1 |  |  |",
        "| new, MiB |  | 2 |  |",
    ]


def test_picture_is_drawn(tmp_path, capsys):
    files = [results(tmp_path / f"{i}.jsonl", events=(1000.0 + i, "1/s")) for i in range(3)]
    history(files, tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    assert "| events, 1/s |" in capsys.readouterr().out
    with pytest.raises(HistoryError, match=r"^-o: value '.*history\.nothing' \(allowed: an image file"):
        history(files, tmp_path / "history.nothing")


@pytest.mark.parametrize("text", ["", "no JSON\n", '{"name": "a", "value": "much", "unit": "s"}\n', "[1]\n"])
def test_what_is_no_result_is_refused_in_a_line(tmp_path, text):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(HistoryError, match=r"a\.jsonl.*\(allowed: .*\)$"):
        load(tmp_path / "a.jsonl")


def test_kept_results_can_be_read(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert kept() and all("events_per_second/dedup-2vm" in load(path) for path in kept())


@pytest.mark.parametrize("words", [["history", "nowhere.jsonl"], ["history", "."]])
def test_command_refuses_what_it_cannot_read(words):
    ran = subprocess.run([sys.executable, "-m", "vcpu_env.bench", *words], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 2 and not ran.stdout
    assert ran.stderr.startswith("error: history: value ") and ran.stderr.count("\n") == 1
