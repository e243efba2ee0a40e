"""What a fleet's run prints: the answer in a sentence, a table of 80 columns, and what it cost."""

import textwrap

from rich.table import Table

from baselines.fleet.run import Answer
from baselines.overcommit.hosts import named
from baselines.overcommit.terminal import duration, interval, percent
from baselines.report.columns import WIDTH, console, fitted
from baselines.report.numbers import amount
from baselines.statistics import Estimate
from vcpu_env.progress import duration as hours

MANY_HOSTS = 10_000


def limits_in_words(answer: Answer) -> str:
    """What a VM shall keep."""
    limits, words = answer.fleet.limits, []
    if limits.ready is not None:
        words.append(f"CPU Ready up to {100 * limits.ready:g} %")
    for what, limit in (("lock", limits.lock_p99_ns), ("IPI", limits.ipi_p99_ns)):
        if limit is not None:
            words.append(f"{what} p99 up to {time_of(limit)}")
    return ", ".join(words)


def time_of(ns: float) -> str:
    """A time."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= factor:
            return f"{ns / factor:g} {unit}"
    return f"{ns:g} ns"


def headline(answer: Answer) -> str:
    """The highest ratio at which enough VMs keep the limits, as far as it can be told."""
    wanted = answer.fleet.limits.vms
    shares = {ratio: tally.share("keep", "vms") for ratio, tally in answer.tallies.items()}
    asked = f"{100 * wanted:g} % of VMs ({limits_in_words(answer)})"
    good = [ratio for ratio, share in shares.items() if share.value >= wanted]
    best = max((r for r in good if all(s.value >= wanted for q, s in shares.items() if q <= r)), default=None)
    if best is None:
        first = min(shares)
        return f"At none of these ratios are the limits kept by {asked}: at {named(first)} by {written(shares[first])}."
    said = f"Up to {named(best)} the limits are kept by {asked}: there by {written(shares[best])}"
    if (after := min((ratio for ratio in shares if ratio > best), default=None)) is not None:
        said += f", at {named(after)} by {written(shares[after])}"
    unsure = [ratio for ratio, share in shares.items() if share.low < wanted <= share.high]
    more = f" Not certain at {', '.join(map(named, unsure))}: more hosts would tell." if unsure else ""
    return f"{said}.{more}"


def written(share: Estimate) -> str:
    """A share with its interval."""
    return f"{percent(share)} [{interval(share)}]"


def print_answer(answer: Answer) -> None:
    """Everything, the answer first."""
    print(textwrap.fill(headline(answer), WIDTH, break_long_words=False, break_on_hyphens=False))
    print()
    console().print(table(answer))
    for line in cost_lines(answer):
        print(textwrap.fill(line, WIDTH))


def table(answer: Answer) -> Table:
    """A row a ratio; columns of what is not limited are left out."""
    tallies = list(answer.tallies.values())
    limits = answer.fleet.limits
    keeps = {
        "keep": ("keep", True),
        "Ready kept": ("keep_ready", limits.ready is not None),
        "lock kept": ("keep_lock", limits.lock_p99_ns is not None),
        "IPI kept": ("keep_ipi", limits.ipi_p99_ns is not None),
    }
    kept = {title: [tally.share(name, "vms") for tally in tallies] for title, (name, shown) in keeps.items() if shown}
    columns = {
        "VMs a host": [f"{tally.total('vms') / len(tally.hosts):.3g}" for tally in tallies],
        "kept": [percent(tally.kept) for tally in tallies],
        "Ready": [percent(tally.share("ready_ns", "life_ns")) for tally in tallies],
        "lock p99": [duration(tally.p99_ns("lock")) for tally in tallies],
        "IPI p99": [duration(tally.p99_ns("ipi")) for tally in tallies],
        "keep": [percent(share) for share in kept["keep"]],
        "95 %": [interval(share) for share in kept["keep"]],
        **{title: [percent(share) for share in shares] for title, shares in kept.items() if title != "keep"},
        "core-s/s": [f"{cost.each:.2f}" if cost.simulated_s else "" for cost in answer.costs.values()],
    }
    hosts = f"{answer.fleet.name}: {answer.fleet.hosts} hosts at each ratio, Linux {answer.fleet.kernel}"
    title = f"{hosts}; keep: VMs within all limits, each"
    return fitted(title, [named(ratio) for ratio in answer.tallies], columns)


def cost_lines(answer: Answer) -> list[str]:
    """What many hosts would cost; nothing where not every ratio was run now."""
    costs = list(answer.costs.values())
    if not all(cost.simulated_s for cost in costs):
        return []
    at = f"these {len(costs)} ratios" if len(costs) > 1 else "this ratio"
    whole_s = sum(cost.each for cost in costs) * answer.fleet.host_s * MANY_HOSTS
    return [
        f"core-s/s: core-seconds for each simulated second of a host. {MANY_HOSTS:,} hosts of "
        f"{answer.fleet.host_s:g} s, warm-up included, at {at}: {amount(whole_s / 3600)} core-hours, "
        f"{hours(whole_s / 64)} on 64 cores."
    ]
