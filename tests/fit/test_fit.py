"""Programs fitted to traces: what is read from them, what is fitted, and whether the fitted program does it again."""

# ruff: noqa: E501

import gzip
import itertools
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.command_line import call, refused
from tests.helpers.fit_traces import FTRACE, events_of
from tests.helpers.paths import TESTS
from vcpu_env.fit.command import misfit
from vcpu_env.fit.distributions import fit_durations
from vcpu_env.fit.events import CALL_IPI, IDLE, RESCHEDULE_IPI, SHOOTDOWN, SWITCH, WAKE, Event, FitError
from vcpu_env.fit.fit import fit_recording, fit_trace
from vcpu_env.fit.goodness import busy_allowed, durations, goodness, rate_allowed
from vcpu_env.fit.groups import connect, forest, make_groups, word
from vcpu_env.fit.simulate import simulate, solo, watched, with_reschedules
from vcpu_env.fit.threads import record
from vcpu_env.fit.write import choice, duration, split, workload_text
from vcpu_env.machine import Machine
from vcpu_env.scenario.workload_file import parse_workload

MSEC = 1_000_000

TRACE = TESTS / "data" / "gzip-xz.ftrace.gz"

COMMS = ["head", "gzip", "xz", "cat"]

USEC = 1_000

PERF = """\
         swapper     0 [001] 100.000001000:       sched:sched_waking: comm=a b pid=7 prio=120 target_cpu=001
         swapper     0 [001] 100.000002000:       sched:sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=a b next_pid=7 next_prio=120
             a b     6/7 [001] 100.000010000:       sched:sched_waking: comm=w-2 pid=8 prio=120 target_cpu=000
        ffffffff811 schedule+0x1 ([kernel.kallsyms])

             a b     7 [001] 100.000011000: irq_vectors:reschedule_entry: vector=253
             a b     7 [001] 100.000013000:          1          tlb:tlb_flush: pages:1 reason:remote IPI send (4)
             a b     7 [001] 100.000020000:       sched:sched_switch: a b:7 [120] S ==> swapper/1:0 [120]
"""


@pytest.mark.core
def test_both_formats_tell_the_same():
    events = events_of(FTRACE)
    assert [(e.kind, e.tid, e.other) for e in events] == [
        (WAKE, IDLE, 7),
        (SWITCH, 0, 7),
        (WAKE, 7, 8),
        (RESCHEDULE_IPI, 7, 0),
        (SHOOTDOWN, 7, 0),
        (SWITCH, 7, 0),
    ]
    assert events[1] == Event(100_000_002_000, 1, SWITCH, 0, "swapper/1", 7, "a b", False)
    assert events[-1].blocks and events[2].other_comm == "w-2"
    assert events_of(PERF) == events


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FTRACE + "what is this\n", "line 11: 'what is this' (allowed: lines of ftrace, perf script or trace-cmd)"),
        (
            FTRACE.replace("prev_state=R ==>", "prev_state=R =>"),
            "line 4: sched_switch cannot be read: 'prev_comm=swapper",
        ),
        (
            FTRACE.replace("prev_state=R ==>", "prev_state=1979-05-27 ==>"),
            "line 4: sched_switch cannot be read: 'prev_comm=swapper",
        ),
        (FTRACE + "CPU:1 [LOST 12 EVENTS]\n", "line 11: events were lost (allowed: complete recordings"),
        (FTRACE.replace("sched_waking", "sched_stat"), "no events sched:sched_waking (allowed: recordings with both)"),
        ("# nothing\n", "no events sched:sched_switch and sched:sched_waking (allowed: recordings with both)"),
    ],
)
def test_traces_that_cannot_be_read(text, message):
    with pytest.raises(FitError) as error:
        events_of(text)
    assert str(error.value).startswith(message)


