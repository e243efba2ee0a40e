"""Surfaces of command lines: those of ``vcpu-env``, of evaluations, reports and trainings."""

import contextlib
import gzip
import io
import os
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from typer.testing import CliRunner

from baselines import evaluate, experiment, store
from baselines.report import __main__ as report
from baselines.report.results import read_results
from tests.fuzz import mutate
from tests.fuzz.files import ROOT, on_disk, scratch
from tests.fuzz.surface import Surface
from tests.helpers.evaluation import FAKE, make_plan
from tests.helpers.samples import VIDEO
from vcpu_env import counters
from vcpu_env.cli import app
from vcpu_env.counters import measure
from vcpu_env.executors.local import Inline
from vcpu_env.scenario import Run

BRIEF = ["--set", "run.warmup_ns=0", "--set", "run.duration_ns=100_000"]
COMMANDS = [
    ["list", "scenarios"],
    ["list", "workloads", "--parameters"],
    ["simulate", "micro-lwp", "--policy", "series-v2", "--seed", "3", "--json", *BRIEF],
    ["simulate", "micro-ipi", "--set", "host.hz=250", *BRIEF, "--set", "vms.*.lock=fifo"],
    ["simulate", "--rtapp", "video.json", *BRIEF],
    ["replay", "--check", "trace.jsonl"],
    ["replay", "trace.jsonl", "-o", "out"],
    ["fit", "trace.jsonl", "--comm", "a", "-o", "fitted.toml"],
    ["realism", "--list", "--probe", "wakeup"],
    ["realism", "--compare", "missing.parquet", "--probe", "a"],
]


def command_lines() -> st.SearchStrategy[list[str]]:
    """Commands with a few words changed."""
    smallest = min((ROOT / "tests" / "golden").rglob("*.jsonl.gz"), key=lambda path: path.stat().st_size)
    on_disk("trace.jsonl", gzip.decompress(smallest.read_bytes()))
    on_disk("video.json", VIDEO)
    return changed_lines(COMMANDS)


def changed_lines(commands: list[list[str]]) -> st.SearchStrategy[list[str]]:
    """These with a word or two that are others, in their place or at the end."""
    known = [word for command in commands for word in command]
    words = st.one_of(
        st.sampled_from(known), mutate.texts_like(known), st.sampled_from(["", "-", "--", "\x00", "é" * 99])
    )
    changes = st.lists(st.tuples(st.integers(0, 8), words), min_size=1, max_size=2)

    def changed(command: list[str], new: list[tuple[int, str]]) -> list[str]:
        for at, word in new:
            command = [*command[:at], word, *command[at + 1 :]]
        return command

    return st.builds(changed, st.sampled_from(commands), changes)


class CommandRefusedError(Exception):
    """A command ended with exit code 2; the text is what it said."""


def measured_briefly(machine: Any, run: Run) -> dict[str, Any]:
    """What a command measures, for a moment only: a word that is gone must not make it a long run."""
    return measure(machine, Run(warmup_ns=0, duration_ns=min(run.duration_ns, 100_000)))


def try_command(given: list[str]) -> None:
    os.chdir(scratch())
    with mock.patch.object(counters, "measure", measured_briefly):
        result = CliRunner().invoke(app, given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2), f"exit code {result.exit_code}"
    if result.exit_code == 2 and "Usage" not in result.output:
        raise CommandRefusedError(result.output.strip())


EVALUATIONS = [
    ["--scenario", "dbench-2vm", "--policy", "ipi", "--seeds", "2", "--executor", "inline", "--quick"],
    ["--scenario", "vips-2vm", "--set", "host.hz=250", "--workers", "1", "--out", "evaluated", "--resume"],
    ["--experiment", "layouts", "--seeds", "1", "--workers", "1", "--out", "layouts"],
]
REPORTS = [["evaluated"], ["evaluated", "--out", "page"]]
TRAININGS = [
    ["wide-es", "--set", "total_steps=5", "--out", "trained"],
    ["joint-ppo", "--set", "seed=1", "--set", "cloning.epochs=2", "--resume"],
]


@contextlib.contextmanager
def said(arguments: list[str]) -> Iterator[None]:
    """Run a command of a package as if it had been typed; raises what it refuses.

    Raises:
        CommandRefusedError: it ended with exit code 2.
    """
    os.chdir(scratch())
    errors, code = io.StringIO(), 0
    words, output = mock.patch.object(sys, "argv", ["command", *arguments]), contextlib.redirect_stdout(io.StringIO())
    with words, output, contextlib.redirect_stderr(errors):
        try:
            yield
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    assert code in (0, 1, 2), f"exit code {code}"
    if code == 2:
        raise CommandRefusedError(errors.getvalue().strip())


def fake_run() -> contextlib.ExitStack:
    """Evaluations run on the fake machine, in this process; its parameters are its own."""
    stack = contextlib.ExitStack()
    for module, name, value in (
        (evaluate, "MACHINE", FAKE),
        (evaluate, "POLICIES", "tests.helpers.fake_machine:POLICIES"),
        (evaluate, "make_executor", lambda *arguments: refused_or_inline(*arguments)),
        (experiment, "guest_plans", lambda scenario: []),
    ):
        stack.enter_context(mock.patch.object(module, name, value))
    return stack


def refused_or_inline(kind: str, workers: int | None, address: str | None) -> Inline:
    """What the command would make, in place of which cells are run here; Ray is not started."""
    if kind != "ray":
        evaluate_executor(kind, workers, address)
    return Inline()


evaluate_executor = evaluate.make_executor


def try_evaluation(given: list[str]) -> None:
    with fake_run(), said(given):
        evaluate.main()


def try_report(given: list[str]) -> None:
    evaluated()
    with said(given):
        report.main()


def evaluated() -> None:
    """Results of a small evaluation, once a process."""
    directory = scratch() / "evaluated"
    if not (directory / "cells.csv").exists():
        plan = make_plan(("dbench-2vm",), seeds=2)
        evaluate.evaluate(plan, store.Store(directory, False), Inline(), machine=FAKE)


def damaged_results() -> st.SearchStrategy[tuple[str, bytes | None]]:
    """One file of a directory of results, damaged or gone."""
    evaluated()
    whole = scratch() / "evaluated"
    names = ["manifest.json", "cells.parquet", *(f"cells/{path.name}" for path in sorted((whole / "cells").iterdir()))]
    kinds = [
        st.one_of(mutate.bytes_like([(whole / name).read_bytes()]), st.none()).map(lambda new, name=name: (name, new))
        for name in names
    ]
    return st.one_of(*kinds)


def try_damaged_results(given: tuple[str, bytes | None]) -> None:
    name, content = given
    path = scratch() / "evaluated" / name
    before = path.read_bytes()
    try:
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        read_results(scratch() / "evaluated")
    finally:
        path.write_bytes(before)


def try_training(given: list[str]) -> None:
    from agents import train

    with mock.patch.object(train, "train"), mock.patch.object(train, "evolve"), said(given):
        train.main()


REFUSED = (CommandRefusedError,)
SURFACES = [
    Surface("command", command_lines, try_command, REFUSED),
    Surface("evaluate", lambda: changed_lines(EVALUATIONS), try_evaluation, REFUSED),
    Surface("report", lambda: changed_lines(REPORTS), try_report, REFUSED),
    Surface("results directory", damaged_results, try_damaged_results, (store.StoreError,)),
]
TRAININGS_SURFACE = Surface("train", lambda: changed_lines(TRAININGS), try_training, REFUSED)
