"""What is recorded is what happened: times and counts equal the machine's own, to the nanosecond."""

import numpy as np
import pytest

from tests.helpers.recordings import FROM_NS, MSEC, TO_NS, calm, executed, machine, settled, storm
from tests.helpers.worlds import differing
from vcpu_env.base.trace_ring import (
    ALL_GROUPS,
    GROUPS,
    IRQ_HANDLE,
    LOCK_TAKE,
    LOCK_WAIT,
    NR_KINDS,
    SCHED,
    SCHED_SWITCH,
    SCHED_TICK,
    SCHED_WAKING,
    YIELD_SIBLINGS,
    YIELD_SPIN,
    YIELD_TO,
)
from vcpu_env.inspect.activity import slices, vcpu_changes
from vcpu_env.inspect.recorder import RecordError, record
from vcpu_env.inspect.records import KINDS, SIBLINGS, described, sibling_codes
from vcpu_env.inspect.yields import yields
from vcpu_env.kvm.lapic import VECTOR_CALL, VECTOR_RESCHEDULE

pytestmark = pytest.mark.core


def booked(recording, struct, field):
    """What the machine has booked in the window."""
    before, after = settled(recording.start, FROM_NS), settled(recording.end, TO_NS)
    return (after[struct][field] - before[struct][field]).tolist()


RECORDINGS = pytest.mark.parametrize("recording_of", [storm, calm])


def test_recording_changes_nothing():
    plain = machine()
    plain.run_until(TO_NS)
    assert differing(plain.world, storm().end) == set()


@RECORDINGS
def test_states_of_vcpus_add_up_to_what_the_machine_has_booked(recording_of):
    recording = recording_of()
    times = [dict.fromkeys(("user", "kernel", "irq", "spin"), 0) for _ in range(recording.nr_vcpus)]
    total = [0] * recording.nr_vcpus
    for v, begin_ns, end_ns, state in slices(vcpu_changes(recording), TO_NS):
        total[v] += end_ns - begin_ns
        which = state.split()[0]
        if which in times[v]:
            times[v][which] += end_ns - begin_ns
    assert total == [TO_NS - FROM_NS] * recording.nr_vcpus
    assert [t["user"] for t in times] == booked(recording, "guest_vcpu", "user_ns")
    assert [t["irq"] for t in times] == booked(recording, "guest_vcpu", "irq_ns")
    assert [t["spin"] for t in times] == booked(recording, "guest_vcpu", "spin_ns")
    kernel = [t["kernel"] + t["irq"] + t["spin"] for t in times]
    assert kernel == booked(recording, "guest_vcpu", "kernel_ns") and min(kernel) > 0


def on_cpu(recording) -> tuple[list[int], list[int]]:
    """From the switches: time that each task has had a CPU, and that each CPU was idle."""
    switches = recording.of_kind(SCHED_SWITCH)
    ran, idle = [0] * len(recording.tasks), [0] * recording.nr_cpus
    for cpu in range(recording.nr_cpus):
        task, since = int(recording.start["rq"]["curr"][cpu]), FROM_NS
        for entry in switches[switches["cpu"] == cpu]:
            assert entry["who"] == task
            where, which = (idle, cpu) if task < 0 else (ran, task)
            where[which] += int(entry["time_ns"]) - since
            task, since = int(entry["a"]), int(entry["time_ns"])
        where, which = (idle, cpu) if task < 0 else (ran, task)
        where[which] += TO_NS - since
    return ran, idle


@RECORDINGS
def test_switches_add_up_to_the_times_of_cpus_and_tasks(recording_of):
    recording = recording_of()
    ran, idle = on_cpu(recording)
    assert idle == booked(recording, "pcpu", "idle_ns")
    assert (sum(idle) > 0) == (recording_of is calm)
    first = executed(recording, recording.start, FROM_NS)
    assert ran == [b - a for a, b in zip(first, executed(recording, recording.end, TO_NS), strict=True)]


