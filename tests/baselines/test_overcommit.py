"""The cost of overcommit: hosts, knobs, claims, the command; on a machine whose costs and gains are known."""

import json
import zlib

import numpy as np
import pytest

from baselines.overcommit import __main__ as command
from baselines.overcommit import study as studies
from baselines.overcommit import terminal
from baselines.overcommit.answer import are_ranked, seeds_to_rank
from baselines.overcommit.hosts import QuestionError, alone, at_ratio, kinds_of, parse_ratio, ratio_of, workload_host
from baselines.overcommit.knobs import DEFAULT_KNOBS, KNOBS, chosen_knobs, setting, settings
from baselines.overcommit.page import page
from baselines.overcommit.study import Study, ask
from baselines.report.render import to_html
from baselines.store import Store
from tests.helpers.command_line import NOTICE
from tests.helpers.evaluation import table
from vcpu_env.executors.make import make_executor
from vcpu_env.guest.workloads import WORKLOADS
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import Scenario

MACHINE = "tests.baselines.test_overcommit:SharedHost"
WALL = 1_000_000_000


class SharedHost:
    """Each vCPU gets its share of the CPUs; a knob is worth what GAINS says. Counters grow evenly."""

    GAINS = {"hz": 1.10, "apicv": 1.05, "halt-poll": 1.02}
    NOISE = 0.001

    def __init__(self, scenario, policy, seed):
        self.scenario, self.seed, self.now, self.policy = scenario, seed, 0, policy

    def run_until(self, t_ns):
        self.now = t_ns

    def gain(self, vm):
        gain = 1.2 if self.policy == "series-v2" else 1.0
        gain *= self.GAINS["hz"] if self.scenario.host.hz == 250 and vm.workload != "vips" else 1.0
        gain *= 0.9 if self.scenario.host.hz == 250 and vm.workload == "vips" else 1.0
        gain *= self.GAINS["apicv"] if self.scenario.kvm.apicv == "apicv" else 1.0
        gain *= self.GAINS["halt-poll"] if self.scenario.kvm.halt_poll_ns == 0 else 1.0
        return gain

    def counters(self):
        share = min(1.0, 1 / ratio_of(self.scenario))
        vms = []
        for i, vm in enumerate(self.scenario.expanded_vms):
            luck = np.random.default_rng(self.seed).normal(1, 0.1)
            described = f"{self.scenario.host} {self.scenario.kvm} {self.policy}"
            noise = np.random.default_rng([self.seed, i, zlib.crc32(described.encode())])
            rate = (
                0
                if vm.name == "stalled"
                else 1000 * vm.vcpus * share * luck * self.gain(vm) * noise.normal(1, self.NOISE)
            )
            wall = vm.vcpus * self.now
            counted = {
                "name": vm.name,
                "workload": vm.workload,
                "work_units": rate * self.now / 1e9,
                "alive_ns": self.now,
                "ready_ns": int(wall * (1 - share)),
                "cpu_ns": int(wall * share),
                "halted_ns": 0,
                "run_ns": int(wall * share),
                "spin_ns": int(wall * share / 4),
                "steal_ns": int(wall * (1 - share)),
                "ipi_latency_log2": [0] * 10 + [self.now // 1000],
                "lock_wait_log2": [0] * 12,
            }
            vms.append(counted)
        host = {"guest_ns": self.now, "host_ns": self.now // 10, "poll_ns": 0, "idle_ns": 0, "task_ns": 0}
        return {"time_ns": self.now, "events": self.now, "vms": vms, "host": host}


def host(**fields) -> Scenario:
    """Four CPUs, 1.5:1: two VMs of two vCPUs that run dedup, one that runs vips."""
    vms = [
        {"name": "vm", "count": 2, "vcpus": 2, "workload": "dedup"},
        {"name": "image", "vcpus": 2, "workload": "vips"},
    ]
    return Scenario(**{"name": "host", "host": {"cpus": 4}, "vms": vms} | fields)


def answered(directory, question, resume=False):
    study, store = Study(question, make_executor("inline", None, None), MACHINE), Store(directory, resume)
    store.write_manifest(study.manifest() | {"status": "partial"})
    return study.answer(store)


@pytest.mark.parametrize(
    ("ratio", "names"),
    [
        (0.1, ["vm-1"]),
        (1, ["vm-1", "vm-2"]),
        (1.5, ["vm-1", "vm-2", "image"]),
        (3, ["vm-1", "vm-2", "image", "vm-1.2", "vm-2.2", "image.2"]),
    ],
)
def test_a_host_at_another_ratio(ratio, names):
    """Its VMs in turn, and again in turn; each knows which it is a copy of."""
    made, origins = at_ratio(host(), ratio)
    assert [vm.name for vm in made.expanded_vms] == names
    assert origins == [i % 3 for i in range(len(names))]
    assert made.host == host().host


def test_what_was_said_of_vms_that_are_gone_goes_too():
    tasks = [{"name": "agent", "emulator_of": "image"}, {"name": "daemon"}]
    changes = [{"at_ns": 1, "vm": "image", "weight": 5}, {"at_ns": 1, "vm": "vm-1", "weight": 5}]
    made, _ = at_ratio(host(host_tasks=tasks, changes=changes), 1)
    assert [task.name for task in made.host_tasks] == ["daemon"] and [c.vm for c in made.changes] == ["vm-1"]
    only = alone(host(), 2)
    assert [vm.name for vm in only.vms] == ["image"] and only.host.cpus == 4
    assert kinds_of(host()) == [0, 0, 2]


def test_a_workload_has_a_host():
    made = workload_host("dbench")
    assert ratio_of(made) == 0.5 and [ratio_of(at_ratio(made, r)[0]) for r in (1, 1.5, 2, 3, 4)] == [1, 1.5, 2, 3, 4]


@pytest.mark.parametrize("text", ["0", "65", "x", "1:2", "", "-1", "nan"])
def test_ratios_that_are_none(text):
    with pytest.raises(QuestionError, match="--at: value .*allowed: N:1"):
        parse_ratio(text, "--at")
    assert parse_ratio("1.5:1", "--at") == parse_ratio("1.5", "--at") == 1.5


def test_knobs():
    assert len(DEFAULT_KNOBS) == 12 and {knob.policy for knob in KNOBS.values()} <= set(POLICIES)
    assert [knob.name for knob in chosen_knobs("hz,hz, apicv")] == ["hz", "apicv"] and chosen_knobs("none") == []
    assert len(chosen_knobs("all")) == len(KNOBS)
    with pytest.raises(QuestionError, match="did you mean 'apicv'"):
        chosen_knobs("apic")


def test_what_can_be_turned_here():
    """Each knob changes the host, or says why it cannot."""
    found, refused = settings(list(KNOBS.values()), host())
    assert refused == {
        "unpin": "no VM is pinned",
        "cgroups-per-vm": "it is so already",
        "weights-by-size": "the VMs are of one size and one weight",
        "pv-spinlock": "it is so already",
        "smt-off": "the host's topology has no second threads",
    }
    assert {one.name for one in found} | set(refused) == set(KNOBS)
    assert all(one.scenario != host() or one.policy != "stock" for one in found)
    by_name = {one.name: one.scenario for one in found}
    assert [vm.vcpus for vm in by_name["half-vcpus"].vms] == [1, 1] and by_name["hz"].host.hz == 250
    assert [vm.pinning for vm in by_name["pin"].vms] == [((0,), (1,)), ((2,), (3,)), ((0,), (1,))]
    assert [vm.pinning for vm in by_name["pin-sets"].vms] == [((0, 1),) * 2, ((2, 3),) * 2, ((0, 1),) * 2]
    smt = host(host={"topology": "4c2t"})
    assert setting([KNOBS["smt-off"]], smt).scenario.host.cpus == 4
    pinned = host(vms=[{"name": "vm", "vcpus": 4, "workload": "dedup", "pinning": [0, 1, 2, [2, 3]], "weight": 50}])
    assert setting([KNOBS["half-vcpus"]], pinned).scenario.vms[0].pinning == ((0,), (1,))
    sizes = [{"name": "a", "vcpus": 4, "workload": "dedup"}, {"name": "b", "vcpus": 1, "workload": "dedup"}]
    assert [vm.weight for vm in setting([KNOBS["weights-by-size"]], host(vms=sizes)).scenario.vms] == [400, 100]
    fifo = {"scheduler": "fifo", "priority": 1}
    partly = sizes[0] | {"vcpusched": [fifo | {"vcpus": [1, 3]}, {"scheduler": "idle", "vcpus": [2]}]}
    (vm,) = setting([KNOBS["half-vcpus"]], host(vms=[partly])).scenario.vms
    assert [(sched.vcpus, sched.scheduler) for sched in vm.vcpusched] == [((1,), "fifo")]
    (vm,) = setting([KNOBS["vcpusched-fifo"]], host(vms=[partly])).scenario.vms
    assert [(sched.vcpus, sched.scheduler) for sched in vm.vcpusched] == [(None, "fifo")]
    assert by_name["linux-7.3"].host.kernel == "7.3" and by_name["linux-7.3"].host.preempt == "lazy"
    assert setting([KNOBS["unpin"]], pinned).scenario.vms[0].pinning is None
    assert set(settings([KNOBS["pin"], KNOBS["cgroups-flat"]], pinned)[1]) == {"pin", "cgroups-flat"}
    with pytest.raises(QuestionError, match="one kernel"):
        setting([KNOBS["series-v2"], KNOBS["linux-6.12"]], host())


def test_costs_and_knobs(tmp_path):
    """1:1 costs nothing, 3:1 two thirds; knobs are worth what they are, the best together; a loser is named."""
    question = ask(host(), [1, 3], 3.0, 8, chosen_knobs("hz,apicv,halt-poll-off,slice-10ms,series-v2,unpin"))
    answer = answered(tmp_path / "out", question)
    everybody = {one.ratio: one for one in answer.costs if one.vms in ("all", "dedup")}
    assert everybody[1].kept.value == pytest.approx(1.0, abs=0.01) and everybody[1].ready.value == 0
    assert everybody[3].kept.value == pytest.approx(1 / 3, rel=0.01)
    assert everybody[3].ready.value == pytest.approx(2 / 3) and everybody[3].spin.value == pytest.approx(1 / 4)
    assert everybody[3].latency_ns["lock", 0.99] is None
    assert 1024 < everybody[3].latency_ns["ipi", 0.99].value < 2048
    assert everybody[3].host.value == pytest.approx(0.1 / 4)
    assert [one.vms for one in answer.costs] == ["dedup", "all", "dedup", "vips"]
    assert [one.vms for one in answer.own] == ["all", "vm-1", "vm-2", "image"]
    effects = {one.setting.name: one for one in answer.effects}
    assert answer.refused == {"unpin": "no VM is pinned"}
    assert effects["apicv"].gain.value == pytest.approx(0.05, abs=0.003)
    assert effects["hz"].gain.value == pytest.approx((1.1**4 * 0.9**2) ** (1 / 6) - 1, abs=0.003)
    assert effects["hz"].harmed == ("image", "image.2") and effects["hz"].worst_change.value == pytest.approx(
        -0.1, abs=0.01
    )
    assert abs(effects["slice-10ms"].gain.value) < 0.003
    together = {name for name in effects if "+" in name}
    assert together == {
        *("apicv + hz", "apicv + halt-poll-off", "hz + halt-poll-off"),
        "apicv + hz + halt-poll-off",
    }
    assert answer.effects[0].is_patch and answer.effects[1].setting.name == "apicv + hz + halt-poll-off"
    gains = [one.gain.value for one in answer.effects]
    assert gains == sorted(gains, reverse=True)
    single = [one for one in answer.effects if "+" not in one.setting.name]
    assert are_ranked(single) and seeds_to_rank(single) is None


def test_seeds_to_rank(tmp_path, monkeypatch):
    """Gains of 5 and 4.9 % under noise of 3 % cannot be told apart with eight seeds."""
    monkeypatch.setattr(SharedHost, "GAINS", {"hz": 1.0, "apicv": 1.05, "halt-poll": 1.049})
    monkeypatch.setattr(SharedHost, "NOISE", 0.03)
    answer = answered(tmp_path / "out", ask(host(), [1], 3.0, 8, chosen_knobs("apicv,halt-poll-off,hz,slice-10ms")))
    single = [one for one in answer.effects if "+" not in one.setting.name]
    assert not are_ranked(single)
    assert seeds_to_rank(single) is None or seeds_to_rank(single) > 8


def test_nothing_is_run_twice(tmp_path):
    question = ask(host(), [1, 3], None, 2, chosen_knobs("hz"))
    first = answered(tmp_path / "out", question)
    cells = sorted((tmp_path / "out/cells").iterdir())
    times = [path.stat().st_mtime_ns for path in cells]
    again = answered(tmp_path / "out", question, resume=True)
    assert [path.stat().st_mtime_ns for path in cells] == times and len(cells) == len(first.rows)
    assert [one.row() for one in again.effects] == [one.row() for one in first.effects]


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """The command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies.Study.__init__, "__defaults__", (MACHINE,))

    def run(*arguments) -> tuple[int, str, list[str]]:
        monkeypatch.setattr("sys.argv", ["overcommit", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if not line.startswith(NOTICE)]
        return ended.value.code or 0, captured.out, errors

    return run


def test_the_command(call, tmp_path):
    """Tables of 80 columns, files, and where they are; a second time only with --resume."""
    arguments = ("--workload", "dedup", "--executor", "inline", "--seeds", "3")
    code, out, errors = call(*arguments)
    assert code == 0, errors
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("dedup-at-2: 16 vCPUs on 8 CPUs, 2:1, Linux 6.19. A VM")
    (directory,) = (tmp_path / "results").iterdir()
    costs, knobs = table(directory / "summary.csv"), table(directory / "scores.csv")
    assert {row["ratio"] for row in costs} == {"1:1", "1.5:1", "2:1", "3:1", "4:1"}
    assert {row["knob"] for row in knobs} >= {"hz", "apicv", "series-v2"}
    assert json.loads((directory / "manifest.json").read_text())["status"] == "complete"
    page = (directory / "overcommit.html").read_text()
    assert "A VM keeps" in page and page.count("<svg") == 2 and "http" not in page.replace("http://www.w3.org", "")
    code, _, errors = call(*arguments)
    assert code == 2 and "--resume uses them" in errors[-1]
    assert call(*arguments, "--resume")[:2] == (0, out)


def test_the_knobs_are_listed(call):
    code, out, _ = call("--knobs", "list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == list(KNOBS)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "HOST: missing (allowed: a scenario, or --workload)"),
        (["dedup-2vm", "--workload", "dedup"], "HOST: given with --workload (allowed: a scenario, or --workload)"),
        (["dedup-2vm", "--ratios", "2:1,0"], "--ratios: value '0' (allowed: N:1 with N above 0, up to 64)"),
        (["dedup-2vm", "--at", "x"], "--at: value 'x' (allowed: N:1 with N above 0, up to 64)"),
        (["dedup-2vm", "--knobs", "hzz"], "--knobs: value 'hzz' (did you mean 'hz'?)"),
        (["--workload", "dedupe"], f"HOST: workload: value 'dedupe' (allowed: {', '.join(WORKLOADS)})"),
        (["dedup-2vm", "--set", "host.hz=7"], "host.hz: value 7 (allowed: 100, 250, 300, 1000)"),
        (
            ["missing.toml"],
            "scenario: value 'missing.toml' (allowed: a file that can be read; No such file or directory)",
        ),
    ],
)
def test_refused(call, arguments, line):
    code, out, errors = call(*arguments)
    assert (code, out) == (2, "") and errors == [f"error: {line}"]


def test_a_vm_that_does_nothing(tmp_path, capsys):
    """Nothing can be said of it, and the tables say so."""
    vms = [{"name": "stalled", "vcpus": 4, "workload": "dedup"}, {"name": "vm", "vcpus": 4, "workload": "vips"}]
    answer = answered(tmp_path / "out", ask(host(vms=vms), [1, 2], None, 2, chosen_knobs("hz,apicv")))
    terminal.print_answer(answer)
    out = capsys.readouterr().out
    assert "nan" not in out and "n/a" in out and "vips" in out
    assert to_html(page(answer, "command")).count("nan") == 0


def test_names_are_never_broken(tmp_path, capsys):
    vms = [{"name": "a-very-long-name-of-a-vm-that-goes-on", "vcpus": 8, "workload": "micro-pingpong"}]
    question = ask(host(vms=vms), [1], None, 2, chosen_knobs("hz,apicv,halt-poll-off"))
    terminal.print_answer(answered(tmp_path / "out", question))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 and "halt-poll-off" in out


def test_one_to_one_costs_nothing_but_the_host(tmp_path):
    """Two VMs that compute, as many vCPUs as CPUs, on the real machine: each does what it does alone."""
    described = workload_host("blackscholes", ["run.duration_ns=200_000_000", "vms.0.boot_ns=20_000_000"])
    study = Study(ask(described, [1, 2], 1.0, 2, []), make_executor("inline", None, None))
    store = Store(tmp_path / "out", False)
    store.write_manifest(study.manifest() | {"status": "partial"})
    one, two = study.answer(store).costs
    assert one.kept.value == pytest.approx(1.0, abs=0.03) and one.ready.value < 0.03 and one.host.value < 0.01
    assert two.kept.value == pytest.approx(0.5, abs=0.03) and two.ready.value == pytest.approx(0.5, abs=0.03)
