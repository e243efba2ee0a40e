"""The commands that look inside a run, as the console script ``vcpu-env`` has them."""

from pathlib import Path
from typing import Annotated

import typer

Scenario = Annotated[str, typer.Argument(help="name of a shipped scenario, or a TOML file")]
PolicyName = Annotated[
    str, typer.Option("--policy", help="policy (`vcpu-env list policies`), a rule in FILE.py, a model FILE.npz")
]
Seed = Annotated[int, typer.Option(help="seed of all randomness")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. host.hz=250")]


def trace(
    scenario: Scenario,
    policy: PolicyName = "stock",
    seed: Seed = 0,
    from_: Annotated[float | None, typer.Option("--from", help="begin, ms; default: of the measured time")] = None,
    for_: Annotated[float | None, typer.Option("--for", help="length, ms; default: 20")] = None,
    out: Annotated[Path | None, typer.Option("-o", help="the file to write; default: print it")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="perfetto, jsonl or ftrace; default: by the file's name")
    ] = None,
    events: Annotated[
        list[str] | None, typer.Option(help="sched, kvm, yield, guest, irq or lock; several allowed; default: all")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=16_000_000, help="the most records that are kept")] = 4_000_000,
    force: Annotated[bool, typer.Option("--force", help="replace a file that exists")] = False,
    set_: Overrides = None,
) -> None:
    """Write all that happens in a window of one run: switches, wake-ups, exits, yields, interrupts, locks."""
    from vcpu_env.inspect import command
    from vcpu_env.nets.maker import machine_maker

    name = command.format_of(format_, out)
    groups = command.groups_of(events or [], name)
    command.check_target(out, force)
    request = command.TraceRequest(scenario, set_ or [], machine_maker(policy), seed, from_, for_)
    command.trace(request, out, name, groups, limit)
