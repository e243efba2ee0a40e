"""What the running kernel is: version, CPUs, tick, slice, preemption, and the scenario fields that say the same."""

import gzip
import os
import platform
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcpu_env.kernel.features import scaled_base_slice_ns

RATES = (100, 250, 300, 1000)
CLOCK_MONOTONIC_COARSE = 6


@dataclass(frozen=True)
class KernelFacts:
    """One kernel on one machine, as far as it matters here.

    Attributes:
        hz: CONFIG_HZ; `hz_source` says how it is known.
        preempt: none, voluntary, full or lazy.
        lag_clamp: which limit of the lag it has, a value of the scenario's host.lag_clamp.
    """

    release: str
    cpus: int
    threads_per_core: int
    hz: int
    hz_source: str
    base_slice_ns: int
    base_slice_source: str
    preempt: str
    lag_clamp: str
    model: str
    virtual: bool

    def host(self) -> dict[str, Any]:
        """The fields of a scenario's host that these facts decide."""
        return {
            "hz": self.hz,
            "base_slice_ns": self.base_slice_ns,
            "preempt": "lazy" if self.preempt == "lazy" else "full",
            "lag_clamp": self.lag_clamp,
        }


def read(path: str) -> str:
    """A small file as text; empty if there is none or it may not be read."""
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return ""


def kernel_config() -> str:
    """The kernel's configuration, from itself or from /boot; empty if neither has it."""
    try:
        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    except OSError:
        return read(f"/boot/config-{platform.release()}")


def configured_hz(config: str) -> int | None:
    """CONFIG_HZ."""
    found = re.search(r"^CONFIG_HZ=(\d+)$", config, re.MULTILINE)
    return int(found[1]) if found else None


def measured_hz() -> int:
    """HZ from the resolution of the coarse clock, which a tick advances."""
    return nearest_rate(1 / time.clock_getres(CLOCK_MONOTONIC_COARSE))


def nearest_rate(rate: float) -> int:
    """The possible HZ next to a measured rate."""
    return min(RATES, key=lambda hz: abs(hz - rate))


def debugfs_sched(name: str) -> str:
    """A file of debugfs' sched directory; empty if there is none. Mounts debugfs for the moment if it has to."""
    text = read(f"/sys/kernel/debug/sched/{name}")
    if text or os.geteuid() != 0:
        return text
    with tempfile.TemporaryDirectory(prefix="vcpu-env-") as where:
        if subprocess.run(["mount", "-t", "debugfs", "debugfs", where], capture_output=True).returncode:
            return ""
        try:
            return read(f"{where}/sched/{name}")
        finally:
            subprocess.run(["umount", where], check=True)


def preemption(shown: str, config: str, boot_log: str) -> str:
    """The preemption model: debugfs shows the chosen one in brackets; else the boot log, else the configuration."""
    chosen = re.search(r"\((\w+)\)", shown) or re.search(r"Dynamic Preempt: (\w+)", boot_log)
    if chosen:
        return chosen[1]
    options = {"PREEMPT_LAZY": "lazy", "PREEMPT_VOLUNTARY": "voluntary", "PREEMPT_NONE": "none", "PREEMPT": "full"}
    return next((name for option, name in options.items() if f"CONFIG_{option}=y" in config.split()), "full")


def lag_limit(release: str, types: bytes) -> str:
    """Which limit of the lag a kernel has: struct sched_entity knows the largest slice below it, or not.

    Without type information (BTF), the version decides.
    """
    if types:
        return "6.19.9" if b"\0max_slice\0" in types else "6.19.0"
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:3])
    return "6.19.9" if numbers >= (6, 19, 9) else "6.19.0"


def base_slice(own_ns: int, shown: str, cpus: int) -> tuple[int, str]:
    """The base slice and how it is known: a task's own, else debugfs, else the default for the number of CPUs."""
    if own_ns:
        return own_ns, "sched_getattr"
    if shown.strip().isdigit():
        return int(shown), "debugfs"
    return scaled_base_slice_ns(cpus), "default for this number of CPUs"


def kernel_facts(own_slice_ns: int) -> KernelFacts:
    """The facts of the kernel that runs here; `own_slice_ns` is what it says of a task's slice, 0: nothing."""
    config, cpus = kernel_config(), os.cpu_count() or 1
    hz = configured_hz(config)
    slice_ns, source = base_slice(own_slice_ns, "" if own_slice_ns else debugfs_sched("base_slice_ns"), cpus)
    log = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace").stdout
    types = Path("/sys/kernel/btf/vmlinux")
    cpuinfo = read("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    siblings = read("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").strip()
    return KernelFacts(
        release=(re.match(r"[\d.]+", platform.release()) or [platform.release()])[0],
        cpus=cpus,
        threads_per_core=max(1, len(re.findall(r"\d+", siblings))),
        hz=hz or measured_hz(),
        hz_source="configuration" if hz else "resolution of the coarse clock",
        base_slice_ns=slice_ns,
        base_slice_source=source,
        preempt=preemption(debugfs_sched("preempt"), config, log),
        lag_clamp=lag_limit(platform.release(), types.read_bytes() if types.exists() else b""),
        model=model[1] if model else platform.machine(),
        virtual=" hypervisor " in cpuinfo,
    )
