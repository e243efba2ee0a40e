"""Recording: what is refused without what it needs, and that nothing is left behind."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.realism_probes import probe
from vcpu_env.realism import cgroups, kernel_facts, record, tracefs
from vcpu_env.realism.probe import shipped_probes
from vcpu_env.realism.tracefs import TraceError

SAMPLES = Path(__file__).parent / "samples"


def fake_instance(root: Path, monkeypatch) -> Path:
    """A directory that looks like tracefs; the kernel would fill a new instance."""
    mkdir = Path.mkdir

    def filled(self, *args, **kwargs):
        mkdir(self, *args, **kwargs)
        if self.parent.name != "instances":
            return
        for event in ("sched_switch", "sched_waking", "sched_wakeup"):
            os.makedirs(self / "events/sched" / event)
            text = (SAMPLES / f"{event}.format").read_text()
            (self / "events/sched" / event / "format").write_text(text)
        os.makedirs(self / "options")
        os.makedirs(self / "per_cpu/cpu0")
        (self / "per_cpu/cpu0/stats").write_text("entries: 9\noverrun: 2\ndropped events: 3\n")
        (self / "per_cpu/cpu0/trace_pipe_raw").write_bytes((SAMPLES / "page.bin").read_bytes())

    mkdir(root / "instances")
    monkeypatch.setattr(Path, "mkdir", filled)
    monkeypatch.setattr(Path, "rmdir", lambda self: subprocess.run(["rm", "-r", self], check=True))
    return root


def test_needs_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(TraceError, match="^realism: recording needs root"), tracefs.mounted():
        pass


def test_needs_tracefs(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "read_text", lambda *_: "proc /proc proc rw 0 0\n")
    refused = subprocess.CompletedProcess([], 32, "", "mount: unknown filesystem type 'tracefs'.\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(TraceError, match="tracefs cannot be mounted .*unknown filesystem"), tracefs.mounted():
        pass


@pytest.mark.parametrize(
    "compiler, said", [("/nowhere/cc", "no C compiler '/nowhere/cc'"), ("false", "cannot compile")]
)
def test_needs_a_compiler(monkeypatch, compiler, said):
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(TraceError, match=said), record.program():
        pass


def test_needs_cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert record.probe_cpus(probe()) == [(5,), (3,)] and record.probe_cpus(probe(cpus=2))[0] == (3, 5)
    with pytest.raises(TraceError, match="p: 3 CPUs needed, 2 here"):
        record.probe_cpus(probe(cpus=3))


def test_instance_is_set_up_read_and_removed(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        instance = tracefs.Instance(fake_instance(tmp_path, monkeypatch), 64)
        try:
            assert (instance.path / "trace_clock").read_text() == "mono"
            assert (instance.path / "buffer_size_kb").read_text() == "64"
            assert (instance.path / "events/sched/sched_waking/enable").read_text() == "1"
            instance.start()
            with pytest.raises(TraceError, match="5 events lost"):
                instance.stop()
            (instance.path / "per_cpu/cpu0/stats").write_text("overrun: 0\n")
            assert len(instance.stop()) == 74
            raise KeyboardInterrupt
        finally:
            instance.close()
    assert list((tmp_path / "instances").iterdir()) == []


def test_instance_that_cannot_be_set_up(tmp_path, monkeypatch):
    root = fake_instance(tmp_path, monkeypatch)
    write_text = Path.write_text

    def refusing(self, *args):
        if self.name == "trace_clock":
            raise OSError(22, "Invalid argument", str(self))
        return write_text(self, *args)

    monkeypatch.setattr(Path, "write_text", refusing)
    with pytest.raises(TraceError, match="tracefs refuses .*trace_clock"):
        tracefs.Instance(root, 64)
    assert list((root / "instances").iterdir()) == []
    with pytest.raises(TraceError, match="no tracefs instance"):
        tracefs.Instance(tmp_path / "nowhere", 64)


def test_which_controller(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io\n")
    first = "cgroup /c/cpuset cgroup rw,cpuset 0 0\n"
    assert cgroups.controller(first + "cgroup /c/cpu cgroup rw,cpu,cpuacct 0 0\n") == (Path("/c/cpu"), 1)
    assert cgroups.controller(f"{first}cgroup2 {tmp_path} cgroup2 rw 0 0\n") == (tmp_path, 2)
    with pytest.raises(TraceError, match="no cgroup hierarchy has the cpu controller"):
        cgroups.controller(first)


@pytest.mark.parametrize("version", [1, 2])
def test_cgroups_are_made_and_removed(tmp_path, monkeypatch, version):
    mkdir = Path.mkdir

    def filled(self, *args, **kwargs):
        mkdir(self, *args, **kwargs)
        (self / "cgroup.subtree_control").write_text("")

    monkeypatch.setattr(Path, "mkdir", filled)
    monkeypatch.setattr(Path, "rmdir", lambda self: subprocess.run(["rm", "-r", self], check=True))
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("")
    tree = cgroups.Tree(tmp_path, version, shipped_probes()["nested"])
    weight = "cpu.shares" if version == 1 else "cpu.weight"
    assert (tree.top / weight).read_text() == ("102400" if version == 1 else "10000")
    assert tree.procs("y") == tree.top / "a" / "y" / "cgroup.procs"
    assert (tree.top / "a" / "x" / weight).read_text() == ("2048" if version == 1 else "200")
    assert control.read_text() == ("" if version == 1 else "+cpu")
    assert (tree.top / "a/cgroup.subtree_control").read_text() == ("" if version == 1 else "+cpu")
    tree.close()
    assert [path.name for path in tmp_path.iterdir()] == ["cgroup.subtree_control"]
    assert control.read_text() == ("" if version == 1 else "-cpu")


def test_facts_from_texts():
    assert kernel_facts.configured_hz("CONFIG_HZ_250=y\nCONFIG_HZ=250\n") == 250
    assert kernel_facts.configured_hz("") is None and kernel_facts.nearest_rate(246.9) == 250
    assert kernel_facts.measured_hz() in kernel_facts.RATES
    assert kernel_facts.base_slice(2_100_000, "", 2) == (2_100_000, "sched_getattr")
    assert kernel_facts.base_slice(0, "2800000\n", 2) == (2_800_000, "debugfs")
    assert kernel_facts.base_slice(0, "", 2)[0] == 1_400_000
    assert kernel_facts.preemption("none voluntary (lazy)", "", "Dynamic Preempt: full") == "lazy"
    assert kernel_facts.preemption("", "CONFIG_PREEMPT=y", "[0.1] Dynamic Preempt: none\n") == "none"
    assert kernel_facts.preemption("", "CONFIG_PREEMPT_NONE=y\nCONFIG_PREEMPTION=y", "") == "none"
    assert kernel_facts.preemption("", "", "") == "full"
    assert kernel_facts.lag_limit("6.18.44-x", b"\0max_slice\0") == "6.19.9"
    assert kernel_facts.lag_limit("7.1.0", b"\0min_slice\0") == "6.19.0"
    assert [kernel_facts.lag_limit(release, b"") for release in ("6.19.9", "6.18.44", "7.0.1-rc1")] == [
        *("6.19.9", "6.19.0", "6.19.9")
    ]


def test_facts_of_this_machine():
    with record.program() as path:
        facts = kernel_facts.kernel_facts(record.default_slice_ns(path))
    assert facts.cpus >= 1 and facts.hz in kernel_facts.RATES and facts.base_slice_ns >= 100_000
    assert facts.host()["preempt"] in ("full", "lazy") and facts.release[0].isdigit()


def test_program_refuses_nonsense():
    with (
        record.program() as path,
        record.Session(path, "task /x nonsense\n", (min(os.sched_getaffinity(0)),)) as session,
    ):
        assert session.process.stdin
        with pytest.raises(TraceError, match="not understood"):
            session.prepare()


def test_stolen_time():
    assert record.stolen("cpu  10 0 20 30 0 0 0 5 0 0\ncpu0 1\n") == (5, 65)


def can_record() -> bool:
    try:
        with tracefs.mounted():
            cgroups.controller(Path("/proc/self/mounts").read_text("utf-8"))
    except TraceError:
        return False
    return True


def left_behind() -> list[Path]:
    """What a recording could leave."""
    found = list(Path("/sys/fs/cgroup").rglob(f"vcpu-env-{os.getpid()}"))
    with tracefs.mounted() as root:
        return found + list((root / "instances").glob(f"vcpu-env-{os.getpid()}"))


def running() -> set[str]:
    """Process ids of probes' tasks, but for dead ones that nobody has collected."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    return {stat.split()[0] for stat in stats if "(vcpu-env-probe) " in stat and "(vcpu-env-probe) Z" not in stat}


@pytest.mark.slow
@pytest.mark.skipif(not can_record(), reason="needs root, tracefs and the cpu controller")
def test_a_real_probe(monkeypatch):
    one, before = shipped_probes()["hogs-2"], running()
    with record.program() as path:
        run = record.record_probe(one, 0.5, 4096, path)
        assert {0, 1, 2} >= set(run.events["next_pid"]) - {-1} >= {1, 2}
        assert run.events["time_ns"][-1] >= run.end_ns - 50_000_000
        assert left_behind() == []

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(record.Session, "go", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record.record_probe(one, 0.5, 4096, path)
    assert left_behind() == []
    assert running() <= before
