"""The files for trace-cmd and perf, read by these programs: what they print is what was recorded, and what we print."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.recordings import calm, storm, throttled
from vcpu_env.fit.events import parse_events
from vcpu_env.inspect import ftrace, kvm_exits, perf_data, timehist, trace_dat
from vcpu_env.inspect.tracepoints import events
from vcpu_env.inspect.turns import turns

pytestmark = pytest.mark.slow
NEEDS_PERF = pytest.mark.skipif(shutil.which("perf") is None, reason="needs perf")
NEEDS_TRACE_CMD = pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="needs trace-cmd")
RECORDINGS = pytest.mark.parametrize("recording_of", [storm, calm, throttled])


def printed(directory: Path, *command: str | Path) -> list[str]:
    """The lines that a program prints, wherever it prints them."""
    environment = os.environ | {"HOME": str(directory), "PAGER": "cat"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=True, timeout=120
    )
    return done.stdout.splitlines()


def perf(recording, directory: Path, *arguments: str) -> list[str]:
    """What perf prints of a recording; FILE stands for its file."""
    path = directory / "run.data"
    path.write_bytes(b"".join(perf_data.parts(recording)))
    return printed(directory, "perf", *(str(path) if a == "FILE" else a for a in arguments))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


@NEEDS_TRACE_CMD
@RECORDINGS
def test_trace_cmd_reads_every_event(recording_of, tmp_path):
    """Names and numbers of all; where there are wake-ups, ``vcpu-env fit`` reads the report as ftrace's own text."""
    recording = recording_of()
    path = tmp_path / "run.dat"
    path.write_bytes(b"".join(trace_dat.parts(recording)))
    report = printed(tmp_path, "trace-cmd", "report", "-l", "-t", path)
    assert report[0] == f"cpus={recording.nr_cpus}"
    assert len(report) == 1 + len(events(recording))
    if recording_of is calm:
        assert parse_events(report) == parse_events(ftrace.lines(recording))
    names = [line.split(": ")[1].rstrip(":").strip() for line in report[1:]]
    assert [name.split(":")[0] for name in names] == [event.point.name for event in events(recording)]


@NEEDS_PERF
def test_perf_script_goes_back_in(tmp_path):
    """Of interrupts perf says nothing: who wakes is what ran there."""
    recording = calm()
    lines = [line for line in perf(recording, tmp_path, "script", "--ns", "-i", "FILE") if line.strip()]
    assert len(lines) == len(events(recording))
    expected = parse_events(line.replace(" d.h2. ", " d..2. ") for line in ftrace.lines(recording))
    assert parse_events(lines) == expected


@NEEDS_PERF
@RECORDINGS
def test_timehist_is_perfs(recording_of, tmp_path):
    """Line by line, but for each CPU's first turn: perf does not know when that began."""
    recording = recording_of()
    theirs = perf(recording, tmp_path, "sched", "-i", "FILE", "timehist")
    begin = next(i for i, line in enumerate(theirs) if line.startswith("   ") and "time    cpu" in line)
    ours = "".join(timehist.timehist(recording)).splitlines()
    first = {}
    for place, turn in enumerate(turns(recording)):
        first.setdefault(turn.cpu, 3 + place)
    assert len(theirs) - begin == len(ours) > 10
    for place, (one, other) in enumerate(zip(theirs[begin:], ours, strict=True)):
        if place in first.values():
            one, other = one[:-12], other[:-12]
        assert one.rstrip() == other.rstrip()


@NEEDS_PERF
@RECORDINGS
def test_latency_is_perfs(recording_of, tmp_path):
    recording = recording_of()
    theirs = perf(recording, tmp_path, "sched", "-i", "FILE", "latency")
    ours = "".join(timehist.latency(recording)).splitlines()
    rows, expected = (
        [cells(line) for line in text if "|" in line and not line.startswith("  Task")] for text in (ours, theirs)
    )
    assert sorted(rows) == sorted(expected) and len(rows) > 5


@NEEDS_PERF
@pytest.mark.parametrize("recording_of", [storm, calm])
def test_exits_are_perfs(recording_of, tmp_path):
    """Both begin with all vCPUs in the host: of a vCPU that perf has not seen enter the guest, it counts no exit."""
    recording = recording_of()
    theirs = perf(recording, tmp_path, "kvm", "--host", "-i", "FILE", "stat", "report")
    ours = "".join(kvm_exits.exits(recording)).splitlines()
    assert [line.split() for line in ours] == [line.split() for line in theirs] and len(ours) > 8
