"""Signals end compiled runs within a second, or are handled between two events with the run none the wiser."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from tests.helpers.paths import ROOT
from tests.helpers.small_env import CANDIDATE_CHOICE, FLAT, HOST_TUNER, MSEC, SMALL, make_vec, same
from tests.helpers.stopping import Stopping
from tests.nets.test_rollout import batch_of, policy_for
from vcpu_env.base.interrupts import INTERRUPTED, run_interruptibly
from vcpu_env.base.jit import JIT, call, entry_point
from vcpu_env.base.stop import stop_asked
from vcpu_env.machine import Machine
from vcpu_env.nets.rollout import RolloutCollector
from vcpu_env.policy.named import POLICIES
from vcpu_env.precompile import ensure_compiled

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
    assert run_interruptibly(lambda: call(count_until, 1000)) == 1000


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


@compiled_only
@pytest.mark.parametrize("searching", [False, True])
def test_a_run_that_was_stopped_is_the_same_bit_for_bit(searching):
    name = next(name for name, policy in POLICIES.items() if policy.search is not None) if searching else "series-v2"
    plain, stopped = (Machine(SMALL, name, 3) for _ in range(2))
    end_ns = (25 if searching else 300) * MSEC
    plain.run_until(end_ns)
    with Stopping() as stopping:
        stopped.run_until(end_ns)
    assert stopping.heard > 0
    assert plain.now_ns == stopped.now_ns == end_ns
    assert (plain.world.words == stopped.world.words).all()


@compiled_only
def test_steps_that_were_stopped_are_the_same():
    arguments = {"scenario": "dedup-2vm", "horizon_ns": 100 * MSEC, "epoch_ns": 10 * MSEC}
    arguments |= {"warm_starts": 1, "jitter_ns": 40 * MSEC}

    def episode():
        env = gymnasium.make(HOST_TUNER, **arguments)
        action = np.zeros(env.action_space.shape, np.float32)
        steps = [env.reset(seed=1)]
        return steps + [env.step(action) for _ in range(10)]

    plain = episode()
    with Stopping() as stopping:
        stopped = episode()
    assert stopping.heard > 0
    assert plain[-1][3] and same(plain, stopped)


@compiled_only
@pytest.mark.parametrize(
    ("env_id", "count", "arguments"),
    [
        (CANDIDATE_CHOICE, 300, {"scenario": [SMALL, FLAT], "horizon_ns": MSEC}),
        (HOST_TUNER, 6, {"scenario": "dedup-2vm", "horizon_ns": 50 * MSEC, "epoch_ns": 10 * MSEC}),
    ],
)
def test_batches_that_were_stopped_are_the_same(env_id, count, arguments):
    def steps():
        vector = make_vec(env_id, 3, "SameStep", warm_starts=1, **arguments)
        action = np.ones(vector.action_space.shape, vector.action_space.dtype)
        return [vector.reset(seed=1), *(vector.step(action) for _ in range(count))]

    plain = steps()
    with Stopping() as stopping:
        stopped = steps()
    assert stopping.heard > 0
    assert same(plain, stopped)


@compiled_only
def test_rollouts_that_were_stopped_are_the_same():
    def rollout():
        vector = batch_of(CANDIDATE_CHOICE, 5)
        return vars(RolloutCollector(vector, 4).collect(policy_for(vector), 500))

    plain = rollout()
    with Stopping() as stopping:
        stopped = rollout()
    assert stopping.heard > 0
    assert same(plain, stopped)


@compiled_only
@pytest.mark.parametrize("several", [False, True])
def test_a_step_is_left_when_a_handler_raises_and_the_episode_is_over(several):
    """The step would take a minute."""
    arguments = {"scenario": "dedup-2vm", "warm_starts": 1, "horizon_ns": 20_000 * MSEC, "epoch_ns": 20_000 * MSEC}
    make = functools.partial(gymnasium.make_vec, num_envs=2) if several else gymnasium.make
    env = make(HOST_TUNER, **arguments)
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)

    def refuse(number, frame):
        raise KeyError("enough")

    former = signal.signal(signal.SIGALRM, refuse)
    begin = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyError, match="enough"):
            env.step(action)
    finally:
        signal.signal(signal.SIGALRM, former)
    assert time.monotonic() - begin < 10  # a second, on a machine that has nothing else to do
    with pytest.raises(ResetNeeded):
        env.step(action)
    env.reset(seed=0)


LONG = ("--set", "run.duration_ns=60000000000")


@compiled_only
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["simulate", "evaluate"])
def test_commands_end_at_once(command, number, tmp_path):
    """Both would run for minutes; what the evaluation has stored stays."""
    ensure_compiled()
    simulate = ["vcpu_env", "simulate", "dedup-4vm", *LONG]
    evaluate = ["baselines.evaluate", "--scenario", "dedup-4vm", "--policy", "ipi", "--out", "here", *LONG]
    arguments = [sys.executable, "-c", AS_MODULE, *(simulate if command == "simulate" else evaluate)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)
    while command == "evaluate" and not (tmp_path / "here/manifest.json").exists():
        time.sleep(0.1)
    time.sleep(5)
    begin = time.monotonic()
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (128 + number, "")
    assert time.monotonic() - begin < 10  # a second, on a machine that has nothing else to do
    assert "Traceback" not in errors
    told = "interrupted" if command == "simulate" else "interrupted: 0 of 32 cells are stored; go on with: python"
    assert errors.splitlines()[-1].startswith(told)


AS_MODULE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
module = sys.argv.pop(1)
if __name__ == "__main__":
    runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
