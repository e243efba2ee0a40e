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
    at: Annotated[float | None, typer.Option(help="an instant in place of a window, ms")] = None,
    out: Annotated[Path | None, typer.Option("-o", help="the file to write; default: print it")] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="html, perfetto, jsonl, ftrace, trace-cmd, perf, timehist, latency, exits; with --at: schedstat, "
            "debug, kvm_stat, openmetrics; default: by the file's name",
        ),
    ] = None,
    beside: Annotated[str | None, typer.Option(help="html: a second policy, shown below the first")] = None,
    events: Annotated[
        list[str] | None, typer.Option(help="sched, kvm, yield, guest, irq or lock; several allowed; default: all")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=16_000_000, help="the most records that are kept")] = 4_000_000,
    force: Annotated[bool, typer.Option("--force", help="replace a file that exists")] = False,
    open_: Annotated[
        bool, typer.Option("--open", help="html, perfetto: show the file in the browser when it is written")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Write all that happens in a window of one run: switches, wake-ups, exits, yields, interrupts, locks."""
    from vcpu_env.inspect import trace_command as command
    from vcpu_env.inspect.request import RunRequest, moment
    from vcpu_env.nets.maker import machine_maker

    if at is not None and (from_, for_) != (None, None):
        raise ValueError("--at: given with --from or --for (allowed: an instant or a window)")
    name = command.format_of(format_, out, at is not None)
    groups = command.groups_of(events or [], name)
    command.check_target(out, name, force)
    viewer = command.viewer_of(name, out) if open_ else None
    request = RunRequest(scenario, set_ or [], seed)
    if at is not None:
        command.show(request, machine_maker(policy), moment("--at", at, request.end_ns), out, name)
        return
    times_ns = command.window(request, from_, for_)
    command.check_page(name, times_ns, policy, beside)
    policies = {name: machine_maker(name) for name in (policy, beside) if name is not None}
    command.trace(request, policies, times_ns, out, name, groups, limit)
    if viewer is not None and out is not None:
        viewer(out)


def explain(
    scenario: Scenario,
    policy: PolicyName = "stock",
    seed: Seed = 0,
    yield_: Annotated[int | None, typer.Option("--yield", min=1, help="the N-th kvm_vcpu_on_spin() of the run")] = None,
    at: Annotated[float | None, typer.Option(help="in place of --yield: the first from here on, ms")] = None,
    vcpu: Annotated[str | None, typer.Option(help="with --at: of this vCPU, VM:INDEX")] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="what other policies do from the same state; several, or with commas")
    ] = None,
    set_: Overrides = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Explain one directed yield: who spun on what, whom the scan looked at, who was taken, what came of it."""
    from vcpu_env.inspect import explain_command as command
    from vcpu_env.inspect.request import RunRequest

    command.explain_yield(RunRequest(scenario, set_ or [], seed), policy, yield_, at, vcpu, against or [], json_)


def diff(
    scenario: Scenario,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="two of them: name, a rule in FILE.py, a model FILE.npz")
    ] = None,
    seed: Seed = 0,
    set_: Overrides = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
) -> None:
    """Find the first decision in which two policies part, what each did, and how the runs develop from there."""
    from vcpu_env.inspect import diff_command as command
    from vcpu_env.inspect.request import RunRequest

    command.diff_policies(RunRequest(scenario, set_ or [], seed), policy or [], json_)
