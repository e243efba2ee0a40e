"""A measured host beside the simulated one: reading series, quantities, the table, what is refused."""

import json

import pytest

from tests.helpers.command_line import call, refused
from vcpu_env.libvirt import beside, command
from vcpu_env.libvirt.beside import Beside, Measured, compare, table_lines
from vcpu_env.libvirt.measured import read_domstats, read_kvm_stat, read_steal
from vcpu_env.scenario import Scenario

HOST = '[host]\ncpus = 2\n[[vms]]\nname = "db"\nvcpus = 2\nworkload = "dbench"\n[run]\nduration_ns = 50_000_000\n'


def snapshot(at: int | None, **growth: int) -> str:
    """Two domains; `db` has two vCPUs, of which the first has waited a quarter and run a half of the time."""
    t = growth.get("t", 0)
    time = "" if at is None else f"{at}\n"
    return time + (
        f"Domain: 'db'\n  state.state=1\n  vcpu.current=2\n  vcpu.maximum=4\n  vcpu.0.state=1\n"
        f"  vcpu.0.time={t * 5 * 10**8}\n  vcpu.0.wait=0\n  vcpu.0.delay={t * 25 * 10**7}\n"
        f"  vcpu.0.exits.sum={t * 100}\n  vcpu.0.halt_wait_ns.sum={t * 10**8}\n  vcpu.0.blocking.cur=yes\n"
        f"  vcpu.1.state=1\n  vcpu.1.time={t * 10**8}\n  vcpu.1.delay=0\n  vcpu.1.exits.sum={t * 20}\n"
        f"  vcpu.1.halt_wait_ns.sum={t * 10**8}\n\n"
        f"Domain: 'web'\n  vcpu.0.time={t}\n  vcpu.0.delay=0\n  vcpu.0.exits.sum=0\n  net.0.name=vnet0\n\n"
    )