def small_trace() -> list[Event]:
    """Thread 1 computes 10 us, wakes thread 2, computes 5 us, sleeps; is preempted once; an outsider, 9, wakes it."""
    return [
        Event(0, 0, SWITCH, 9, "other", 1, "one", False),
        Event(1_000, 0, SWITCH, 1, "one", 0, "", True),  # begun before the recording
        Event(3_000, 0, WAKE, 9, "", 1, "one"),
        Event(4_000, 1, SWITCH, 0, "", 2, "two", False),
        Event(4_500, 1, SWITCH, 2, "two", 0, "", True),
        Event(5_000, 0, SWITCH, 0, "", 1, "one", False),
        Event(11_000, 0, SWITCH, 1, "one", 9, "other", False),
        Event(12_000, 1, SWITCH, 9, "other", 1, "one", False),
        Event(16_000, 1, WAKE, 1, "", 2, "two"),
        Event(17_000, 0, SWITCH, 0, "", 2, "two", False),
        Event(17_500, 0, RESCHEDULE_IPI, 2),
        Event(21_000, 1, SWITCH, 1, "one", 0, "", True),
        Event(30_000, 0, SWITCH, 2, "two", 0, "", True),
    ]


@pytest.mark.core
def test_what_threads_did():
    recording = record(small_trace(), lambda comm, tid: comm in ("one", "two"))
    one, two = recording.threads[1], recording.threads[2]
    assert [(a.cpu_ns, a.blocks, a.other, a.slept_ns) for a in one.actions] == [
        (None, True, IDLE, 2_000),  # its run had begun before the recording
        (10_000, False, 2, None),
        (5_000, True, IDLE, None),
    ]
    assert one.runs_ns == [15_000] and one.preempted == 1 and one.cpu_ns == 16_000
    assert two.runs_ns == [13_000] and two.counts == Counter({RESCHEDULE_IPI: 1})
    assert recording.cpus == 2 and recording.window_ns == 30_000 and recording.counted == {RESCHEDULE_IPI}
    everybody = record(small_trace(), lambda comm, tid: True)
    assert set(everybody.threads) == {1, 2, 9}


@pytest.mark.core
def test_a_sleep_ends_when_its_thread_is_woken():
    again = [Event(40_000, 0, WAKE, 2, "", 1, "one"), Event(45_000, 0, SWITCH, 0, "", 1, "one", False)]
    recording = record(small_trace() + again, lambda comm, tid: comm in ("one", "two"))
    assert [(b.slept_ns, b.other) for b in recording.threads[1].blocks] == [(2_000, IDLE), (19_000, 2)]


@pytest.mark.core
@pytest.mark.parametrize(
    ("family", "draw"),
    [
        ("exponential", lambda g: g.exponential(1e5, 3000)),
        ("lognormal_1.2", lambda g: g.lognormal(11, 1.2, 3000)),
        ("gamma_3", lambda g: g.gamma(3, 1e4, 3000)),
        ("fixed", lambda g: np.full(3000, 5000.0)),
    ],
)
def test_the_family_is_found(family, draw):
    samples = draw(np.random.default_rng(1))
    fit = fit_durations(samples)
    name, _, shape = family.partition("_")
    assert fit.family.partition("_")[0] == name and fit.distance < 0.05
    assert fit.mean_ns == pytest.approx(samples.mean())
    if shape:
        assert float(fit.family.partition("_")[2]) == pytest.approx(float(shape), rel=0.1)


@pytest.mark.core
def test_no_family_fits_two_peaks():
    generator = np.random.default_rng(1)
    samples = np.concatenate([generator.normal(1e4, 500, 900), generator.normal(1e6, 5e4, 300)])
    fit = fit_durations(samples)
    assert fit.family == "" and fit.distance < 0.05
    assert [p for p, _ in fit.quantiles][0] == 0 and dict(fit.quantiles)[0.5] == pytest.approx(
        1e4 / samples.mean(), rel=0.1
    )
    assert fit_durations([500.0, 900.0]).family == "exponential", "two samples say nothing of a shape"


