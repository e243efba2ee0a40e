"""Draws docs/launches.png: where the vCPUs of one VM end up in 20 launches, and how two hosts run in and out of step.

python docs/make_launches.py            # extra `report`; prints the two tables of stacked siblings of docs/model.md
python docs/make_launches.py --later    # the second table only, and draws nothing
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

from vcpu_env import Machine, Scenario, apply_overrides, load_scenario
from vcpu_env.counters import difference
from vcpu_env.trace.sched_events import SWITCH, pids, simulate_tasks

SCENARIO, LAUNCHES = "dbench-2vm", 20
BEGIN_NS, LENGTH_NS = 400_000_000, 30_000_000
SEEDS, SIZES = 16, (2, 4, 16)
LAUNCH_KINDS = ((0.5, 20), (2, 20), (10, 50), (50, 200), (100, 50))
COLOURS = ("#3b76b0", "#e08a2e")
LATER_S, LATER_SEEDS = (0.5, 2, 5), 8
SECOND, SECONDS = 1_000_000_000, 5


def launches(scenario: Scenario) -> np.ndarray:
    """Of each launch and CPU: how many vCPUs of the first VM lie there when the warm-up ends."""
    counts = np.zeros((LAUNCHES, scenario.host.cpus), int)
    for seed in range(LAUNCHES):
        machine = Machine(scenario, "stock", seed)
        machine.run_until(scenario.run.warmup_ns)
        cpus = machine.world["task_struct"]["cpu"][: scenario.vms[0].vcpus]
        counts[seed] = np.bincount(cpus, minlength=scenario.host.cpus)
    return counts


def draw_launches(axes, counts: np.ndarray) -> None:
    """A row a launch, a column a CPU, darker the more vCPUs of the VM share it."""
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=4, aspect="auto")
    for (launch, cpu), count in np.ndenumerate(counts):
        if count != 1:
            axes.text(cpu, launch, str(count), ha="center", va="center", fontsize=6, color="w" if count > 2 else "k")
    axes.set(
        xlabel="CPU",
        ylabel="launch (seed)",
        yticks=range(0, LAUNCHES, 5),
        title=f"vCPUs of vm-1 on each CPU, {LAUNCHES} launches; blank: one",
    )


def draw_timeline(axes, scenario: Scenario, title: str) -> None:
    """A row a CPU, a colour a VM."""
    events = simulate_tasks(scenario, BEGIN_NS + LENGTH_NS)
    names = pids(scenario)
    vms = [vm.name for vm in scenario.expanded_vms]
    vm_of = {pid: vms.index(name.split("/")[0]) for pid, name in enumerate(names) if "/" in name}
    switches = events[events["event"] == SWITCH]
    for cpu in range(scenario.host.cpus):
        mine = switches[switches["cpu"] == cpu]
        ends = np.append(mine["time_ns"][1:], BEGIN_NS + LENGTH_NS)
        for vm, colour in enumerate(COLOURS):
            runs = np.array([vm_of.get(int(pid)) == vm for pid in mine["next_pid"]]) & (ends > BEGIN_NS)
            begins = np.maximum(mine["time_ns"][runs], BEGIN_NS)
            bars = np.column_stack([(begins - BEGIN_NS) / 1e6, (ends[runs] - begins) / 1e6])
            axes.broken_barh(bars, (cpu - 0.45, 0.9), color=colour, linewidth=0)
    axes.set(ylabel="CPU", xlim=(0, LENGTH_NS / 1e6), ylim=(scenario.host.cpus - 0.5, -0.5), title=title)


def stacked(cpus: int, gap_ms: float, boot_ms: int) -> float:
    """Of two VMs of hogs: the share of vCPUs that share their CPU with a sibling, in 50 ms after the boot."""
    hogs = {"summary": "hogs", "threads": [{"name": "hog", "count": cpus, "program": "user 10ms\nwork"}]}
    vm = {"name": "vm", "count": 2, "vcpus": cpus, "workload": "hogs", "boot_ns": boot_ms * 1_000_000}
    host = {"cpus": cpus, "launch_gap_ns": round(gap_ms * 1e6)}
    scenario = Scenario(name="hogs", host=host, workloads={"hogs": hogs}, vms=[vm])
    booted_ns = round((150 + 2 * gap_ms + 2 * boot_ms + cpus) * 1e6)
    shares = []
    for seed in range(SEEDS):
        machine = Machine(scenario, "stock", seed)
        machine.run_until(booted_ns)
        before = machine.counters()["alignment"]
        machine.run_until(booted_ns + 50_000_000)
        counted = difference(machine.counters()["alignment"], before)
        shares.append(counted["stacked_ticks"] / counted["vcpu_ticks"])
    return float(np.mean(shares))


def stacked_later(scenario: Scenario) -> np.ndarray:
    """The share of stacked vCPUs in the 50 ms after each of `LATER_S`, of each seed."""
    shares = np.zeros((LATER_SEEDS, len(LATER_S)))
    for seed in range(LATER_SEEDS):
        machine = Machine(scenario, "stock", seed)
        for i, later_s in enumerate(LATER_S):
            machine.run_until(round(later_s * 1e9))
            before = machine.counters()["alignment"]
            machine.run_until(round(later_s * 1e9) + 50_000_000)
            counted = difference(machine.counters()["alignment"], before)
            shares[seed, i] = counted["stacked_ticks"] / counted["vcpu_ticks"]
    return shares


def alone(scenario: Scenario) -> Scenario:
    """Nothing happens to the two VMs."""
    return scenario


def with_visitors(scenario: Scenario) -> Scenario:
    """The same host, on which a third VM runs for 0.4 s of every second."""
    visitors = [
        {"name": f"visitor-{s}", "start_ns": s * SECOND + 550_000_000, "stop_ns": s * SECOND + 950_000_000}
        for s in range(SECONDS)
    ]
    return with_vms(scenario, visitors)


def with_vms(scenario: Scenario, more: list[dict], changes: tuple[dict, ...] = (), keep: int = 2) -> Scenario:
    """The first `keep` VMs of a scenario of two, others like them, and what happens to them."""
    like = {"vcpus": scenario.host.cpus, "workload": scenario.vms[0].workload}
    vms = [{"name": f"vm-{i + 1}"} for i in range(keep)] + more
    data = scenario.model_dump(exclude_unset=True)
    return Scenario(**data | {"vms": [like | vm for vm in vms], "changes": list(changes)})


def paused(scenario: Scenario, *names: str) -> Scenario:
    """VMs that are suspended for 0.2 s of every second."""
    changes = [
        {"at_ns": s * SECOND + at_ns, "vm": name, "life": life}
        for s in range(SECONDS)
        for at_ns, life in ((600_000_000, "suspend"), (800_000_000, "resume"))
        for name in names
    ]
    return with_vms(scenario, [], tuple(changes))


def one_paused(scenario: Scenario) -> Scenario:
    """The second VM is."""
    return paused(scenario, "vm-2")


def both_paused(scenario: Scenario) -> Scenario:
    """Both are, at the same times."""
    return paused(scenario, "vm-1", "vm-2")


def migrating(scenario: Scenario) -> Scenario:
    """In place of the second VM one that moves to a new QEMU on the same host at 0.7 s of every second, in 0.1 s."""
    vms, changes = [{"name": "vm-2"}], []
    for s in range(SECONDS):
        moves = {"at_ns": s * SECOND + 700_000_000, "downtime_ns": 100_000_000}
        vms.append({"name": f"moved-{s}", "start_ns": s * SECOND + 600_000_000})
        leaves = "vm-2" if s == 0 else f"moved-{s - 1}"
        changes += [moves | {"vm": leaves, "life": "migrate-out"}, moves | {"vm": f"moved-{s}", "life": "migrate-in"}]
    return with_vms(scenario, vms, tuple(changes), keep=1)


CHURN: tuple[tuple[str, Callable[[Scenario], Scenario]], ...] = (
    ("", alone),
    ("a third VM comes and goes", with_visitors),
    ("one VM is suspended and resumed", one_paused),
    ("both are, together", both_paused),
    ("one VM migrates", migrating),
)
"""What happens to a pair of VMs once in every second."""


def print_later() -> None:
    """How long stacking lasts."""
    print("| " + " | ".join(["16 CPUs", *(f"{later_s:g} s" for later_s in LATER_S)]) + " |")
    print("|---|" + "---:|" * len(LATER_S))
    for name in ("blackscholes-2vm", "dbench-2vm", "vips-2vm"):
        for title, change in CHURN:
            shares = stacked_later(change(load_scenario(name)))
            cells = [f"{of.mean():.2f} ({of.min():.2f}-{of.max():.2f})" for of in shares.T]
            print(f"| {title or name} | " + " | ".join(cells) + " |", flush=True)


def print_table() -> None:
    """The table of stacked siblings."""
    print("| launched, boot | " + " | ".join(f"{cpus} CPUs" for cpus in SIZES) + " |")
    print("|---|" + "---:|" * len(SIZES))
    for gap_ms, boot_ms in LAUNCH_KINDS:
        row = " | ".join(f"{stacked(cpus, gap_ms, boot_ms):.2f}" for cpus in SIZES)
        print(f"| {gap_ms:g} ms apart, {boot_ms} ms | {row} |", flush=True)


def main() -> None:
    """Draw the page and print the table."""
    if "--later" in sys.argv:
        print_later()
        return
    print_table()
    print_later()
    launched = load_scenario(SCENARIO)
    in_step = apply_overrides(launched, ["host.placement=one_per_cpu", "host.noise=none"])
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(8, 11), dpi=120, layout="constrained")
    draw_launches(top, launches(launched))
    draw_timeline(middle, in_step, f"{SCENARIO}, one vCPU of each VM on each CPU from one instant: in step")
    draw_timeline(bottom, launched, f"{SCENARIO}, launched: siblings share CPUs, out of step")
    bottom.set(xlabel="ms")
    figure.savefig(Path(__file__).parent / "launches.png")


if __name__ == "__main__":
    main()