@RECORDINGS
def test_counts_are_those_of_the_counters(recording_of):
    recording = recording_of()
    assert len(recording.of_kind(SCHED_SWITCH)) == sum(booked(recording, "rq", "nr_switches")) > 0
    assert [len(recording.of_kind(YIELD_SPIN))] == booked(recording, "engine", "decisions")
    asked = booked(recording, "kvm_vcpu", "ple_yield_ok"), booked(recording, "kvm_vcpu", "directed_yield_successful")
    assert (recording.of_kind(YIELD_TO)["b"] > 0).sum() == sum(map(sum, asked))
    handled = recording.of_kind(IRQ_HANDLE)
    ipis = np.isin(handled["a"], (VECTOR_CALL, VECTOR_RESCHEDULE)).sum()
    assert ipis == sum(booked(recording, "lapic", "ipis")) > 0


def test_yields_are_whole_and_hit_as_the_counters_say():
    recording = storm()
    hinted = [found for found in yields(recording) if found.target >= 0]
    assert [len(hinted)] == booked(recording, "yield_stats", "yields") and len(hinted) > 50
    assert [sum(found.penalty_ns for found in hinted)] == booked(recording, "yield_stats", "penalty_ns")
    ran, useful = (sum(booked(recording, "kvm_vcpu", f"ple_yield_{name}")) for name in ("ran", "useful"))
    picked = [found for found in hinted if found.ran]
    assert ran - recording.nr_cpus <= len(picked) <= ran  # hints of before the window are picked in it
    assert useful - recording.nr_cpus <= sum(found.hit for found in picked) <= useful


def test_the_scan_takes_the_first_good_sibling_as_the_codes_say():
    """Without a second round and without failures, the target is the first that the codes call good."""
    for found in yields(storm("stock")):
        good = [v for v, what in found.siblings if what == "good"]
        assert [v for v, _ in found.siblings].count(found.vcpu) == 1 and len(found.siblings) == 6
        if found.attempts:
            assert found.attempts[0][0] == good[0]
        else:
            assert not good and found.why_nobody == "all_refused"


def test_no_record_is_lost_unsaid():
    with pytest.raises(RecordError, match=r"--limit: value 100 \(allowed: from \d+ on: the window has so many records"):
        record(machine(), FROM_NS, TO_NS, limit=100)


def test_a_window_of_the_past_is_refused():
    with pytest.raises(RecordError, match="window: 0..5 ns"):
        late = machine()
        late.run_until(MSEC)
        record(late, 0, 5)


def test_groups_are_switched_on_one_by_one():
    kinds = set()
    for bit in GROUPS.values():
        own = set(np.unique(record(machine(), FROM_NS, FROM_NS + 2 * MSEC, groups=bit).records["kind"]).tolist())
        assert not own & kinds
        kinds |= own
    everything = record(machine(), FROM_NS, FROM_NS + 2 * MSEC, groups=ALL_GROUPS).records
    assert kinds == set(np.unique(everything["kind"]).tolist())


def test_switches_alone_are_the_same_switches():
    alone = record(machine(), FROM_NS, TO_NS, groups=SCHED).records
    every = storm().records
    assert np.array_equal(alone, every[np.isin(every["kind"], (SCHED_SWITCH, SCHED_WAKING, SCHED_TICK))])


def test_every_kind_has_a_name_and_words():
    assert sorted(KINDS) == list(range(NR_KINDS))
    seen = {described(entry)["event"] for entry in storm().entries}
    assert {"sched_switch", "kvm_exit", "yield_siblings", "yield_hint", "guest_segment", "irq_handle"} <= seen


def test_codes_are_read_back():
    entry = storm().of_kind(YIELD_SIBLINGS).tolist()[0]
    assert set(sibling_codes(entry)) <= set(range(len(SIBLINGS)))


def test_who_waits_for_a_lock_takes_it_later():
    waits = {}
    for entry in storm().records:
        if entry["kind"] == LOCK_WAIT:
            waits.setdefault((int(entry["who"]), int(entry["a"])), int(entry["time_ns"]))
        elif entry["kind"] == LOCK_TAKE:
            key = int(entry["who"]), int(entry["a"])
            if key in waits:
                assert entry["time_ns"] - waits.pop(key) == entry["b"]