@pytest.mark.core
def test_queues_form_no_cycle():
    names = "abcdef"
    generator = np.random.default_rng(3)
    wakes = Counter({pair: int(generator.integers(1, 100)) for pair in itertools.permutations(names, 2)})
    edges = forest(wakes)
    assert len(edges) == len(names) - 1
    assert {name for edge in edges for name in (edge.source, edge.target)} == set(names)
    assert all(edge.forth >= edge.back for edge in edges)
    busiest = max(itertools.combinations(names, 2), key=lambda pair: wakes[pair] + wakes[pair[::-1]])
    assert {edges[0].source, edges[0].target} == set(busiest)
    assert forest(Counter({("a", "b"): 3}))[0].capacity == 64
    assert forest(Counter({("a", "b"): 3, ("b", "a"): 1}))[0].capacity == 4
    assert forest(Counter({("a", "b"): 3, ("b", "a"): 3}))[0].capacity == 1


@pytest.mark.core
def test_words_of_a_file():
    assert [word("kworker/0:1-ev", taken := set()), word("kworker/0:1-ev", taken), word("7zip", taken)] == [
        "kworker_0_1_",
        "kworker_0_1_2",
        "t7zip",
    ]
    assert [duration(ns) for ns in (0.2, 999, 1500, 1_234_567, 2e9)] == ["1ns", "999ns", "1.5us", "1.235ms", "2s"]
    assert choice([(0.5, "a"), (0.5, "b")]) == ["maybe 0.5", "  a", "else", "  b", "end"]
    assert choice([(1.0, "a")]) == ["a"] and choice([(0.2, "a")]) == ["maybe 0.2", "  a", "end"]
    assert split(0.3) == (1, 0.3) and split(2.5) == (3, 2.5 / 3) and split(0) == (1, 0)


PAIR = """
[[threads]]
name = "cpu"
program = "user 200us lognormal_0.8\\nsleep 300us gamma_2\\nwork"
[[threads]]
name = "io"
program = "user 20us\\nsleep 150us exponential"
"""


@pytest.mark.core
def test_a_simulated_program_is_found_again():
    """Watch a program, fit one to what was seen, watch that one: distributions and rates are the same."""
    machine = Machine(solo("pair", parse_workload(PAIR, "pair"), 2))
    recording = record(watched(machine, ["cpu", "io"], 250 * MSEC), lambda comm, tid: True)
    fitted = fit_recording(recording)
    assert [(group.name, group.count) for group in fitted.groups] == [("cpu", 1), ("io", 1)]
    assert fitted.queued == 0 and not fitted.edges
    rows = goodness(fitted, simulate(fitted, 1, 250 * MSEC))
    far = {(row.group, row.quantity): row.distance for row in rows if row.group != "all"}
    for group in ("cpu", "io"):
        assert far[group, "run, distributions"] < 0.12 and far[group, "sleep, distributions"] < 0.12
        assert abs(far[group, "voluntary switches"]) < 0.15 and abs(far[group, "CPUs busy"]) < 0.2


@pytest.mark.core
def test_all_time_of_a_simulated_guest_is_seen():
    """Threads on a CPU, as watched, are the guest's time but for interrupts and switches."""
    machine = Machine(solo("pair", parse_workload(PAIR, "pair"), 1))
    machine.run_until(100 * MSEC)
    before = machine.counters()["vms"][0]
    recording = record(watched(machine, ["cpu", "io"], 50 * MSEC), lambda comm, tid: True)
    after = machine.counters()["vms"][0]
    ran = sum(thread.cpu_ns for thread in recording.threads.values())
    assert ran == pytest.approx(after["run_ns"] - before["run_ns"], rel=0.05)
    slept = sum(len(thread.blocks) for thread in recording.threads.values())
    assert abs(slept - (after["nvcsw"] - before["nvcsw"])) <= 3


