"""Signals end compiled runs within a second, or are handled between two events with the run none the wiser."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.helpers.paths import ROOT
from vcpu_env.base import interrupts
from vcpu_env.base.interrupts import INTERRUPTED, run_interruptibly
from vcpu_env.base.jit import JIT, call, entry_point
from vcpu_env.base.stop import stop_asked

compiled_only = pytest.mark.skipif(not JIT, reason="uncompiled, Python itself handles signals")


@entry_point
def count_until(n):
    """Counts, but for stops, as `run_until` runs events."""
    i = 0
    while i < n:
        if stop_asked():
            return INTERRUPTED
        i += 1
    return i


COMMAND = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
from baselines.command import InterruptError, run_command
from tests.test_interrupts import count_until
from vcpu_env.base.interrupts import run_interruptibly
from vcpu_env.base.jit import call
import time, typer

app = typer.Typer()

@app.command()
def command(how: str):
    call(count_until, 1)
    print("running", flush=True)
    try:
        if how == "deaf":
            call(count_deaf, 2)
        run_interruptibly(lambda: call(count_until, 10**15))
    except KeyboardInterrupt:
        if how == "says":
            raise InterruptError("3 of 4 are stored") from None
        raise

from vcpu_env.base.jit import entry_point

@entry_point
def count_deaf(x):
    while x != 1:
        x = x * 6364136223846793005 + 1442695040888963407
    return x

call(count_deaf, 1)
run_command(app, ())
"""


@compiled_only
@pytest.mark.parametrize(
    ("how", "number", "line"),
    [
        ("plain", signal.SIGINT, "interrupted\n"),
        ("plain", signal.SIGTERM, "interrupted\n"),
        ("says", signal.SIGTERM, "interrupted: 3 of 4 are stored\n"),
        ("deaf", signal.SIGINT, "interrupted\n"),
        ("deaf", signal.SIGTERM, "interrupted\n"),
    ],
)
def test_a_signal_ends_a_command_in_compiled_code(how, number, line):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    settings = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", COMMAND, how], env=settings, **pipes)
    assert process.stdout.readline() == "running\n"
    time.sleep(0.1)
    begin = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, line)
    assert time.monotonic() - begin < 10  # a second, on a machine that has nothing else to do


@compiled_only
def test_a_run_goes_on_after_a_signal_that_is_handled():
    handled, calls = [], []
    former = signal.signal(signal.SIGALRM, lambda number, frame: handled.append(number))

    def run():
        calls.append(1)
        return call(count_until, 10**8 if len(calls) == 1 else 7)

    try:
        call(count_until, 1)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert run_interruptibly(run) == 7
    finally:
        signal.signal(signal.SIGALRM, former)
    assert (handled, len(calls)) == ([signal.SIGALRM], 2)


@compiled_only
def test_a_handler_may_raise():
    def refuse(number, frame):
        raise KeyError("enough")

    former = signal.signal(signal.SIGALRM, refuse)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyError, match="enough"):
            run_interruptibly(lambda: call(count_until, 10**15))
    finally:
        signal.signal(signal.SIGALRM, former)
    assert call(count_until, 1000) == 1000


def test_who_is_woken_by_signals_already_is_left_alone():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    former = signal.set_wakeup_fd(writer)
    try:
        assert run_interruptibly(lambda: 5) == 5
        assert signal.set_wakeup_fd(former) == writer
    finally:
        os.close(reader), os.close(writer)


def test_other_threads_run_as_they_are():
    results = []
    thread = threading.Thread(target=lambda: results.append(run_interruptibly(lambda: 3)))
    thread.start()
    thread.join()
    assert results == [3]


class Stopping:
    """Asks machines to stop a few times; each time they stop at another event."""

    def __enter__(self):
        self.going = True
        self.thread = threading.Thread(target=self.ask)
        self.thread.start()
        return self

    def ask(self):
        for _ in range(100):
            if self.going:
                interrupts._ask(1)
                time.sleep(0.002)

    def __exit__(self, *_):
        self.going = False
        self.thread.join()
        interrupts._ask(0)


@compiled_only
@pytest.mark.parametrize("policy", ["series-v2", "oracle-search"])
def test_a_run_that_was_stopped_is_the_same_bit_for_bit(policy):
    from vcpu_env.machine import Machine
    from vcpu_env.policy.named import POLICIES
    from vcpu_env.scenario import load_scenario

    name = policy if policy in POLICIES else next(name for name, p in POLICIES.items() if p.search is not None)
    plain, stopped = (Machine(load_scenario("dbench-2vm"), name, 3) for _ in range(2))
    end_ns = 30_000_000
    plain.run_until(end_ns)
    with Stopping():
        stopped.run_until(end_ns)
    rules = plain.world.words != stopped.world.words
    assert plain.now_ns == stopped.now_ns == end_ns
    assert not rules.any()
