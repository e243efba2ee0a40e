"""Recordings of one window as a page for a browser: one file without network, runs one above the other.

Rows are columns of numbers in base64: when each state begins, and which one it is. A yield is a row of a table, so that
the page explains any of 100,000 without a text for each.
"""

import base64
import html
import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import IPI_SEND, SCHED_SWITCH
from vcpu_env.inspect.activity import HALTED, KERNEL, POLLING, PREEMPTED, THROTTLED, USER, WOKEN, vcpu_changes
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import BOOSTS, SIBLINGS
from vcpu_env.inspect.yields import Yield, yields
from vcpu_env.kernel.yield_types import SKIP_NAMES

LARGEST_VM = 256
"""Siblings of larger VMs are left out of the explanations."""

STATES = (
    "", "guest user", "guest kernel", "guest interrupt", "spinning", "host work", "halt polling", "halted", "preempted",
    "woken, waits", "host task", "throttled",
)  # fmt: skip
LIGHT = (
    None,
    "#5b9bd5",
    "#2f6fb0",
    "#9467bd",
    "#d62728",
    "#8c8c8c",
    "#c9b458",
    None,
    "#f2c6c6",
    "#f6dfb8",
    "#7f7f7f",
    "#d9b3e6",
)
DARK = (
    None,
    "#4a86bd",
    "#7fb2e6",
    "#b08fd8",
    "#ff5c57",
    "#9a9a9a",
    "#a8954a",
    None,
    "#5c3030",
    "#5c4a2a",
    "#b0b0b0",
    "#52305c",
)
(NOTHING, GUEST_USER, GUEST_KERNEL, INTERRUPT, SPINNING, HOST, POLL, HALT, WAITS, WAITS_WOKEN, HOST_TASK, HELD) = range(
    12
)
OF_STATE = {
    USER: GUEST_USER, KERNEL: GUEST_KERNEL, POLLING: POLL, HALTED: HALT, PREEMPTED: WAITS, WOKEN: WAITS_WOKEN,
    THROTTLED: HELD,
}  # fmt: skip
OF_WORD = {"irq": INTERRUPT, "spin": SPINNING, "host": HOST, "": NOTHING}

VM_LIGHT = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#9c755f", "#edc948", "#ff9da7")
VM_SPIN_LIGHT = ("#1f3550", "#8a4708", "#245220", "#5d355a", "#2b5f5b", "#4e382b", "#8a6f0c", "#b33c4c")
VM_DARK = ("#7aa6d8", "#ffb066", "#86c97c", "#d3a4c9", "#9fd8d3", "#c9a48f", "#f5dc7a", "#ffc2c8")
VM_SPIN_DARK = ("#34567d", "#9a5415", "#336e2d", "#74466f", "#37746f", "#63493a", "#96791a", "#a8485a")

NOBODY, HIT, MISSED = range(3)
OUTCOMES = ("nobody was taken", "a hit: the one that is waited for", "a miss: not the one that is waited for")
UNKNOWN, KEPT, LOST = range(3)
FATES = ("another yield took its place, or the window ended", "kept: the target ran next", "lost: another one ran")
WORDS = {
    "hit": ("outcome", HIT), "missed": ("outcome", MISSED), "nobody": ("outcome", NOBODY), "kept": ("ran", KEPT),
    "lost": ("ran", LOST), "penalty": ("penalty", 1),
}  # fmt: skip
"""Words of a search: a column of the table of yields, and its value; of `penalty` any above 0."""


@cache
def code_of(state: str) -> int:
    """The number of a vCPU's state."""
    return OF_STATE[state] if state in OF_STATE else OF_WORD[state.partition(" ")[0]]


def column(values: Sequence[int] | np.ndarray) -> str:
    """Numbers as 32 bits each, in base64; what does not fit is cut to what does."""
    clipped = np.clip(np.asarray(values, np.int64), -(2**31), 2**31 - 1)
    return base64.b64encode(clipped.astype("<i4").tobytes()).decode()