@pytest.mark.core
def test_the_recorded_pipeline():
    fitted = fit_trace(TRACE, COMMS)
    assert {group.name for group in fitted.groups} == set(COMMS)
    assert {frozenset((edge.source, edge.target)) for edge in fitted.edges} == {
        frozenset(pair) for pair in (("head", "gzip"), ("gzip", "xz"), ("xz", "cat"))
    }
    assert fitted.queued > 0.9 and fitted.recording.cpus == 2
    assert {RESCHEDULE_IPI, CALL_IPI, SHOOTDOWN} == fitted.recording.counted
    assert fitted.text == fit_trace(TRACE, COMMS).text
    assert "shootdown" in fitted.text and "put " in fitted.text


@pytest.mark.core
def test_only_a_part_of_a_program():
    """Without the others, who wakes cat is a stranger: it sleeps as long as measured."""
    fitted = fit_trace(TRACE, ["cat"])
    assert not fitted.edges and "sleep " in fitted.text and fitted.queued == 0
    one = next(iter(fitted.recording.threads))
    assert fit_trace(TRACE, [], [one]).text == fitted.text


def test_the_pipeline_simulated():
    """The busiest quantities of the recorded pipeline are met within a third."""
    fitted = fit_trace(TRACE, COMMS)
    rows = {(row.group, row.quantity): row for row in goodness(fitted, simulate(fitted))}
    for quantity in ("voluntary switches", "wake-ups", "CPUs busy"):
        assert abs(rows["all", quantity].distance) < 0.34, quantity
    assert all(0 <= row.distance <= 1 for row in rows.values() if row.unit == "KS" and row.distance is not None)


def test_missing_reschedule_ipis_are_added():
    fitted = fit_trace(TRACE, ["gzip"])
    seconds = sum(thread.cpu_ns for thread in fitted.recording.threads.values()) / 1e9
    for thread in fitted.recording.threads.values():
        thread.counts[RESCHEDULE_IPI] = round(500 * seconds)
    more = with_reschedules(fitted)
    assert "reschedule" in more.text
    found = simulate(more).interrupts[RESCHEDULE_IPI]
    assert found == pytest.approx(500, rel=0.4)
    assert simulate(fitted).interrupts[RESCHEDULE_IPI] < 0.5 * found


@pytest.mark.core
def test_processes_that_come_and_go_are_as_many_as_live_at_a_time():
    events = []
    for i in range(20):
        tid, start = 10 + i, i * 100 * USEC
        for step in range(6):
            at = start + step * 15 * USEC
            events += [
                Event(at, 0, SWITCH, 0, "", tid, "cc1", False),
                Event(at + 9 * USEC, 0, SWITCH, tid, "cc1", 0, "", True),
                Event(at + 12 * USEC, 0, WAKE, IDLE, "", tid, "cc1"),
            ]
    recording = record(sorted(events), lambda comm, tid: comm == "cc1")
    (group,) = make_groups(recording)
    assert (len(group.threads), group.count) == (20, 1)
    assert connect([group]) == [] and len(group.sleeps_ns) == group.blocks
    assert parse_workload(workload_text("t", [group], []), "t").threads[0].count == 1


def test_command(tmp_path):
    out = tmp_path / "pipe.toml"
    code, printed, errors = call("fit", TRACE, *(word for comm in COMMS for word in ("--comm", comm)), "-o", out)
    assert code == 0 and errors[0].startswith("4 threads in 4 groups, ")
    # Other programs used its CPUs, so its sleeps were longer than they are alone.
    assert len(errors) == 2 and errors[1].startswith("warning: the program does not do what was recorded, ")
    assert "head: sleep, distributions 0." in errors[1] and printed.count("differs") == errors[1].count(";") + 1
    assert "recorded" in printed and "CPUs busy" in printed
    scenario = tmp_path / "s.toml"
    scenario.write_text('host.cpus = 2\n[[vms]]\nname = "vm"\ncount = 2\nvcpus = 2\nworkload = "pipe.toml"\n')
    short = ["--set", "run.warmup_ns=10_000_000", "--set", "run.duration_ns=100_000_000"]
    code, printed, _ = call("simulate", scenario, "--json", *short)
    assert code == 0 and all(vm["work_units"] > 0 for vm in json.loads(printed)["vms"])
    code, printed, _ = call("fit", TRACE, "--comm", "gzip", "--json")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert code == 0 and {row["group"] for row in rows} == {"gzip", "all"}


