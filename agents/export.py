"""``python -m agents.export FILE.npz``: a learned policy as a small decision tree in integer arithmetic, printed as C.

Writes NAME-tree.c (compiles with gcc -std=gnu11 -O2 -Wall -Werror -ffreestanding) and NAME_tree.py, the same tree as a
policy of the evaluation (``NAME_tree.py:TREE``). Says how often the tree answers as the network did, on decisions of
other seeds, and, where valgrind is installed, how many instructions a decision takes.
"""

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from agents.c_code import c_code, python_code, used
from agents.config import TRAINING, ConfigError
from agents.records import SIBLING, SPINNER, Records, decisions_of
from agents.tree import TreePolicy, agreement, distil
from baselines.command import run_command, say
from vcpu_env.base.files import write_whole
from vcpu_env.envs.action import boosts
from vcpu_env.envs.compiled.types import PENALTY_SCALE
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import ScenarioError, load_scenario

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Werror", "-ffreestanding")
MEASURED = 2000
"""Decisions whose instructions are counted."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def packed(policy: TreePolicy, records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Records as the C code's structs lie in memory: only the fields that it looks at."""
    spinner = [SPINNER.index(name) for name in used(policy, "spinner")] or [0]
    sibling = [SIBLING.index(name) for name in used(policy, "sibling")] or [0]
    return np.ascontiguousarray(records.spinners[:, spinner]), np.ascontiguousarray(records.siblings[..., sibling])


def compiled_decisions(code: Path, policy: TreePolicy, records: Records) -> np.ndarray:
    """What the compiled C code answers to each record, (N, 2)."""
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "tree.so"
        subprocess.run(["gcc", *FLAGS, "-shared", "-fPIC", "-o", library, code], check=True)
        choose = ctypes.CDLL(str(library)).choose_target
        spinners, siblings = packed(policy, records)
        answers, boost = np.empty((len(spinners), 2), np.int64), ctypes.c_int()
        for i, count in enumerate(records.counts.tolist()):
            target = choose(
                ctypes.c_void_p(spinners[i].ctypes.data), ctypes.c_void_p(siblings[i].ctypes.data), count,
                ctypes.byref(boost),
            )  # fmt: skip
            answers[i] = target, boost.value
    return answers


def driver(spinner: int, sibling: int, shown: int) -> str:
    """A program that reads records from its input and calls the code on each, for valgrind to count."""
    return f"""
#include <stdio.h>
int choose_target(const void *spinner, const void *siblings, int nr_siblings, int *boost);
static long long record[1 + {spinner} + {shown} * {sibling}];
int main(void)
{{
\tint boost, sum = 0;
\twhile (fread(record, sizeof(record), 1, stdin) == 1)
\t\tsum += choose_target(record + 1, record + 1 + {spinner}, record[0], &boost);
\treturn sum == -1;
}}
"""


def instructions(code: Path, policy: TreePolicy, records: Records) -> float | None:
    """Instructions that a decision takes in the mean over records; None without valgrind."""
    if shutil.which("valgrind") is None:
        return None
    spinners, siblings = packed(policy, records)
    rows = np.hstack([records.counts[:, None], spinners, siblings.reshape(len(spinners), -1)]).astype(np.int64)
    with tempfile.TemporaryDirectory() as directory:
        main, program = Path(directory) / "main.c", Path(directory) / "main"
        main.write_text(driver(spinners.shape[1], siblings.shape[2], siblings.shape[1]))
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-fno-lto", "-o", program, main, code], check=True)
        found = subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=choose_target", f"--callgrind-out-file={directory}/out",
             program],
            input=rows.tobytes(), capture_output=True, check=True,
        )  # fmt: skip
    match = re.search(r"Collected : (\d+)", found.stderr.decode())
    return int(match[1]) / len(rows) if match else None


