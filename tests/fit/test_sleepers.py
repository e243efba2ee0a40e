"""Recordings of sleepers: threads without recorded wake-ups, of one task, of little or nothing."""

# ruff: noqa: E501

import pytest

from tests.helpers.fit_traces import FTRACE, events_of
from vcpu_env.fit.events import IDLE, SWITCH, WAKE, Event, FitError
from vcpu_env.fit.fit import fit_recording, fit_trace
from vcpu_env.fit.goodness import goodness
from vcpu_env.fit.simulate import simulate
from vcpu_env.fit.threads import record

SLEEPER = "switch 10.0 0 100; switch 10.00008 100 0 S; switch 10.2 0 100; switch 10.20007 100 0 S"


def ftrace(script: str, comm: str = "mediad") -> str:
    """ftrace's text of switches "switch TIME FROM TO STATE" and wake-ups "wake TIME WHO", of thread 100."""
    lines = []
    for kind, time, *rest in (step.split() for step in script.split("; ")):
        if kind == "wake":
            what = f"<idle>-0 [000] d.h. {float(time):.6f}: sched_waking: comm={comm} pid={rest[0]} prio=120 target_cpu=000"
        else:
            state = rest[2] if len(rest) > 2 else "R"
            names = [comm if tid == "100" else "swapper/0" for tid in rest[:2]]
            what = (
                f"{names[0]}-{rest[0]} [000] d..2. {float(time):.6f}: sched_switch: prev_comm={names[0]} "
                f"prev_pid={rest[0]} prev_prio=120 prev_state={state} ==> next_comm={names[1]} next_pid={rest[1]} next_prio=120"
            )
        lines.append(what)
    return "\n".join(lines) + "\n"


OTHER_WAKES = "wake 10.00004 200; "


def fitted_from(tmp_path, text: str, comm: str = "mediad"):
    path = tmp_path / "trace.txt"
    path.write_text(text)
    return fit_trace(path, [comm])


@pytest.mark.core
def test_a_sleeper_whose_wakeups_were_not_recorded_sleeps(tmp_path):
    """It runs 70 us every 200 ms; nobody's wake-up of it is there, so its sleep ends when it runs again."""
    fitted = fitted_from(tmp_path, ftrace(OTHER_WAKES + SLEEPER))
    assert "user 70us fixed" in fitted.text and "sleep 199.9ms fixed" in fitted.text
    assert fitted.doubts == (
        "1 of 1 sleeps end without a recorded wake-up: waiting for a CPU counts as sleeping",
        "few samples: mediad (1 runs)",
    )
    simulated = {(row.group, row.quantity): row.simulated for row in goodness(fitted, simulate(fitted))}
    assert simulated["all", "CPUs busy"] == pytest.approx(70e-6 / 0.2, rel=0.2)


@pytest.mark.core
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "switch 10 0 100; switch 10.1 100 0 S; switch 10.2 0 9; wake 10.3 9",
            "no run from one sleep to the next (allowed: threads that were recorded for longer)",
        ),
        (
            "wake 9 9; switch 10 0 100; wake 10.01 9; switch 10.1 100 0 R",
            "its threads neither slept nor woke (allowed: threads that were recorded for longer)",
        ),
        (
            "switch 10 100 0 S; wake 11 100",
            "no switch to its threads was recorded, and no run from a wake-up to a sleep (allowed: perf record -a, or",
        ),
    ],
)
def test_too_little_was_recorded(tmp_path, script, message):
    with pytest.raises(FitError) as error:
        fitted_from(tmp_path, ftrace(script))
    assert f"trace.txt: comm: {message}" in str(error.value)


@pytest.mark.core
def test_a_thread_that_sleeps_for_good_is_left_out():
    """The one that starts the workers and waits for them did 1 ms of work; a loop of that would be a busy loop."""
    events = [
        Event(0, 0, SWITCH, 0, "", 1, "main"),
        Event(500_000, 0, WAKE, 1, "", 2, "work"),
        Event(1_000_000, 0, SWITCH, 1, "main", 0, "", True),
    ]
    for i in range(10):
        at = 2_000_000 + i * 100_000
        events += [
            Event(at, 0, WAKE, IDLE, "", 2, "work"),
            Event(at, 0, SWITCH, 0, "", 2, "work"),
            Event(at + 40_000, 0, SWITCH, 2, "work", 0, "", True),
        ]
    recording = record(events, lambda comm, tid: True)
    fitted = fit_recording(recording)
    assert [group.name for group in fitted.groups] == ["work"]
    assert fitted.doubts == ("left out, since no end of their sleep was recorded: main",)
    with pytest.raises(FitError, match=r"comm: its threads slept, and no end of a sleep was recorded \(allowed: "):
        fit_recording(record(events[:3], lambda comm, tid: comm == "main"))


@pytest.mark.core
def test_a_thread_that_ends_does_not_sleep():
    exits = FTRACE.replace("prev_pid=7 prev_prio=120 prev_state=S", "prev_pid=7 prev_prio=120 prev_state=X")
    assert events_of(exits)[-1].exits and not events_of(FTRACE)[-1].exits
    recording = record(events_of(exits), lambda comm, tid: tid == 7)
    assert not recording.threads[7].endless and recording.threads[7].blocked_since_ns is None


@pytest.mark.core
def test_a_recording_of_one_task_has_no_switches_to_it(tmp_path):
    """perf record without -a: it runs from each wake-up to the next sleep."""
    script = "; ".join(f"wake {i}.0001 100; switch {i}.0004 100 0 S" for i in range(1, 20))
    fitted = fitted_from(tmp_path, ftrace(script))
    assert "user 300us fixed" in fitted.text and "sleep 999.7ms fixed" in fitted.text
    assert fitted.doubts == (
        "no switch to its threads was recorded (perf record without -a): waiting for a CPU counts as running",
    )


@pytest.mark.core
def test_a_daemon_that_sleeps_for_half_a_minute(tmp_path):
    fitted = fitted_from(tmp_path, ftrace(OTHER_WAKES + SLEEPER.replace("10.2", "40.2")))
    assert "sleep 10s fixed" in fitted.text
    assert "sleeps of mediad last 30.2s in the mean, and are taken for 10s" in fitted.doubts
