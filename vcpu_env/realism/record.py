"""Runs a probe on the kernel of this machine and records what its scheduler did."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from vcpu_env.realism import cgroups, tracefs
from vcpu_env.realism.chain import BrokenChainError, complete
from vcpu_env.realism.events import numbered
from vcpu_env.realism.probe import Probe
from vcpu_env.realism.recording import Run
from vcpu_env.realism.tracefs import TraceError

SETTLE_NS = 300_000_000
"""Time between the start of a probe's tasks and the window that is looked at."""
SPARE_S = 10
POLICIES = {"normal": 0, "batch": 3, "idle": 5}


@contextmanager
def program() -> Iterator[Path]:
    """The program that runs probes, compiled by the system's compiler.

    Raises:
        TraceError: there is no compiler, or it fails.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        wanted = os.environ.get("CC", "cc")
        raise TraceError(f"realism: no C compiler '{wanted}' (allowed: cc on the PATH, CC=COMPILER, or --compare FILE)")
    with tempfile.TemporaryDirectory(prefix="vcpu-env-") as place:
        source, target = Path(place) / "probe.c", Path(place) / "probe"
        source.write_text((resources.files("vcpu_env.realism") / "probe.c").read_text("utf-8"), "utf-8")
        made = subprocess.run([compiler, "-O2", "-o", target, source], capture_output=True, text=True)
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["no message"])[0]
            raise TraceError(f"realism: '{compiler}' cannot compile the probe program ({reason})")
        yield target


def default_slice_ns(path: Path) -> int:
    """The slice of a task that has not asked for one, from the kernel itself; 0 before 6.12, which does not say."""
    return int(subprocess.run([path, "slice"], capture_output=True, text=True, check=True).stdout)


def probe_cpus(probe: Probe) -> list[tuple[int, ...]]:
    """The CPUs that a probe may get: the last ones of this process's, since the first serve most interrupts; or those.

    Raises:
        TraceError: the machine has too few.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < probe.cpus:
        raise TraceError(f"{probe.name}: {probe.cpus} CPUs needed, {len(cpus)} here (allowed: other probes)")
    return [tuple(cpus[-probe.cpus :]), tuple(cpus[: probe.cpus])]


def specification(probe: Probe, cpus: tuple[int, ...], procs: list[Path], duration_ns: int) -> str:
    """What the probe program reads: see probe.c."""
    pipes = {name: i for i, name in enumerate(probe.pipes)}
    lines = [f"duration {duration_ns}", f"pipes {len(pipes)}"]
    for task, path in zip(probe.tasks, procs, strict=True):
        places = [cpus[cpu] for cpu in task.cpus or ()]
        numbers = (POLICIES[task.policy], task.nice, task.slice_ns, max(1, task.timer_slack_ns), task.start_ns)
        lines.append(f"task {path} {' '.join(map(str, (*numbers, len(places), *places)))}")
        for step in task.program:
            value = getattr(step, step.action)
            lines.append(f"{step.action} {pipes[value] if step.action in ('wait', 'signal') else int(value)}")
    return "\n".join([*lines, "end", ""])


def stolen(stat: str) -> tuple[int, int]:
    """Ticks that a hypervisor took away, and all, from /proc/stat."""
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return fields[7], sum(fields)


class Session:
    """The probe program at work on one probe; gone when the with block ends, its tasks with it."""

    def __init__(self, path: Path, text: str, cpus: tuple[int, ...]):
        self.process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        os.sched_setaffinity(self.process.pid, cpus)  # inherited by tasks that are not pinned
        self.text = text

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def prepare(self) -> list[int]:
        """Create the tasks; returns their process ids. They wait.

        Raises:
            TraceError: the program refuses.
        """
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.process.stdin.write(self.text)
        self.process.stdin.flush()
        pids: list[int] = []
        for line in self.process.stdout:
            if line == "ready\n":
                return pids
            pids.append(int(line.split()[1]))
        raise TraceError(f"realism: the probe program ended ({self.process.stderr.read().strip() or 'no message'})")

    def go(self, timeout_s: float) -> int:
        """Let the tasks go, wait until they are gone; returns when they began (CLOCK_MONOTONIC).

        Raises:
            TraceError: it failed or did not end.
        """
        try:
            out, error = self.process.communicate("!", timeout_s)
        except subprocess.TimeoutExpired:
            raise TraceError(f"realism: the probe program did not end within {timeout_s:.0f} s") from None
        lines = dict(line.split() for line in out.splitlines())
        if self.process.returncode or "start" not in lines:
            raise TraceError(f"realism: the probe program failed ({error.strip() or 'no message'})")
        return int(lines["start"])


def record_probe(probe: Probe, seconds: float, buffer_kb: int, path: Path) -> Run:
    """Run a probe once and return what the kernel's scheduler did in `seconds`, after the tasks have settled.

    Raises:
        TraceError: it cannot be recorded here, with the reason.
    """
    first, second = probe_cpus(probe)
    try:
        return record_on(first, probe, seconds, buffer_kb, path)
    except BrokenChainError:
        pass
    try:
        return record_on(second, probe, seconds, buffer_kb, path)
    except BrokenChainError as error:
        raise TraceError(f"{probe.name}: {error}") from None


def record_on(cpus: tuple[int, ...], probe: Probe, seconds: float, buffer_kb: int, path: Path) -> Run:
    """Run a probe once on these CPUs.

    Raises:
        TraceError: it cannot be recorded here, with the reason.
        BrokenChainError: these CPUs leave no whole trace.
    """
    window_ns = round(seconds * 1e9)
    duration_ns = SETTLE_NS + window_ns
    with tracefs.instance(buffer_kb) as trace, cgroups.tree(probe) as tree:
        procs = [tree.procs(task.group) for task in probe.tasks]
        with Session(path, specification(probe, cpus, procs, duration_ns), cpus) as session:
            pids = session.prepare()
            before = stolen(Path("/proc/stat").read_text("utf-8"))
            trace.start()
            start = session.go(duration_ns / 1e9 + SPARE_S)
            events = numbered(complete(trace.stop(), set(pids)), pids)
            after = stolen(Path("/proc/stat").read_text("utf-8"))
    events["time_ns"] -= start
    steal = (after[0] - before[0]) / max(1, after[1] - before[1])
    return Run(events[events["time_ns"] >= 0], SETTLE_NS, duration_ns, steal)
