"""The page of all fields of a scenario (docs/scenario-fields.md), made from the models that check them."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vcpu_env.scenario.cgroups import Change
from vcpu_env.scenario.errors import allowed_text
from vcpu_env.scenario.guest import GuestCosts
from vcpu_env.scenario.host import Costs, Host, Kvm
from vcpu_env.scenario.host_tasks import HostTask, Sched, Step, Thread
from vcpu_env.scenario.model import Group, Run, Scenario
from vcpu_env.scenario.vm import VcpuSched, Vm

TABLES: tuple[tuple[str, type[BaseModel], dict[str, Any]], ...] = (
    ("", Scenario, {"name": "host", "vms": ({"name": "vm", "vcpus": 1, "workload": "dbench"},)}),
    ("[host]", Host, {}),
    ("[host.costs]", Costs, {}),
    ("[kvm]", Kvm, {}),
    ("[guest_costs]", GuestCosts, {}),
    ("[[groups]]", Group, {"name": "group"}),
    ("[[vms]]", Vm, {"name": "vm", "vcpus": 1, "workload": "dbench"}),
    ("[[vms.vcpusched]]", VcpuSched, {"scheduler": "normal"}),
    ("[vms.emulatorsched], [vms.iothreadsched]", Sched, {"scheduler": "normal"}),
    ("[[vms.threads]]", Thread, {"name": "thread"}),
    ("[[host_tasks]]", HostTask, {"name": "task"}),
    ("program = [{...}] of threads and host tasks", Step, {"run_ns": 1}),
    ("[[changes]]", Change, {"at_ns": 0, "group": "group", "weight": 1}),
    ("[run]", Run, {}),
)
"""Each table of a scenario file, its model, and what makes the smallest one."""

SYS = "/sys/kernel/debug/sched/"
ELSEWHERE = {
    **{f"[host]{name}": f"{SYS}{name}" for name in ("preempt", "base_slice_ns", "features", "migration_cost_ns")},
    "[host]hz": "CONFIG_HZ",
    "[host]skew_tick": "kernel parameter skew_tick",
    "[host]cpus": "lscpu: CPU(s)",
    "[host]topology": "virsh capabilities: topology",
    "[host]cpu_topology": "virsh capabilities: topology",
    "[kvm]ple_gap": "kvm_intel.ple_gap, kvm_amd.pause_filter_thresh",
    "[kvm]ple_window": "kvm_intel.ple_window, kvm_amd.pause_filter_count",
    "[kvm]ple_window_grow": "kvm_intel.ple_window_grow, kvm_amd.pause_filter_count_grow",
    "[kvm]ple_window_shrink": "kvm_intel.ple_window_shrink, kvm_amd.pause_filter_count_shrink",
    "[kvm]ple_window_max": "kvm_intel.ple_window_max, kvm_amd.pause_filter_count_max",
    "[kvm]apicv": "kvm_intel.enable_apicv, enable_ipiv; kvm_amd.avic",
    **{
        f"[kvm]{name}": f"kvm.{name}"
        for name in ("halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start", "halt_poll_ns_shrink")
    },
    **{
        f"[[groups]]{name}": file
        for name, file in (
            *(("weight", "cpu.weight"), ("quota_us", "cpu.max"), ("period_us", "cpu.max")),
            *(("burst_us", "cpu.max.burst"), ("idle", "cpu.idle")),
        )
    },
    "[[groups]]name": "resource/partition",
    "[[vms]]name": "name",
    "[[vms]]vcpus": "vcpu, its current",
    "[[vms]]weight": "cputune/shares; cpu.weight",
    "[[vms]]quota_us": "cputune/global_quota; cpu.max",
    "[[vms]]period_us": "cputune/global_period; cpu.max",
    "[[vms]]burst_us": "cpu.max.burst",
    "[[vms]]idle": "cpu.idle",
    "[[vms]]vcpu_quota_us": "cputune/quota",
    "[[vms]]vcpu_period_us": "cputune/period",
    **{
        f"[[vms]]{threads}_{what}_us": f"cputune/{threads}_{what}"
        for threads in ("emulator", "iothread")
        for what in ("quota", "period")
    },
    "[[vms]]pinning": "cputune/vcpupin, vcpu cpuset; taskset",
    "[[vms]]emulator_cpus": "cputune/emulatorpin",
    "[[vms]]iothreads": "iothreads, iothreadids",
    "[[vms]]iothread_cpus": "cputune/iothreadpin",
    "[[vms]]vcpusched": "cputune/vcpusched; chrt(1)",
    "[[vms]]emulatorsched": "cputune/emulatorsched",
    "[[vms]]iothreadsched": "cputune/iothreadsched",
    "[host]fair_server_runtime_ns": f"{SYS}fair_server/cpuN/runtime",
    "[host]fair_server_period_ns": f"{SYS}fair_server/cpuN/period",
    "[[vms]]group": "resource/partition",
    "[[vms]]lock": "features/pvspinlock; kvm-pv-unhalt, kvm-hint-dedicated",
    "[[vms]]steal_time": "kvm-steal-time",
    "[[vms]]pv_tlb_flush": "kvm-pv-tlb-flush; hyperv/tlbflush",
    "[[vms]]pv_sched_yield": "kvm-pv-sched-yield",
    "[[vms]]ipi_mode": "features/kvm/pv-ipi; hyperv/ipi",
    "[[vms]]hz": "CONFIG_HZ of the guest",
    "[[host_tasks]]nice": "nice(1)",
    "[[host_tasks]]policy": "chrt(1)",
    "[[host_tasks]]cpus": "taskset(1)",
    "[[changes]]cpus": "virsh vcpupin, taskset(1)",
    "[[changes]]weight": "cpu.weight",
    "[[changes]]idle": "cpu.idle",
    "[[changes]]quota_us": "cpu.max",
    "[[changes]]period_us": "cpu.max",
    "[[changes]]burst_us": "cpu.max.burst",
}
"""What the kernel, its files, or libvirt's domain XML call a field."""

