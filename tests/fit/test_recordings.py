"""Texts of recordings: trace-cmd's report, and anything else that is read or refused in one line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fit_traces import events_of
from vcpu_env.fit.events import RESCHEDULE_IPI, SHOOTDOWN, SWITCH, WAKE, Event, FitError
from vcpu_env.fit.fit import fit_recording, recording_of

MSEC = 1_000_000

NAMES = {1: "a", 2: "b", 3: "a", 4: "x y", 5: "kworker/0:1-e"}


@st.composite
def streams(draw) -> list[Event]:
    """Events of a few threads in any order: switches, wake-ups and interrupts, some of them impossible."""
    now_ns, events = 0, []
    tids = st.integers(0, 5)
    for _ in range(draw(st.integers(0, 30))):
        now_ns += draw(st.sampled_from([0, 1, 1000, MSEC, 10**9, 10**13]))
        kind, one, two = (
            draw(st.sampled_from([SWITCH, SWITCH, WAKE, RESCHEDULE_IPI, SHOOTDOWN])),
            draw(tids),
            draw(tids),
        )
        exits = draw(st.booleans()) and draw(st.booleans())
        names = NAMES.get(one, ""), two, NAMES.get(two, "")
        events.append(Event(now_ns, draw(st.integers(0, 3)), kind, one, *names, exits or draw(st.booleans()), exits))
    return events


@pytest.mark.core
@settings(deadline=None)
@given(streams(), st.sets(st.sampled_from(sorted(set(NAMES.values()))), min_size=1))
def test_any_recording_is_fitted_or_refused_in_one_line(events, comms):
    try:
        fitted = fit_recording(recording_of(events, comms, []))
    except FitError as error:
        assert str(error).startswith("comm: ") and "(allowed: " in str(error) and "\n" not in str(error)
    else:
        assert fitted.groups and all("\n" not in doubt for doubt in fitted.doubts)
        # Who sleeps in the recording does so in the program.
        assert all("sleep" in fitted.text or "get" in fitted.text for group in fitted.groups if group.sleeps_ns)


REPORT = """\
version = 6
CPU 1 is empty
cpus=2
              ls-47    [000]   439.675591: sched_waking:         comm=cat pid=48 prio=120 target_cpu=000
              ls-47    [000]   439.675592: kernel_stack:         <stack trace>
=> ttwu_do_activate (ffffffff8110c0de)
=> try_to_wake_up (ffffffff8110c0df)
              ls-47    [000]   439.675595: funcgraph_entry:                   |  schedule() {
              ls-47    [000]   439.675600: sched_switch:         ls:47 [120] S ==> cat:48 [120]
"""


@pytest.mark.core
def test_what_trace_cmd_report_prints():
    switch = Event(439_675_600_000, 0, SWITCH, 47, "ls", 48, "cat", True)
    assert events_of(REPORT)[1] == switch
    latency = REPORT.replace("[000]   ", "  0d..2. ")
    assert events_of(latency) == events_of(REPORT)
    raw = "prev_comm=ls prev_pid=47 prev_prio=120 prev_state=0x1 next_comm=cat next_pid=48 next_prio=120"
    assert events_of(REPORT.replace("ls:47 [120] S ==> cat:48 [120]", raw))[1] == switch
    runs_on = events_of(REPORT.replace("ls:47 [120] S ==> cat:48 [120]", raw.replace("0x1", "256")))[1]
    assert not runs_on.blocks
    ended = events_of(REPORT.replace("ls:47 [120] S ==> cat:48 [120]", raw.replace("0x1", "128")))[1]
    assert ended.blocks and ended.exits
    function = REPORT + "              ls-47    [000]   439.675700: do_exit <-__x64_sys_exit\n"
    assert events_of(function) == events_of(REPORT)
    with pytest.raises(FitError, match="line 2: events were lost"):
        events_of(REPORT.replace("CPU 1 is empty", "CPU:1 [204600 EVENTS DROPPED]"))


@pytest.mark.core
@given(st.text(alphabet=" \n:=>[].#-0129abcRS", max_size=200), st.integers(0, len(REPORT)))
def test_any_text_is_read_or_refused_in_one_line(text, at):
    try:
        events_of(REPORT[:at] + text + REPORT[at:])
    except FitError as error:
        assert "\n" not in str(error)
