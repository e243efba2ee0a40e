"""Tables of a window, and files of an instant: their numbers are the machine's."""

import re

import pytest

from tests.helpers.recordings import FROM_NS, TO_NS, calm, machine, settled, storm
from vcpu_env.base.trace_ring import SCHED_SWITCH
from vcpu_env.inspect.instant import kvm_stat, schedstat
from vcpu_env.inspect.kvm_exits import exit_times, exits
from vcpu_env.inspect.openmetrics import openmetrics
from vcpu_env.inspect.sched_debug import sched_debug
from vcpu_env.inspect.timehist import latency, timehist
from vcpu_env.inspect.turns import turns

pytestmark = pytest.mark.core

RECORDINGS = pytest.mark.parametrize("recording_of", [storm, calm])


@RECORDINGS
def test_turns_are_the_switches_and_fill_the_time(recording_of):
    recording = recording_of()
    found = list(turns(recording))
    assert len(found) == len(recording.of_kind(SCHED_SWITCH))
    for cpu in range(recording.nr_cpus):
        here = [turn for turn in found if turn.cpu == cpu]
        assert sum(turn.run_ns for turn in here) == (here[-1].end_ns - FROM_NS if here else 0)
    begun = [turn for turn in found if turn.delay_ns is not None]
    assert len(begun) >= len(found) - recording.nr_cpus
    assert all(0 <= turn.delay_ns <= turn.off_ns or turn.off_ns == 0 for turn in begun)
    under_way = list(turns(recording, under_way=True))[len(found) :]
    assert {turn.task for turn in under_way} <= set(recording.end["rq"]["curr"].tolist())


def test_delays_are_those_that_the_scheduler_counts():
    """What tasks have waited, from being queued to their turns: all that began and ended in the window."""
    recording = storm()
    waited = sum(turn.delay_ns or 0 for turn in turns(recording))
    counted = recording.end["task_struct"]["run_delay_ns"].sum() - recording.start["task_struct"]["run_delay_ns"].sum()
    queued = recording.start["task_struct"]["last_queued_ns"]
    before = sum(FROM_NS - int(ns) for ns in queued if ns >= 0)
    assert 0 < waited <= counted <= waited + before + len(recording.tasks) * (TO_NS - FROM_NS)


def test_one_line_a_turn_and_a_task():
    recording = calm()
    lines = "".join(timehist(recording)).splitlines()
    assert len(lines) == 3 + len(list(turns(recording)))
    assert re.fullmatch(r" +0\.\d{6} \[000\d\]  \S.{29}  +\d+\.\d{3}  +\d+\.\d{3}  +\d+\.\d{3} ", lines[3])
    table = "".join(latency(recording))
    on_cpu = [turn for turn in turns(recording, under_way=True) if turn.task >= 0]
    begun = [turn.task for turn in on_cpu if turn.delay_ns is not None]
    ran = sum(turn.run_ns for turn in on_cpu if turn.task in begun)
    assert f"TOTAL:                | {ran / 1e6:10.3f} ms | {len(begun):8} |" in table


def test_exits_are_counted_by_reason():
    recording = storm()
    times = exit_times(recording)
    pauses = recording.end["kvm_vcpu"]["pause_exits"].sum() - recording.start["kvm_vcpu"]["pause_exits"].sum()
    assert 0 < len(times["PAUSE_INSTRUCTION"]) <= pauses <= len(times["PAUSE_INSTRUCTION"]) + recording.nr_vcpus
    assert min(min(of_reason) for of_reason in times.values()) > 0
    table = "".join(exits(recording))
    assert f"Total Samples:{sum(map(len, times.values()))}, " in table and "PAUSE_INSTRUCTION" in table


@pytest.fixture(scope="module")
def stopped():
    one = machine()
    one.run_until(TO_NS)
    return one


def test_schedstat_and_kvm_stat(stopped):
    version, timestamp, *cpus = "".join(schedstat(stopped)).splitlines()
    assert (version, timestamp) == ("version 17", "timestamp 14") and len(cpus) == 3
    name, yields, zero, calls, *_, ran, delay, turns_ = cpus[1].split()
    rq = stopped.world["rq"][1]
    assert (name, zero) == ("cpu1", "0") and int(yields) == rq["yld_count"] and int(calls) == rq["sched_count"]
    assert (int(ran), int(delay), int(turns_)) == (rq["rq_cpu_time_ns"], rq["run_delay_ns"], rq["pcount"])
    rows = {line.split()[0]: line.split()[1:] for line in kvm_stat(stopped)}
    assert rows["Event"] == ["Total", "vm-1", "vm-2"]
    total, *vms = map(int, rows["pause_exits"])
    assert total == sum(vms) == stopped.world["kvm_vcpu"]["pause_exits"].sum() > 0


def test_openmetrics_are_the_counters(stopped):
    text = "".join(openmetrics(stopped))
    assert text.endswith("# EOF\n")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    world = settled(stopped.world, TO_NS)
    assert float(values['node_cpu_seconds_total{cpu="0",mode="guest"}']) == world["pcpu"]["guest_ns"][0] / 1e9
    modes = [float(value) for name, value in values.items() if name.startswith("node_cpu_seconds_total")]
    assert sum(modes) == pytest.approx(3 * TO_NS / 1e9)
    delays = [float(value) for name, value in values.items() if name.startswith("libvirt_domain_vcpu_delay")]
    assert sum(delays) == pytest.approx(stopped.world["task_struct"]["run_delay_ns"].sum() / 1e9) and len(delays) == 12


def test_debug_lists_every_runnable_task(stopped):
    text = "".join(sched_debug(stopped))
    runnable = ((stopped.world["task_struct"]["state"] == 0) & (stopped.world["task_struct"]["on_rq"] != 0)).sum()
    rows = [line for line in text.splitlines() if re.match(r"(>R| R) +CPU", line)]
    assert len(rows) == runnable == stopped.world["rq"]["nr_running"].sum()
    assert sum(row.startswith(">R") for row in rows) == 3 and all("/vm vm-" in row for row in rows)
