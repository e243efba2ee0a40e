"""``python -m agents.evaluate FILE.npz ...``: learned policies through the baselines' evaluation, on the test split.

The same as ``python -m baselines.evaluate``, with other defaults: scenarios of the test split, and beside the learned
policies series-v2 and `unserved-credit`. `agents.publish` compares the shipped ones with more.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from baselines.command import run_command
from baselines.evaluate import INPUT_ERRORS
from baselines.evaluate import command as baselines_command
from vcpu_env.scenario.splits import SPLITS

RIVALS = ("series-v2", "unserved-credit")
"""What learned policies are shown beside."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def command(
    policies: Annotated[list[str], typer.Argument(metavar="FILE.npz|NAME", help="Learned policies, or any others.")],
    split: Annotated[str, typer.Option(help="train, validation or test: whose scenarios.")] = "test",
    scenario: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="Scenarios, instead of a split's.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change all scenarios, as vms.*.lock=fifo.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds per scenario and policy.  [default: 8]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory.  [default: results/evaluate-HASH]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a directory that holds results.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs and 2 seeds: a look, not a result.")] = False,
) -> None:
    """Compare learned policies with the stock kernel, the series and the best rule."""
    if split not in SPLITS:
        raise typer.BadParameter(f"value '{split}' (allowed: {', '.join(SPLITS)})", param_hint="--split")
    baselines_command(
        scenario=scenario or list(SPLITS[split]),
        policy=with_rivals(policies),
        set_=set_,
        seeds=seeds,
        workers=workers,
        out=out,
        resume=resume,
        quick=quick,
    )


def with_rivals(policies: Sequence[str]) -> list[str]:
    """The policies asked for, and what they are shown beside."""
    return list(dict.fromkeys([*RIVALS, *policies]))


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, INPUT_ERRORS)


if __name__ == "__main__":
    main()
