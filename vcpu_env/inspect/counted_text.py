"""The counters of a run as text of 80 columns: each count, beside it its rate or share, and of what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vcpu_env.scenario.model import Scenario

Counts = Mapping[str, Any]

LIFE, ALL_CPUS, TIME = "vCPU time", "all CPUs", "time_ns"
"""What shares are of: life of a VM's vCPUs, time of all CPUs, the measured time."""

SHARES: dict[str, dict[str, str]] = {
    "vms": {
        "alive_ns": TIME,
        **dict.fromkeys(("cpu_ns", "ready_ns", "halted_ns", "steal_ns", "run_ns", "idle_ns"), LIFE),
        **dict.fromkeys(("user_ns", "kernel_ns", "spin_ns", "irq_ns", "cold_lost_ns", "smt_lost_ns"), "run_ns"),
        "together_ns": "alive_ns",
    },
    "kvm": {
        "halt_successful_poll": "halt_attempted_poll",
        **dict.fromkeys(("halt_poll_success_ns", "halt_poll_fail_ns"), ALL_CPUS),
        "directed_yield_successful": "directed_yield_attempted",
        **dict.fromkeys(("ple_yield_ok", "ple_yield_useful", "ple_yield_ran"), "ple_yield_attempt"),
        "ple_yield_same_rq": "ple_yield_ok",
    },
    "sched": {"ttwu_local": "ttwu_count", "sched_goidle": "sched_count"},
    "deboost": dict.fromkeys(("applied", "limited", "cross_rq", "wrapped", "credited", "plain", "stayed"), "yields"),
    "host": dict.fromkeys(("guest_ns", "host_ns", "poll_ns", "idle_ns", "task_ns"), ALL_CPUS),
    "alignment": {
        "busy_ns": TIME,
        "gang_ns": "busy_ns",
        "unison_switches": "vcpu_switches",
        "stacked_ticks": "vcpu_ticks",
    },
}
"""Counts that are part of another."""

EACH: dict[str, dict[str, str]] = {
    "vms": {"call_wait_ns": "calls", "lock_wait_ns": "lock_spins", "ipi_latency_ns": "ipis"},
    "kvm": {"halt_wait_ns": "halt_wakeup"},
    "sched": {"run_delay_ns": "sched_count"},
    "deboost": {"penalty_ns": "applied", "credit_ns": "credited"},
}
"""Times that are the sum over another count."""

NAMES = (0, 26, 18)
"""Room for a name that has one count beside it, or two."""
VMS_BESIDE = 2
"""Side by side, so that lines have 80 columns."""


def counter_lines(counted: Counts, scenario: Scenario) -> Iterator[str]:
    """All counters of a run, one section a group.

    Args:
        counted: what `measure` returned.
        scenario: what was run.
    """
    seconds = counted["time_ns"] / 1e9
    whole = {TIME: counted["time_ns"], ALL_CPUS: counted["time_ns"] * scenario.host.cpus}
    for group, values in counted.items():
        if group == "vms":
            yield "\nvms"
            vcpus = [vm.vcpus for vm in scenario.expanded_vms]
            vms = [vm | whole | {LIFE: vm["alive_ns"] * n} for vm, n in zip(values, vcpus, strict=True)]
            for start in range(0, len(vms), VMS_BESIDE):
                yield from section("vms", list(values[0]), vms[start : start + VMS_BESIDE])
        elif group == "host_tasks":
            yield from rows("host_tasks", values)
        elif group == "cgroups":
            yield from rows("cgroups", [{**stat, "name": f"{stat['kind']} {stat['name']}"} for stat in values])
        elif isinstance(values, Mapping):
            yield f"\n{group}"
            yield from section(group, list(values), [{**values, **whole, "alive_ns": counted["time_ns"]}])
        elif isinstance(values, str):
            yield f"{group:28}{values:>15}"
        else:
            beside = amount(values / seconds, "/s") if group != TIME and seconds else ""
            yield f"{group:28}{values:>15,}{beside:>9}".rstrip()


def section(group: str, names: Sequence[str], columns: Sequence[Counts]) -> Iterator[str]:
    """The counts of some things of one kind, side by side."""
    for name in names:
        if isinstance(columns[0][name], list):  # histograms are for --json
            continue
        if isinstance(columns[0][name], str):
            yield line(name, [(column[name], "") for column in columns], "")
            continue
        of = SHARES.get(group, {}).get(name, "")
        each = EACH.get(group, {}).get(name, "")
        beside = [share_or_rate(column, name, of, each) for column in columns]
        yield line(
            name, [(number(column[name]), text) for column, text in zip(columns, beside, strict=True)], of or each
        )


def line(name: str, entries: Sequence[tuple[str, str]], of: str) -> str:
    """A name, each count with what it means, and of what that is a part."""
    said = "".join(f"{count:>15}{beside:>9}" for count, beside in entries)
    return f"  {name:{NAMES[len(entries)]}}{said}  {of}".rstrip()


def share_or_rate(counts: Counts, name: str, of: str, each: str) -> str:
    """A count as part of another, as a time each, or by the second; nothing where that means nothing."""
    if of:
        return f"{100 * counts[name] / counts[of]:.1f}%" if counts[of] else "-"
    if each:
        return duration(counts[name] / counts[each]) if counts[each] else "-"
    seconds = counts["alive_ns"] / 1e9
    return "" if name.endswith("_ns") or not seconds else amount(counts[name] / seconds, "/s")


def number(value: int | float) -> str:
    """A count in full."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def amount(value: float, unit: str) -> str:
    """Three digits of a rate."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{letter}{unit}"
    return f"{value:.3g}{unit}"


def duration(ns: float) -> str:
    """Three digits of a time."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= 0.9995 * factor:
            return f"{ns / factor:.3g} {unit}"
    return f"{ns:.3g} ns"


def rows(title: str, things: Sequence[Counts]) -> Iterator[str]:
    """Counters of many things, a line each; columns without any count are left out."""
    counts = [name for name, value in things[0].items() if not isinstance(value, str)]
    names = [name for name in counts if any(thing[name] for thing in things)]
    widths = [max(len(name), *(len(f"{thing[name]:,}") for thing in things)) for name in names]
    longest = max(len(title) - 2, *(len(thing["name"]) for thing in things))
    sized = list(zip(names, widths, strict=True))
    yield f"\n{title:{longest + 2}}" + "".join(f"  {name:>{width}}" for name, width in sized)
    for thing in things:
        yield f"  {thing['name']:{longest}}" + "".join(f"  {thing[name]:>{width},}" for name, width in sized)
