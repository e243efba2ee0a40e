"""JSON lines and ftrace text: documented, whole, read back."""

import json
import re

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.paths import DOCS
from tests.helpers.recordings import FROM_NS, TO_NS, calm, machine, storm
from vcpu_env.base.trace_ring import KVM_EXIT, SCHED_SWITCH, SCHED_WAKING, YIELD_TO
from vcpu_env.fit.events import SWITCH, WAKE, parse_events
from vcpu_env.inspect import ftrace, jsonl
from vcpu_env.inspect.recorder import record
from vcpu_env.inspect.records import KINDS
from vcpu_env.scenario import Scenario

pytestmark = pytest.mark.core


def test_lines_are_json_and_in_the_window():
    head, *rest = [json.loads(line) for line in jsonl.lines(storm())]
    assert head["version"] == 1 and head["records"] == len(rest) == len(storm().records)
    assert (head["from_ns"], head["to_ns"], head["policy"], head["seed"]) == (FROM_NS, TO_NS, "series-v2", 1)
    assert head["vms"] == ["vm-1", "vm-2"] and len(head["cpus"]) == 3 and len(head["vcpus"]) == 12
    assert all(FROM_NS <= line["t"] <= TO_NS for line in rest)
    spins = [line for line in rest if line["event"] == "yield_siblings"]
    assert {what for line in spins for _, what in line["siblings"]} >= {"self", "not_ready", "good"}
    for line in spins:
        vcpus = [v for v, _ in line["siblings"]]
        first = line["vcpu"] // 6 * 6
        assert sorted(vcpus) == list(range(first, first + 6)) and dict(line["siblings"])[line["vcpu"]] == "self"


def test_every_event_and_field_is_documented():
    page = (DOCS / "trace.md").read_text()
    for kind in KINDS.values():
        assert f"`{kind.event}`" in page, kind.event
        row = next(line for line in page.splitlines() if line.startswith(f"| `{kind.event}` |"))
        for name in kind.fields:
            assert name is None or f"`{name}`" in row, (kind.event, name)


def test_ftrace_goes_back_in():
    """Switches and wake-ups are read by the reader of recorded traces with the times and ids that they have."""
    recording = calm()
    events = parse_events(ftrace.lines(recording))
    pids = [task.pid for task in recording.tasks] + [0]
    switches = [(e.time_ns, e.cpu, e.tid, e.other, e.blocks) for e in events if e.kind == SWITCH]
    expected = [
        (int(r["time_ns"]), int(r["cpu"]), pids[r["who"]], pids[r["a"]], bool(r["b"]))
        for r in recording.of_kind(SCHED_SWITCH)
    ]
    assert sorted(switches) == sorted(expected)
    wakes = sorted((e.time_ns, e.other) for e in events if e.kind == WAKE)
    assert wakes == sorted((int(r["time_ns"]), pids[r["who"]]) for r in recording.of_kind(SCHED_WAKING) if not r["c"])


def test_ftrace_has_events_of_kvm():
    text = "".join(ftrace.lines(storm()))
    assert text.count(": kvm_exit: ") == len(storm().of_kind(KVM_EXIT)) > 0
    assert text.count(": kvm_yield: ") == len(storm().of_kind(YIELD_TO)) > 0


def test_real_time_threads_have_the_kernels_priorities():
    """MAX_RT_PRIO - 1 - rt_priority; all others 120."""
    vms = [{"name": "vm", "vcpus": 3, "workload": "dedup", "vcpusched": [{"scheduler": "fifo", "priority": 7}]}]
    scenario = at_once(Scenario(name="rt", host={"cpus": 2}, vms=vms, run={"warmup_ns": FROM_NS}))
    recording = record(machine("stock", scenario), 0, 1_000_000)
    assert set(recording.priorities[:3]) == {92} and set(recording.priorities[3:]) <= {120}
    text = "".join(ftrace.lines(recording))
    assert re.search(r"(prev|next)_pid=100[012] \1_prio=92 ", text) and "pid=1000 prev_prio=120" not in text
    assert set(storm().priorities) == {120}