def file(tmp_path, text: str, name: str = "file"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_domstats(tmp_path):
    path = file(tmp_path, "".join(snapshot(1_700_000_000 + 10 * i, t=10 * i) for i in range(3)))
    series = read_domstats(path, None)
    assert list(series) == ["db", "web"] and series["db"].vcpus == 2
    assert [one.seconds for one in series["db"].intervals] == [10, 10]
    assert series["db"].intervals[0].counts == {
        "time": 6 * 10**9,
        "wait": 0,
        "delay": 2_500_000_000,
        "exits": 1200,
        "halt_wait_ns": 2 * 10**9,
    }
    dated = file(
        tmp_path, f"2026-01-01T10:00:00+01:00\n{snapshot(None)}2026-01-01T10:00:20,5+01:00\n{snapshot(None, t=1)}"
    )
    assert read_domstats(dated, None)["db"].intervals[0].seconds == 20.5
    bare = file(tmp_path, snapshot(None) + snapshot(None, t=3))
    assert read_domstats(bare, 3.0)["db"].intervals[0].seconds == 3


@pytest.mark.parametrize("csv", [True, False])
def test_kvm_stat(tmp_path, csv):
    """The counts of a line are of the time since the line before; banners come again every 20 lines."""
    names = ["exits", "halt_exits", "kvm_entry", "halt_wait_ns"]
    banner = "timestamp," + ",".join(names) if csv else " ".join(names) + " "
    between = "," if csv else "         "
    rows = [(0, 9, 9, 9, 9), (1, 100, 5, 7, 10**8), (4, 300, 15, 7, 3 * 10**8)]
    lines = [between.join([f"2026-01-01 10:00:0{second}", *map(str, counts)]) for second, *counts in rows]
    text = "\n".join([banner, *lines[:2], banner, *lines[2:]])
    intervals = read_kvm_stat(file(tmp_path, text), beside.KVM_NAMES)
    assert [one.seconds for one in intervals] == [1, 3]
    assert intervals[1].counts == {"exits": 300, "halt_exits": 15, "halt_wait_ns": 3 * 10**8}


def test_steal(tmp_path):
    lines = "cpu  {0} 0 0 {0} 0 0 0 {1} 50 0\ncpu0 1 2 3\nintr 5\n"
    path = file(tmp_path, lines.format(0, 0) + lines.format(40, 20) + lines.format(80, 20))
    assert read_steal(path) == [0.2, 0.0]


def run_of(**vm):
    counts = {
        "alive_ns": 10**9,
        "cpu_ns": 6 * 10**8,
        "ready_ns": 5 * 10**8,
        "halted_ns": 9 * 10**8,
        "steal_ns": 4 * 10**8,
    }
    kvm = dict.fromkeys(beside.KVM_NAMES, 0) | {"exits": 132, "halt_wait_ns": 10**9}
    return {"time_ns": 10**9, "vms": [counts | vm], "kvm": kvm}


def test_quantities(tmp_path):
    scenario = Scenario(name="x", host={"cpus": 2}, vms=[{"name": "db", "vcpus": 2, "workload": "dbench"}])
    path = file(tmp_path, "".join(snapshot(1_700_000_000 + 10 * i, t=10 * i) for i in range(7)))
    measured = Measured(read_domstats(path, None), [], {"db": [0.2, 0.21]})
    rows = {row.quantity: row for row in compare(scenario, measured, [run_of(), run_of(ready_ns=3 * 10**8)])}
    assert rows["on a CPU"].measured == pytest.approx(0.3) and rows["on a CPU"].simulated == (0.3, 0.3)
    ready = rows["CPU Ready (delay)"]
    assert ready.measured == pytest.approx(0.125) and ready.simulated == (0.25, 0.15) and not ready.near
    assert ready.spread == pytest.approx((0.125, 0.125))
    assert rows["asleep"].measured == pytest.approx(0.575) and rows["asleep"].mean == pytest.approx(0.45)
    assert rows["steal in the guest"].near and rows["steal in the guest"].spread is None
    assert rows["exits"].measured == pytest.approx(120) and rows["exits"].near  # 132 a second: 10 %
    assert rows["halt_wait_ns"].measured == pytest.approx(0.1) and rows["halt_wait_ns"].mean == pytest.approx(0.5)
    assert "halt_exits" not in rows  # not in the dump
    text = table_lines(list(rows.values()))
    assert max(map(len, text)) <= 80 and text[-1].startswith("3 of 6 within 10 %")


def test_small_shares_are_near_within_a_point():
    assert Beside("a", "x", True, 0.002, None, (0.011,)).near
    assert not Beside("a", "x", True, 0.002, None, (0.013,)).near
    assert not Beside("a", "x", False, 0.002, None, (0.011,)).near


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "0 snapshots (allowed: at least 2"),
        (snapshot(1_700_000_000), "1 snapshots (allowed: at least 2"),
        (snapshot(None) + snapshot(None, t=1), "no time before a snapshot (allowed: one as of date +%s, or --interval"),
        (snapshot(1_700_000_009) + snapshot(1_700_000_009, t=1), "a time that is not later"),
        (
            snapshot(1_700_000_000, t=2) + snapshot(1_700_000_009, t=1),
            "domain 'db': vcpu.0.time falls from 1000000000 to",
        ),
        (snapshot(1_700_000_000) + snapshot(1_700_000_001, t=9), "s of time and delay (allowed: 2 vCPUs for 1 s"),
        (snapshot(1_700_000_000) + "hello\n", ":25: line 'hello' (allowed: Domain: 'NAME', KEY=VALUE, or a time"),
        ("1\n" + snapshot(None), ":1: line '1'"),
        ("1700000000\nDomain: 'a'\n1700000009\nDomain: 'a'\n", "domain 'a': vcpu.N.time or vcpu.N.delay missing"),
        (snapshot(1_700_000_000) + "1700000009\nDomain: 'b'\n", "domain 'db' is not in every snapshot"),
    ],
)
def test_wrong_domstats_are_one_line(tmp_path, text, line):
    path, host = file(tmp_path, text), file(tmp_path, HOST, "host.toml")
    assert line in refused("compare-host", host, "--domstats", path)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "nothing measured (allowed: at least one of --domstats, --kvm-stat, --steal)"),
        (("--steal", "db"), "--steal: value 'db' (allowed: VM=FILE, each VM once)"),
        (("--steal", "db=none"), "none: cannot be read (allowed: repeated output of cat /proc/stat"),
        (("--kvm-stat", "one"), "one: 1 lines of counters (allowed: at least 2"),
        (("--kvm-stat", "short"), "short:3: 1 values of 2"),
        (("--kvm-stat", "other"), "other: none of KVM's counters that are simulated"),
        (("--steal", "d=stat"), "--steal: value 'd' is no VM (did you mean 'db'?)"),
        (("--domstats", "renamed"), "--domstats: no domain 'db'"),
        (("--domstats", "smaller"), "--domstats: domain 'db' has 1 vCPUs (allowed: 2, as in HOST)"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    at = "2026-01-01 10:00:0"
    two = "".join(snapshot(1_700_000_000 + i, t=i) for i in range(2))
    file(tmp_path, HOST, "host.toml")
    file(tmp_path, f"timestamp,exits\n{at}0,1\n", "one")
    file(tmp_path, f"timestamp,exits,x\n{at}0,1,1\n{at}1,1\n", "short")
    file(tmp_path, f"timestamp,kvm_exit\n{at}0,1\n{at}1,1\n", "other")
    file(tmp_path, "cpu 1 1 1 1 1 1 1 1\ncpu 2 2 2 2 2 2 2 2\n", "stat")
    file(tmp_path, two.replace("'db'", "'dc'"), "renamed")
    file(tmp_path, "\n".join(row for row in two.splitlines() if "vcpu.1." not in row), "smaller")
    assert line in refused("compare-host", "host.toml", *arguments)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "simulate", lambda scenario, seeds: [run_of()] * seeds)
    path = file(tmp_path, "".join(snapshot(1_700_000_000 + i, t=i) for i in range(3)))
    host = file(tmp_path, HOST, "host.toml")
    code, out, errors = call("compare-host", host, "--domstats", path, "--json", "--seeds", 2)
    assert code == 0 and len(errors) == 1 and "domain 'web' is not in HOST" in errors[0]
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0]["of"] == "db" and rows[0]["simulated"] == [0.3, 0.3]
