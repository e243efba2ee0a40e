"""``python -m baselines.leaderboard``: the page of all results handed in, made from their files.

A file is taken if it is whole, of this protocol, of a suite whose digest is that of today, and if its numbers follow
from its ratios (`baselines.submission`). Everything on the page is made again from the ratios.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from baselines.command import run_command, say
from baselines.experiment import ExperimentError
from baselines.scoring import CaseScore, Total
from baselines.statistics import Estimate
from baselines.submission import Submission, SubmissionError, read_submission, suite_of
from vcpu_env.base.files import write_whole
from vcpu_env.scenario import ScenarioError

SUBMISSIONS = Path(__file__).parent / "submissions"
PAGE = Path("docs/leaderboard.md")
ORDER = ("full", "hidden", "validation", "train", "quick")
KERNELS = ("6.19", "7.3")

HEAD = """# Leaderboard

Made by `python -m baselines.leaderboard` from the files in `baselines/submissions/`. What the numbers mean, and how to
hand in results: [the benchmark](benchmark.md).

*Score*: throughput over the stock kernel, per cent, geometric mean over cases and seeds with its 95 % interval; a case
in which a VM is harmed counts as that VM. *Gain*: without that. *Harmed*: cases with a VM that surely loses more than
2 %. *Worst VM*: the one that does worst of all, surely or not. Oracles see what no host can see, and have no rank.
*CPU s*: seconds in user mode for the policy's own runs and the comparison; stock's were there.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def page(results: Sequence[Submission]) -> str:
    """The leaderboard as Markdown: for each suite a table of policies, and one of cases."""
    parts = [HEAD]
    rounds = sorted(
        {(result.suite, result.commitment) for result in results}, key=lambda key: (ORDER.index(key[0]), key)
    )
    for name, commitment in rounds:
        mine = [result for result in results if (result.suite, result.commitment) == (name, commitment)]
        mine.sort(key=lambda result: -result.total.score)
        parts.append(section(name, commitment, mine))
    return "\n".join(parts)


def section(name: str, commitment: str, results: Sequence[Submission]) -> str:
    """One suite's tables, the best policy first."""
    first, count = results[0].seeds
    title = f"## Suite `{name}`" + f", commitment `{commitment[:16]}`" * bool(commitment)
    head = f"Digest `{results[0].suite_digest}`; {len(results[0].cases)} cases, {count} seeds from {first:,}."
    return "\n".join([title, "", head, "", *policy_table(results), "", *case_table(results), ""])


def policy_table(results: Sequence[Submission]) -> list[str]:
    """A row for each policy."""
    kernels = kernels_of(results[0])
    shown = [kernel for kernel in KERNELS if kernel in kernels]
    columns = ["", "policy", "kind", "score", "gain", *(f"score on {kernel}" for kernel in shown)]
    columns += ["harmed", "worst VM", "CPU s", "simulator"]
    lines = [row(columns), row(["---:", "---", "---", *["---:"] * (2 + len(shown)), "---:", "---", "---:", "---"])]
    rank = 0
    for result in results:
        scored = result.total
        rank += not result.policy.oracle
        parts = [part_total(result, kernels, kernel) for kernel in shown]
        kind = "oracle" if result.policy.oracle else result.policy.kind
        worst = f"{scored.worst.case}, {scored.worst.vms[scored.worst.worst_vm]}: {signed(scored.worst_vm_change)}"
        cells = [
            "" if result.policy.oracle else str(rank), f"`{result.policy.name}`", kind, with_interval(scored.interval),
            signed(scored.gain), *(signed(part.score) for part in parts), str(len(scored.harmed)), worst,
            f"{result.cpu_seconds:.0f}", f"`{result.source}`",
        ]  # fmt: skip
        lines.append(row(cells))
    return lines


def case_table(results: Sequence[Submission]) -> list[str]:
    """A row for each case: every policy's change, and in bold what counts where a VM is harmed."""
    names = [f"`{result.policy.name}`" for result in results]
    lines = [row(["case", *names]), row(["---", *["---:"] * len(names)])]
    scores = [[case.score() for case in result.cases] for result in results]
    for cases in zip(*scores, strict=True):
        lines.append(row([cases[0].case, *map(case_text, cases)]))
    text = "Change by case, per cent. Where a VM is harmed: what all VMs gain, and in bold what the harmed one does."
    return [text, "", *lines]


def case_text(case: CaseScore) -> str:
    """A policy's change in a case, and what becomes of a VM that is harmed."""
    change = f"{100 * case.change_of_all:+.1f}"
    return f"{change}, **{100 * case.vm_changes[case.harmed[0]]:+.1f}**" if case.harmed else change


def kernels_of(result: Submission) -> dict[str, list[int]]:
    """The numbers of a suite's cases by their host's kernel; nothing if the suite is not yet known."""
    suite = suite_of(Path(), result)
    found: dict[str, list[int]] = {}
    for i, case in enumerate(suite.cases if suite else ()):
        found.setdefault(case.scenario.host.kernel, []).append(i)
    return found


def part_total(result: Submission, kernels: dict[str, list[int]], kernel: str) -> Total:
    """The score over the cases on one kernel."""
    return Total([result.cases[i].score() for i in kernels[kernel]])


def signed(value: float) -> str:
    """A relative change in per cent."""
    return f"{100 * value:+.1f}"


def with_interval(value: Estimate) -> str:
    """The same with its interval."""
    return f"**{signed(value.value)}** [{signed(value.low)}, {signed(value.high)}]"


def row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


@app.command()
def command(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Results.  [default: all in baselines/submissions]")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The page.")] = PAGE,
) -> None:
    """Make the leaderboard from files of results; a file that is not what it says is refused."""
    paths = files or sorted(SUBMISSIONS.glob("*.json"))
    if not paths:
        raise SubmissionError(f"FILE: none in {SUBMISSIONS} (allowed: at least one file of results)")
    results = [read_submission(path) for path in paths]
    try:
        write_whole(output, page(results).encode())
    except OSError as error:
        raise SubmissionError(f"output: value '{output}' (allowed: a file to write; {error.strerror})") from None
    say(f"{len(results)} results in {output}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (SubmissionError, ExperimentError, ScenarioError))


if __name__ == "__main__":
    main()