def test_mistakes(tmp_path):
    assert refused("fit", TRACE) == f"{TRACE}: comm: missing (allowed: gzip, xz, other, head, cat)"
    assert refused("fit", TRACE, "--comm", "zip").startswith(f"{TRACE}: comm: value 'zip' (allowed: gzip, xz")
    assert refused("fit", TRACE, "--tid", 5).startswith(f"{TRACE}: tid: value 5 (allowed: ids of threads")
    assert refused("fit", "none.txt", "--comm", "a") == "none.txt: cannot be read (No such file or directory)"
    assert "allowed: a file name that ends in .toml" in refused("fit", TRACE, "--comm", "gzip", "-o", tmp_path / "x")
    (tmp_path / "perf.data").write_bytes(b"PERFILE2\xff\xfe\x00")
    assert "not text" in refused("fit", tmp_path / "perf.data", "--comm", "a")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(TRACE.read_bytes()[:-99])
    assert refused("fit", cut, "--comm", "gzip").startswith(f"{cut}: cannot be read (")
    broken = tmp_path / "broken.txt"
    lines = gzip.decompress(TRACE.read_bytes()).decode().splitlines()
    broken.write_text("\n".join([*lines[:50], "garbage", *lines[50:]]))
    assert refused("fit", broken, "--comm", "gzip").startswith(f"{broken}: line 51: 'garbage'")


@pytest.mark.core
def test_what_counts_as_another_program():
    same = [float(i) for i in range(1, 101)]
    assert not any(row.differs for row in durations("g", "run", same, [1.1 * x for x in same]))
    twice = durations("g", "run", same, [2 * x for x in same])
    assert [row.differs for row in twice] == [False, False, True]  # the quantiles are shown, the distance is judged
    steady = durations("g", "run", [1000.0] * 50, [1010.0] * 50)
    assert steady[-1].distance == 1.0 and not steady[-1].differs  # 1 % apart, and no overlap
    assert not any(row.differs for row in durations("g", "run", [1.0], [9.0]))  # one sample says nothing
    assert rate_allowed(0) is None and rate_allowed(4) == pytest.approx(1.29) and rate_allowed(10_000) == 1 / 3
    assert busy_allowed(0.0005, 1) == pytest.approx(3.65, abs=0.01) and busy_allowed(1, 1) == 1 / 3


@pytest.mark.core
def test_a_bad_fit_is_called_one():
    """The same program, but twice as fast as recorded."""
    machine = Machine(solo("pair", parse_workload(PAIR, "pair"), 2))
    recording = record(watched(machine, ["cpu", "io"], 250 * MSEC), lambda comm, tid: True)
    fast = parse_workload(PAIR.replace("200us", "100us").replace("150us", "50us"), "fast")
    fitted = replace(fit_recording(recording), name="fast", workload=fast)
    rows = goodness(fitted, simulate(fitted, 1, 250 * MSEC))
    differ = {(row.group, row.quantity) for row in rows if row.differs}
    assert {("io", "voluntary switches"), ("io", "sleep, distributions"), ("cpu", "run, distributions")} <= differ
    (line,) = misfit(rows)
    assert line.startswith(f"the program does not do what was recorded, {len(differ)} of 10 quantities differ: ")
    assert "io: voluntary switches +" in line and "\n" not in line
    good = fit_recording(recording)
    assert misfit(goodness(good, simulate(good, 1, 250 * MSEC))) == []