def costs(code: Path, policy: TreePolicy, records: Records) -> tuple[float, int] | None:
    """Instructions a decision: the mean, and the most of any of some records; None without valgrind."""
    some = first(records, MEASURED)
    mean = instructions(code, policy, some)
    if mean is None:
        return None
    by_count = np.argsort(some.counts)[-1:]
    worst = max(instructions(code, policy, select(some, rows)) or 0.0 for rows in (by_count, slowest(policy, some)))
    return mean, round(worst)


def slowest(policy: TreePolicy, records: Records) -> np.ndarray:
    """The record whose decision asks about most candidates."""
    targets = policy.decide(records)[:, 0]
    asked = np.where(targets >= 2, targets - 1, records.counts)
    return np.array([int(np.argmax(asked))])


def select(records: Records, rows: np.ndarray | slice) -> Records:
    """Some of the records."""
    return Records(*(array[rows] for array in vars(records).values()))


def first(records: Records, count: int) -> Records:
    """The first records."""
    return select(records, slice(count))


def load(path: str) -> LearnedPolicy:
    """The policy to export.

    Raises:
        ConfigError: there is none, or it cannot be written as a loop over candidates.
    """
    try:
        policy = LearnedPolicy.load(path)
    except OSError as error:
        raise ConfigError(f"policy: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"policy: {error}") from None
    if policy.kind == PENALTY_SCALE:
        raise ConfigError(f"policy: {path} chooses penalties (allowed: policies that choose candidates)")
    if POLICIES[policy.about.rule].target_rule is not None:
        raise ConfigError(f"policy: {path}: rule {policy.about.rule} has a target rule (allowed: a kernel's own loop)")
    return policy


def export(policy: LearnedPolicy, learnt: Records, leaves: int, out: Path) -> tuple[TreePolicy, Path, Path]:
    """Fit the trees to what was recorded and write both files."""
    about = policy.about
    table = boosts(policy.kind, about.config.penalty_levels)
    tree = distil(learnt, len(table), leaves)
    title = f"{about.name} as a decision tree of {leaves} leaves a candidate"
    out.mkdir(parents=True, exist_ok=True)
    code, rule = out / f"{about.name}-tree.c", out / f"{about.name.replace('-', '_')}_tree.py"
    write_whole(code, c_code(tree, table, title).encode())
    shown = about.config.nr_candidates
    write_whole(rule, python_code(tree, table, shown, f"{about.name}-tree", about.rule, title).encode())
    return tree, code, rule


@app.command()
def command(
    path: Annotated[str, typer.Argument(metavar="FILE.npz", help="The learned policy.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the files.")] = Path("."),
    leaves: Annotated[int, typer.Option(min=2, max=1024, help="Of the tree for a candidate.")] = 16,
    records: Annotated[int, typer.Option(min=100, help="Decisions to learn from.")] = 200_000,
    every: Annotated[int, typer.Option(min=1, help="Of all decisions, every n-th is one of them.")] = 7,
    scenario: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Instead of the training split.")] = None,
) -> None:
    """Distil a learned policy to a decision tree in integers, and print it as C and as a rule."""
    policy = load(path)
    scenarios = [load_scenario(name) for name in named(scenario)]
    tree, code, rule = export(policy, decisions_of(policy, scenarios, records, every, 0), leaves, out)
    fresh = decisions_of(policy, scenarios, records // 4, every, 1)
    say(f"{code}, {rule}: as the network in {agreement(tree, fresh):.1%} of {len(fresh.counts):,} decisions")
    counted = costs(code, tree, fresh) if shutil.which("gcc") else None
    if counted is not None:
        say(f"{counted[0]:.0f} instructions a decision, {counted[1]} at most")
    say(f"evaluate it: python -m agents.evaluate {path} {rule}:TREE")


def named(scenario: Sequence[str] | None) -> list[str]:
    """The scenarios asked for, or those of a training."""
    return list(scenario or TRAINING)


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ConfigError, ScenarioError))


if __name__ == "__main__":
    main()
