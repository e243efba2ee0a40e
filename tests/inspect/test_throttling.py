"""Quotas that are used up: what is recorded is what the groups' cpu.stat says, and every format shows it."""

import json

import pytest

from tests.helpers.protobuf_reader import fields
from tests.helpers.recordings import storm, throttled
from vcpu_env.base.trace_ring import CFS_THROTTLE, TASK_THROTTLE
from vcpu_env.inspect import ftrace, jsonl
from vcpu_env.inspect.activity import THROTTLED, slices, vcpu_changes
from vcpu_env.inspect.perfetto import packets
from vcpu_env.inspect.timeline import STATES, chart_rows

pytestmark = pytest.mark.core
KERNELS = pytest.mark.parametrize("kernel", ["6.19", "7.3"])


@KERNELS
def test_times_are_those_of_cpu_stat(kernel):
    """From the first task that leaves a throttled queue until that may run again, summed over the CPUs."""
    recording = throttled(kernel)
    before, after = (w["cfs_bandwidth"] for w in (recording.start, recording.end))
    of_task = recording.start["task_struct"]["tg"]
    queues = recording.start["cfs_rq"], recording.start["cfs_rq_bandwidth"]
    held = {
        (int(cfs["tg"]), int(cfs["cpu"])): None
        if bandwidth["throttled_clock_ns"] < 0
        else int(bandwidth["throttled_clock_ns"])
        for cfs, bandwidth in zip(*queues, strict=True)
        if bandwidth["throttled"]
    }
    times, count = dict.fromkeys(range(len(before)), 0), 0
    for time_ns, kind, cpu, who, on, *_ in recording.entries:
        if kind == CFS_THROTTLE:
            assert ((who, cpu) in held) != bool(on)
            if on:
                held[who, cpu] = None
                count += 1
            elif (since := held.pop((who, cpu))) is not None:
                times[who] += time_ns - since
        elif kind == TASK_THROTTLE and on:
            tg = int(of_task[who])
            if held.get((tg, cpu), 0) is None:
                held[tg, cpu] = time_ns
    counted = (after["throttled_time_ns"] - before["throttled_time_ns"]).tolist()
    assert list(times.values()) == counted and max(counted) > 0 and count > 6
    end = recording.end
    still = zip(
        end["cfs_rq"]["tg"].tolist(), end["cfs_rq"]["cpu"].tolist(), end["cfs_rq_bandwidth"]["throttled"], strict=True
    )
    assert set(held) == {(tg, cpu) for tg, cpu, on in still if on}


@KERNELS
def test_a_throttled_vcpu_is_not_shown_as_preempted(kernel):
    """Its slices are those between leaving its queue for want of run time and being back on it."""
    recording = throttled(kernel)
    shown = [0] * recording.nr_vcpus
    for v, begin_ns, end_ns, state in slices(vcpu_changes(recording), recording.to_ns):
        shown[v] += (end_ns - begin_ns) * (state == THROTTLED)
    w, on_rq = recording.start["task_struct"], recording.start["sched_entity"]["on_rq"]
    since = {v: recording.from_ns for v in range(recording.nr_vcpus) if w["on_rq"][v] and not on_rq[v]}
    expected = [0] * recording.nr_vcpus
    for time_ns, _, _, v, on, *_ in recording.of_kind(TASK_THROTTLE).tolist():
        if on:
            since[v] = time_ns
        else:
            expected[v] += time_ns - since.pop(v)
    for v, begin_ns in since.items():
        expected[v] += recording.to_ns - begin_ns
    assert shown == expected and sum(shown) > 0
    rows = chart_rows(recording)[recording.nr_cpus :]
    drawn = sum(
        end - begin
        for row in rows
        for begin, end, state in zip(
            row.begins, [*row.begins[1:], recording.to_ns - recording.from_ns], row.states, strict=True
        )
        if STATES[state] == "throttled"
    )
    assert drawn == sum(shown)


def test_every_format_says_so():
    recording = throttled()
    of_queues, of_tasks = (len(recording.of_kind(kind)) for kind in (CFS_THROTTLE, TASK_THROTTLE))
    text = "".join(ftrace.lines(recording))
    assert text.count(": cfs_throttle: group=vm vm-") == of_queues > 0
    assert text.count(": task_throttle: comm=CPU ") == of_tasks > 0
    head, *rest = [json.loads(line) for line in jsonl.lines(recording)]
    told = [line for line in rest if line["event"] == "cfs_throttle"]
    assert len(told) == of_queues and {head["groups"][line["group"]] for line in told} == {"vm vm-1", "vm vm-2"}
    rows, counts = {}, {}
    for _, packet in fields(b"".join(packets(recording))):
        parts = dict(fields(packet))
        if 60 in parts:
            row = dict(fields(parts[60]))
            if 2 in row:
                rows[row[1]] = row[2].decode()
        elif 11 in parts and (event := dict(fields(parts[11])))[9] == 4:
            counts.setdefault(event[11], []).append(event[30])
    shown = {name: counts[uuid] for uuid, name in rows.items() if name.startswith("throttled (cpu.max): ")}
    assert set(shown) == {"throttled (cpu.max): vm vm-1", "throttled (cpu.max): vm vm-2"}
    assert sum(map(len, shown.values())) == 2 + of_queues
    assert all(0 <= count <= 3 for values in shown.values() for count in values)


def test_nothing_of_it_without_quotas():
    assert "throttle" not in "".join(ftrace.lines(storm()))
    assert b"cpu.max" not in b"".join(packets(storm()))
