"""A fleet: what is drawn, what is counted, the answer, the store, what is refused; on a machine that shares evenly."""

import functools
import importlib
import math
from collections import Counter

import numpy as np
import pytest

from baselines.fleet.model import FleetError, checked_fleet, draw, load_fleet
from baselines.fleet.run import Run
from baselines.fleet.tally import Tally
from baselines.fleet.terminal import headline
from baselines.fleet.traces import TRACES
from baselines.overcommit.hosts import ratio_of
from baselines.store import Store
from tests.helpers.command_line import NOTICE
from tests.helpers.evaluation import table
from tests.helpers.paths import ROOT
from vcpu_env.executors.make import make_executor

MACHINE = "tests.baselines.test_fleet:EvenHost"
FILE = """
hosts = 4
ratios = [1, 1.5, 3]
sizes = { 1 = 2, 2 = 1 }
mix = { dbench = 0.5, vips = 0.5 }
limits = { ready = 0.4, lock_p99_ns = 100_000 }
[scenario.host]
cpus = 4
"""


class EvenHost:
    """Each vCPU gets its share of the CPUs and waits for the rest; who runs vips waits long for locks at 3:1."""

    runs = 0

    def __init__(self, scenario, policy, seed):
        self.scenario, self.now = scenario, 0
        type(self).runs += 1

    def run_until(self, t_ns):
        self.now = t_ns

    def counters(self):
        share = min(1.0, 1 / ratio_of(self.scenario))
        vms = []
        for vm in self.scenario.expanded_vms:
            waits = (
                [0] * 10 + [self.now // 1000] + [0] * 9 + [self.now // 100 * (vm.workload == "vips" and share < 0.5)]
            )
            counted = {"name": vm.name, "workload": vm.workload, "alive_ns": self.now}
            counted |= {"work_units": 1000 * vm.vcpus * share * self.now / 1e9, "steal_ns": 0}
            counted |= {"ready_ns": round(vm.vcpus * self.now * (1 - share)), "lock_wait_log2": waits}
            vms.append(counted | {"ipi_latency_log2": [0] * 12})
        return {"time_ns": self.now, "events": self.now, "vms": vms}


def fleet(**fields):
    data = {"name": "f", "hosts": 4, "ratios": [1, 1.5, 3], "sizes": {"1": 2, "2": 1}, "mix": {"dbench": 1, "vips": 1}}
    data |= {"limits": {"ready": 0.4}, "scenario": {"host": {"cpus": 4}}}
    return checked_fleet(data | fields)


def answered(directory, asked, resume=False):
    run, store = Run(asked, make_executor("inline", None, None), MACHINE), Store(directory, resume)
    store.write_manifest(run.manifest() | {"status": "partial"})
    return run.answer(store)


def test_hosts_are_full_and_hold_more_of_the_same_at_higher_ratios():
    asked = fleet(sizes="azure-2017", scenario={"host": {"cpus": 16}})
    for host in range(20):
        drawn = {ratio: draw(asked, 16, ratio, host) for ratio in (1, 2, 4)}
        assert {ratio: sum(size for size, _ in vms) for ratio, vms in drawn.items()} == {1: 16, 2: 32, 4: 64}
        same = 0
        while same < len(drawn[1]) and drawn[1][same] == drawn[4][same]:
            same += 1
        assert sum(size for size, _ in drawn[1][:same]) >= 16 - 8  # but for the last ones, which had to fit
    assert draw(asked, 16, 2, 7) == draw(asked, 16, 2, 7) != draw(asked, 16, 2, 8)
    assert draw(asked, 16, 2, 7) != draw(fleet(sizes="azure-2017", seed=1, scenario={"host": {"cpus": 16}}), 16, 2, 7)


@pytest.mark.parametrize("trace", TRACES)
def test_what_is_drawn_has_the_shares_of_the_trace(trace):
    asked = fleet(sizes=trace, mix={"dbench": 3, "vips": 1}, ratios=[8])
    vms = [vm for host in range(20) for vm in draw(asked, 16, 64, host)]
    sizes, whole = Counter(size for size, _ in vms), sum(TRACES[trace].sizes.values())
    for size, share in TRACES[trace].sizes.items():
        assert sizes[size] / len(vms) == pytest.approx(share / whole, abs=0.03)
    assert Counter(program for _, program in vms)["dbench"] / len(vms) == pytest.approx(0.75, abs=0.02)


def test_what_does_not_fill_a_host_leaves_room():
    assert sum(size for size, _ in draw(fleet(sizes={"3": 1}), 4, 2, 0)) == 6


def test_the_answer(tmp_path):
    answer = answered(tmp_path / "out", fleet())
    one, half, three = answer.tallies.values()
    assert (one.share("keep", "vms").value, half.share("keep", "vms").value) == (1.0, 1.0)
    assert three.share("keep", "vms").value == 0.0
    assert half.share("ready_ns", "life_ns").value == pytest.approx(1 / 3)
    assert half.kept.value == pytest.approx(2 / 3) and one.kept.value == pytest.approx(1.0)
    assert math.isnan(half.p99_ns("ipi").value) and 1024 <= half.p99_ns("lock").value <= 2048
    said = headline(answer)
    assert said.startswith("Up to 1.5:1 the limits are kept by 95 % of VMs (CPU Ready up to 40 %): there by 100.0%")
    assert "at 3:1 by 0.0%" in said
    hosts = [(row["ratio"], row["host"]) for row in answer.rows]
    assert hosts == [(ratio, host) for ratio in (1.0, 1.5, 3.0) for host in range(4)]
    assert answer.rows[-1]["ready"] == pytest.approx(2 / 3) and answer.rows[-1]["keep_limits"] == 0
    none = answered(tmp_path / "none", fleet(ratios=[3]))
    assert headline(none).startswith("At none of these ratios are the limits kept by 95 % of VMs")


def test_each_limit_is_counted(tmp_path):
    """At 3:1 the locks of vips are slow, and Ready is within 70 %: only vips breaks a limit."""
    answer = answered(tmp_path, fleet(limits={"ready": 0.7, "lock_p99_ns": 100_000}, ratios=[3], hosts=20))
    (tally,) = answer.tallies.values()
    vips = np.mean([name == "vips" for i in range(20) for _, name in draw(fleet(), 4, 3, i)])
    assert tally.share("keep_ready", "vms").value == 1.0
    keep = tally.share("keep", "vms")
    assert keep.value == tally.share("keep_lock", "vms").value == pytest.approx(1 - vips)
    assert keep.low < keep.value < keep.high
    assert tally.p99_ns("lock").value > 2**20


def test_intervals_are_over_hosts():
    """Of 100 hosts of one VM half keep the limits: the interval is that of 100 throws of a coin."""
    tally = Tally(fleet().limits)
    for i in range(100):
        row = {"vm_vcpus": [1], "vm_workload": ["x"], "vm_units_per_s": [1.0], "vm_alive_ns": [100], "vm_steal_ns": [0]}
        row |= {"vm_ready_ns": [90 * (i % 2)], "vm_lock_wait_log2": [[0, 1]], "vm_ipi_latency_log2": [[0]]}
        tally.add(row, {(1, "x"): 2.0})
    keep = tally.share("keep", "vms")
    assert (keep.value, tally.kept.value) == (0.5, pytest.approx(0.5))
    assert keep.low == pytest.approx(0.4, abs=0.02) and keep.high == pytest.approx(0.6, abs=0.02)


def test_nothing_is_run_twice(tmp_path):
    first = answered(tmp_path, fleet())
    assert [cost.simulated_s for cost in first.costs.values()] == pytest.approx([4 * fleet().host_s] * 3)
    EvenHost.runs = 0
    again = answered(tmp_path, fleet(), resume=True)
    assert EvenHost.runs == 0 and not any(cost.simulated_s for cost in again.costs.values())
    assert again.rows == first.rows
    figures = [str([tally.row() for tally in each.tallies.values()]) for each in (first, again)]  # some are NaN
    assert figures[0] == figures[1]
    more = answered(tmp_path, fleet(hosts=5), resume=True)
    assert EvenHost.runs == 3 and more.rows[:4] == first.rows[:4]


def launched(monkeypatch, capsys, *arguments):
    command = importlib.import_module("baselines.fleet.__main__")
    monkeypatch.setattr(command, "Run", functools.partial(Run, machine=MACHINE))
    monkeypatch.setattr("sys.argv", ["fleet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        command.main()
    output, errors = capsys.readouterr()
    return end.value.code or 0, output, [line for line in errors.splitlines() if not line.startswith(NOTICE)]


def test_the_command(tmp_path, monkeypatch, capsys):
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(FILE)
    code, output, errors = launched(monkeypatch, capsys, "own.toml", "--executor", "inline")
    assert code == 0, errors
    assert output.startswith("Up to 1.5:1 the limits are kept")
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 80
    (directory,) = (tmp_path / "results").iterdir()
    assert [row["ratio"] for row in table(directory / "summary.csv")] == ["1.0", "1.5", "3.0"]
    assert len(table(directory / "cells.csv")) == 12
    assert "Up to 1.5:1" in (directory / "fleet.html").read_text()
    code, again, errors = launched(monkeypatch, capsys, "own.toml", "--executor", "inline", "--resume")
    assert (
        code == 0
        and again.splitlines()[0] == output.splitlines()[0]
        and "core-hours" in output
        and "core-" not in again
    )


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("hosts = 4", "hosts = 1", "hosts: value 1 (allowed: integer 2..100000)"),
        ("hosts = 4", "host = 4", "host: unknown field (did you mean 'hosts'?)"),
        ("[1, 1.5, 3]", "[0]", "ratios: value 0 (allowed: numbers above 0, up to 64)"),
        ("[1, 1.5, 3]", "[]", "ratios: value [] (allowed: a list of numbers)"),
        ("{ 1 = 2, 2 = 1 }", "'azure'", "sizes: value 'azure' (did you mean 'azure-2017'?)"),
        ("{ 1 = 2, 2 = 1 }", "{ 65 = 1 }", "sizes: value '65' (allowed: numbers of vCPUs, 1..64)"),
        ("{ 1 = 2, 2 = 1 }", "{ 1 = 0 }", "sizes.1: value 0 (allowed: a number above 0)"),
        ("{ 1 = 2, 2 = 1 }", "{ 8 = 1 }", "sizes: value 8 (allowed: up to 4, what a host has at 1:1)"),
        ("vips = 0.5", "vips = nan", "mix.vips: value nan (allowed: a number above 0)"),
        ("vips = 0.5", "vip = 0.5", "workload"),
        ("ready = 0.4, lock_p99_ns = 100_000", "", "limits: nothing limited (allowed: at least one of ready,"),
        ("ready = 0.4", "ready = 40", "limits.ready: value 40 (allowed: number above 0, up to 1)"),
        ("cpus = 4", "cpus = 0", "host.cpus: value 0"),
        ("[scenario.host]", "[scenario.vms]", "scenario.vms: unknown field (did you mean 'kvm'?)"),
        ("hosts = 4", "hosts = 4\npolicy = 'stok'", "policy: value 'stok' (did you mean 'stock'?"),
        ("hosts = 4", "hosts = 4\nset = ['host.hz=1']", "host.hz: value 1"),
        ("hosts = 4", "hosts = ", "(allowed: a TOML file;"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, capsys, old, new, line):
    path = tmp_path / "own.toml"
    path.write_text(FILE.replace(old, new))
    code, output, errors = launched(monkeypatch, capsys, path, "--executor", "inline", "--out", tmp_path / "out")
    assert (code, output, len(errors)) == (2, "", 1)
    assert errors[0].startswith("error: ") and line in errors[0]


def test_no_file(tmp_path, monkeypatch, capsys):
    assert launched(monkeypatch, capsys)[2] == ["error: FILE: missing (allowed: a TOML file that describes a fleet)"]
    assert "No such file" in launched(monkeypatch, capsys, tmp_path / "none.toml")[2][0]
    with pytest.raises(FleetError, match=r"1,000,000"):
        fleet(hosts=100_000, ratios=list(range(1, 12)))


def test_traces_are_listed(monkeypatch, capsys):
    code, output, _ = launched(monkeypatch, capsys, "--traces")
    assert code == 0 and "azure-2017" in output and "1: 51 %" in output


def test_the_example_can_be_run():
    assert load_fleet(ROOT / "examples" / "fleets" / "cloud.toml").cpus == 16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_on_ray_as_in_one_process(tmp_path):
    """Real hosts, by batches on two Ray workers: the same rows, bit for bit, and a measured cost."""
    ray = pytest.importorskip("ray")
    run = {"warmup_ns": 40_000_000, "duration_ns": 60_000_000}
    asked = fleet(hosts=6, ratios=[1, 2], scenario={"host": {"cpus": 4}, "run": run})
    answers = []
    try:
        for executor in (make_executor("inline", None, None), make_executor("ray", 2, None)):
            store = Store(tmp_path / type(executor).__name__, False)
            hosts = Run(asked, executor)
            store.write_manifest(hosts.manifest() | {"status": "partial"})
            answers.append(hosts.answer(store))
    finally:
        ray.shutdown()
    inline, on_ray = answers
    assert len(inline.rows) == 12 and inline.rows == on_ray.rows
    assert headline(inline) == headline(on_ray)
    assert all(cost.each > 0 for answer in answers for cost in answer.costs.values())