def bytes_of(values: Sequence[int]) -> str:
    """Numbers below 256, a byte each, in base64."""
    return base64.b64encode(bytes(values)).decode()


class Row:
    """A row of the chart: from when on it is in which state."""

    def __init__(self, name: str):
        self.name = name
        self.begins: list[int] = []
        self.states: list[int] = []

    def add(self, time_ns: int, state: int) -> None:
        """It is in this state from now on."""
        if self.begins and self.begins[-1] == time_ns:
            self.begins.pop()
            self.states.pop()
        if not self.states or self.states[-1] != state:
            self.begins.append(time_ns)
            self.states.append(state)

    def packed(self) -> dict[str, str]:
        """As the page takes it."""
        return {"name": self.name, "begins": column(self.begins), "states": bytes_of(self.states)}


def chart_rows(recording: Recording) -> list[Row]:
    """A row a CPU (by VM, dark where it spins), then a row a vCPU (by what it does)."""
    cpus = [Row(f"CPU {cpu}") for cpu in range(recording.nr_cpus)]
    vcpus = [Row(f"{task.process}:{task.vcpu}") for task in recording.tasks[: recording.nr_vcpus]]
    on_cpu = {int(p): cpu for cpu, p in enumerate(recording.start["rq"]["curr"]) if p != NIL}
    of_vm = [len(STATES) + 2 * (task.vm or 0) for task in recording.tasks[: recording.nr_vcpus]]
    begin_ns = recording.from_ns
    for cpu in cpus:
        cpu.add(0, NOTHING)
    for p, cpu_id in on_cpu.items():
        cpus[cpu_id].add(0, of_vm[p] if p < recording.nr_vcpus else HOST_TASK)
    for time_ns, v, state, cpu_id in with_cpus(recording, on_cpu):
        if not 0 <= v < recording.nr_vcpus:
            cpus[cpu_id].add(time_ns - begin_ns, NOTHING if v == NIL else HOST_TASK)
            continue
        code = code_of(state)
        vcpus[v].add(time_ns - begin_ns, code)
        if cpu_id != NIL:
            cpus[cpu_id].add(time_ns - begin_ns, of_vm[v] + (code == SPINNING))
    return cpus + vcpus


def with_cpus(recording: Recording, on_cpu: dict[int, int]) -> Iterator[tuple[int, int, str, int]]:
    """Changes of vCPUs with the CPU that each has (NIL: none), and CPUs that go to host tasks or idle."""
    switches = iter(recording.of_kind(SCHED_SWITCH).tolist())
    following = next(switches, None)
    for time_ns, v, state, _ in vcpu_changes(recording):
        while following is not None and following[0] <= time_ns:
            at_ns, _, cpu, prev, p, *_ = following
            on_cpu.pop(prev, None)
            if p != NIL:
                on_cpu[p] = cpu
            if p == NIL or p >= recording.nr_vcpus:
                yield at_ns, p, "", cpu
            following = next(switches, None)
        yield time_ns, v, state, on_cpu.get(v, NIL)
    for at_ns, _, cpu, _, p, *_ in [following, *switches] if following is not None else []:
        if p == NIL or p >= recording.nr_vcpus:
            yield at_ns, p, "", cpu


def colours(nr_vms: int, dark: bool) -> list[str | None]:
    """A colour a state; two a VM, the second for spinning."""
    plain, spin = (VM_DARK, VM_SPIN_DARK) if dark else (VM_LIGHT, VM_SPIN_LIGHT)
    own = [colour[i % len(plain)] for i in range(nr_vms) for colour in (plain, spin)]
    return [*(DARK if dark else LIGHT), *own]


def outcome_of(found: Yield) -> int:
    """Nobody, a hit, or a miss."""
    if found.target == NIL:
        return NOBODY
    return HIT if found.hit else MISSED