UNITS = {"_ns": "ns", "_us": "us", "_mhz": "MHz", "hz": "1/s"}


def unit_of(name: str) -> str:
    """A field's unit, which its name ends in."""
    if name.endswith(("_grow", "_shrink")):
        return ""
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "ns" if "poll_ns" in name else "")


def default_of(field: FieldInfo, value: Any) -> str:
    """A default as in TOML; one that follows from other fields is what it is where these have theirs."""
    if field.is_required():
        return "required"
    if value is None:
        return "none"
    if isinstance(value, BaseModel | dict):
        return "as below" if isinstance(value, BaseModel) else "those of v6.19" if value else "none"
    if isinstance(value, tuple) and len(value) > 3:
        return "computes"
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value}"
    return f"{'' if field.default_factory is None or not value else '(follows) '}{text}" if value != () else "none"


def rows(table: str, model: type[BaseModel], smallest: dict[str, Any]) -> Iterator[str]:
    """The rows of a table."""
    instance = model(**smallest)
    for name, field in model.model_fields.items():
        value = field.default if field.default_factory is None else getattr(instance, name)
        said = allowed_text(field, False).replace("|", "\\|")
        meaning = (field.description or "").replace("|", "\\|")
        cells = (
            f"`{name}`",
            unit_of(name),
            default_of(field, value),
            said,
            ELSEWHERE.get(f"{table}{name}", ""),
            meaning,
        )
        yield f"| {' | '.join(cells)} |"


def page() -> str:
    """All of it, as Markdown."""
    lines = [
        "# Fields of a scenario",
        "",
        "Made by `vcpu-env list fields`. A default marked (follows) depends on other fields and is shown as it is",
        "where these have theirs. *Elsewhere* is the name in the kernel, under /sys, in a cgroup, or in libvirt's XML;",
        "`vcpu-env from-libvirt` reads that ([tutorial](overcommit.md)). [Workloads](workloads.md) have a page too.",
    ]
    for table, model, smallest in TABLES:
        lines += ["", f"## `{table}`" if table else "## At the top", "", f"{(model.__doc__ or '').splitlines()[0]}", ""]
        lines += ["| field | unit | default | allowed | elsewhere | meaning |", "|---|---|---|---|---|---|"]
        lines += rows(table, model, smallest)
    return "\n".join(lines) + "\n"
