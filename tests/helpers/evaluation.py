"""What the tests of the evaluation share: the command line and whole evaluations on the fake machine."""

import csv
import os
import subprocess
import sys
import time
from unittest import mock

from baselines import evaluate, experiment, store
from tests.helpers.fake_machine import POLICIES
from tests.helpers.paths import ROOT
from vcpu_env.executors import make as executor

FAKE = "tests.helpers.fake_machine:FakeMachine"
NAMES = ("stock", "debooster", "ipi", "series-v2")
LAUNCH = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
import baselines.evaluate as e
import baselines.experiment as x
x.guest_plans = lambda scenario: []  # the fake machine has parameters of its own
if __name__ == "__main__":
    e.MACHINE, e.POLICIES = "{FAKE}", "tests.helpers.fake_machine:POLICIES"
    e.main()
"""


def start(*arguments, cwd, seconds=0.0):

    environment = os.environ | {"PYTHONPATH": str(ROOT), "FAKE_MACHINE_S": str(seconds), "COLUMNS": "100"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([sys.executable, "-c", LAUNCH, *arguments], cwd=cwd, env=environment, **pipes)


def launch(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def make_plan(scenarios=("dbench-2vm", "vips-3vm"), policies=NAMES, seeds=3, overrides=(), **fields):
    asked = experiment.Experiment(name="test", scenarios=scenarios, policies=policies, seeds=seeds, **fields)
    with mock.patch.object(experiment, "guest_plans"):  # the fake machine has parameters of its own
        return experiment.make_plan(asked, POLICIES, overrides)


def plan_of(cases, policies=NAMES, seeds=3):
    """A plan with scenarios that were made here."""
    plan = make_plan(("dbench-2vm",), policies, seeds)
    return experiment.Plan("test", "", [experiment.Case(scenario) for scenario in cases], plan.policies, plan.seeds)


def run(directory, plan=None, workers=1, resume=False, **options):
    plan = plan or make_plan(**options)
    runs_on = executor.make_executor("process", workers)
    return evaluate.evaluate(plan, store.Store(directory, resume), runs_on, machine=FAKE)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def wait_for_cells(process, directory, count):
    deadline = time.monotonic() + 60
    while len(list((directory / "cells").glob("[!.]*.parquet"))) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
