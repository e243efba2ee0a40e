"""A probe's cgroups on a running system: below one group of their own that outweighs the rest, removed afterwards."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from vcpu_env.kernel.weights import sched_weight_from_cgroup
from vcpu_env.realism.probe import Group, Probe
from vcpu_env.realism.tracefs import TraceError

TOP = Group(name="vcpu-env", weight=10_000)
"""The group that holds a probe: others on its CPUs get about a hundredth of them."""


def controller(mounts: str) -> tuple[Path, int]:
    """Where the cpu controller is and its cgroup version, from /proc/self/mounts.

    Raises:
        TraceError: no cgroup hierarchy has it.
    """
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return Path(where), 1
        if kind == "cgroup2":
            controllers = Path(where) / "cgroup.controllers"
            if controllers.exists() and "cpu" in controllers.read_text("utf-8").split():
                return Path(where), 2
    raise TraceError("realism: no cgroup hierarchy has the cpu controller (allowed: cgroup v1 or v2 with cpu)")


def settings(version: int, group: Group) -> dict[str, str]:
    """Control files of one group and their contents, the period before the quota that is checked against it."""
    limited = group.quota_us >= 0
    if version == 2:
        files = {"cpu.weight": str(group.weight)}
        files |= {"cpu.max": f"{group.quota_us} {group.period_us}"} if limited else {}
        burst = "cpu.max.burst"
    else:
        files = {"cpu.shares": str(sched_weight_from_cgroup(group.weight))}
        files |= {"cpu.cfs_period_us": str(group.period_us), "cpu.cfs_quota_us": str(group.quota_us)} if limited else {}
        burst = "cpu.cfs_burst_us"
    files |= {burst: str(group.burst_us)} if limited and group.burst_us else {}
    return files | ({"cpu.idle": "1"} if group.idle else {})


class Tree:
    """The cgroups of one probe."""

    def __init__(self, root: Path, version: int, probe: Probe):
        self.version = version
        self.top = root / f"{TOP.name}-{os.getpid()}"
        self.paths: dict[str | None, Path] = {}
        self.root_control = root / "cgroup.subtree_control" if version == 2 else None
        try:
            self._make(None, self.top, settings(version, TOP))
            for group in probe.groups:
                self._make(group.name, self.paths[group.parent] / group.name, settings(version, group))
        except OSError as error:
            self.close()
            raise TraceError(f"realism: cgroup {error.filename} ({error.strerror})") from None

    def _make(self, name: str | None, path: Path, files: dict[str, str]) -> None:
        control = path.parent / "cgroup.subtree_control"
        if self.version == 2:
            if "cpu" not in control.read_text("utf-8").split():
                control.write_text("+cpu", "utf-8")
            elif control == self.root_control:
                self.root_control = None  # it was on before
        path.mkdir()
        self.paths[name] = path
        for file, text in files.items():
            (path / file).write_text(text, "utf-8")

    def procs(self, group: str | None) -> Path:
        """The file through which a process joins a group."""
        return self.paths[group] / "cgroup.procs"

    def close(self) -> None:
        """Remove all groups, the deepest first, and leave the controller as it was."""
        for path in reversed(list(self.paths.values())):
            remove(path)
        if self.root_control and self.paths:
            self.root_control.write_text("-cpu", "utf-8")


def remove(path: Path) -> None:
    """Remove one cgroup; a process that was just killed may still be leaving it."""
    for _ in range(100):
        try:
            path.rmdir()
            return
        except OSError:
            time.sleep(0.02)
    raise TraceError(f"realism: {path} could not be removed (remove it with rmdir)")


@contextlib.contextmanager
def tree(probe: Probe) -> Iterator[Tree]:
    """The cgroups of a probe for the time of a with block."""
    root, version = controller(Path("/proc/self/mounts").read_text("utf-8"))
    groups = Tree(root, version, probe)
    try:
        yield groups
    finally:
        groups.close()
