"""The command: lists, refuses, and compares a recording with the simulator."""

import json
import os

import pytest

from tests.helpers.command_line import call, refused
from vcpu_env.realism.compare import METRICS
from vcpu_env.realism.probe import shipped_probes
from vcpu_env.realism.recording import SHIPPED


def test_list():
    code, out, errors = call("realism", "--list")
    assert (code, errors) == (0, [])
    assert [line.split()[0] for line in out.splitlines()] == list(shipped_probes())


def test_refusals(monkeypatch, tmp_path):
    assert refused("realism", "--probe", "nise").startswith("probe: value 'nise'")
    assert refused("realism", "--compare", tmp_path / "none").startswith("compare: value '")
    assert refused("realism", "--compare", "shipped", "--probe", "own").startswith("probe: value 'own'")
    assert refused("realism", "--compare", "shipped", "--set", "host.hzz=1").startswith("host.hzz: unknown")
    blocked = tmp_path / "file"
    blocked.touch()
    assert refused("realism", "--compare", "shipped", "--out", blocked).startswith("out: value '")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in refused("realism", "--probe", "hogs-2")


@pytest.mark.core
def test_shipped_recording_against_the_simulator(tmp_path):
    probes = ["--probe", "hogs-2", "--probe", "weights"]
    code, out, errors = call("realism", "--compare", "shipped", *probes, "--repeat", 1, "--json", "--out", tmp_path)
    assert code == 0 and errors == ["simulating hogs-2", "simulating weights"]
    data = json.loads(out)
    assert [probe["probe"] for probe in data["probes"]] == ["hogs-2", "weights"]
    for probe in data["probes"]:
        rows = probe["rows"]
        assert len(rows) == 2 * len(METRICS)
        shares = [row for row in rows if row["metric"] == "CPU share"]
        assert all(abs(row["real"] - row["simulated"]) < 1 for row in shares)
        waits = [row for row in rows if row["metric"] == "wait p50"]
        assert all(row["near"] for row in waits)
    assert json.loads((tmp_path / "realism.json").read_text()) == data
    assert "## Probe by probe" in (tmp_path / "realism.md").read_text()


def test_table(tmp_path):
    code, out, _ = call("realism", "--compare", SHIPPED, "--probe", "hogs-2", "--repeat", 1)
    assert code == 0 and "hog-1" in out and "numbers with a target" in out