def yield_table(recording: Recording) -> dict[str, Any]:
    """The columns of the table of yields, and the verdicts of the scans as (index in the VM, verdict) pairs."""
    found, cpus = yields(recording), recording.nr_cpus
    first = [recording.vm_spans[task.vm or 0][0] for task in recording.tasks[: recording.nr_vcpus]]
    siblings: list[int] = []
    scans = [0]
    for y in found:
        if len(y.siblings) <= LARGEST_VM:
            siblings += [part for v, what in y.siblings for part in (v - first[v], SIBLINGS.index(what))]
        scans.append(len(siblings))
    fields = ("number", "vcpu", "cpu", "target", "target_cpu", "awaited")
    table = {name: column([getattr(y, name) for y in found]) for name in fields} | {
        "time": column([y.time_ns - recording.from_ns for y in found]),
        "lag": column([y.lag_ns for y in found]),
        "chain_lag": column([y.chain_lag_ns for y in found]),
        "waited": column([y.waited_ns for y in found]),
        "penalty": column([y.penalty_ns for y in found]),
        "boost": column([BOOSTS.index(y.boost) if y.boost else 0 for y in found]),
        "skip": column([SKIP_NAMES.index(y.skip) for y in found]),
        "ran": column([UNKNOWN if y.ran is None else KEPT if y.ran else LOST for y in found]),
        "outcome": column([outcome_of(y) for y in found]),
        "scan": column(scans),
        "cpu_row": column([y.cpu for y in found]),
        "vcpu_row": column([cpus + y.vcpu for y in found]),
    }
    return {"yields": table, "siblings": bytes_of(siblings)}


def run_of(recording: Recording) -> dict[str, Any]:
    """One run, as the page takes it."""
    ipis = recording.of_kind(IPI_SEND)
    return {
        "name": f"{recording.policy}, seed {recording.plan.seed}",
        "policy": recording.policy,
        "rows": [row.packed() for row in chart_rows(recording)],
        "ipis": {
            "time": column(ipis["time_ns"] - recording.from_ns),
            "row": column(recording.nr_cpus + ipis["who"]),
        },
    } | yield_table(recording)


def data_of(recordings: Sequence[Recording], again: Sequence[str] = ()) -> dict[str, Any]:
    """All that the page shows."""
    first, commands = recordings[0], again or [""] * len(recordings)
    vms = [vm.name for vm in first.plan.scenario.expanded_vms]
    return {
        "scenario": first.plan.scenario.name,
        "seed": first.plan.seed,
        "from_ns": first.from_ns,
        "length_ns": first.to_ns - first.from_ns,
        "vcpus": [f"{task.process}:{task.vcpu}" for task in first.tasks[: first.nr_vcpus]],
        "states": [*STATES, *(text for vm in vms for text in (f"CPU: {vm}", f"CPU: {vm} spins"))],
        "light": colours(len(vms), dark=False),
        "dark": colours(len(vms), dark=True),
        "boosts": BOOSTS,
        "siblings": SIBLINGS,
        "skips": [skip and skip.replace("_", " ") for skip in SKIP_NAMES],
        "outcomes": OUTCOMES,
        "fates": FATES,
        "words": WORDS,
        "runs": [run_of(recording) | {"explain": said} for recording, said in zip(recordings, commands, strict=True)],
    }


@cache
def part(name: str) -> str:
    """A file of the page."""
    return files("vcpu_env.inspect").joinpath(name).read_text("utf-8")


def page(recordings: Sequence[Recording], again: Sequence[str] = ()) -> Iterator[str]:
    """The page: recordings of one scenario, one seed and one window, under as many policies.

    `again`: of each the command that explains one of its yields, but for ``--yield N``; the page names it.
    """
    first = recordings[0]
    scenario, times = first.plan.scenario.name, (first.from_ns / 1e6, first.to_ns / 1e6)
    data = json.dumps(data_of(recordings, again), separators=(",", ":")).replace("</", "<\\/")
    yield Template(part("timeline.html")).substitute(
        title=html.escape(f"{scenario}, {times[0]:g} to {times[1]:g} ms"),
        style=part("timeline.css"),
        script=part("timeline.js"),
        data=data,
    )
