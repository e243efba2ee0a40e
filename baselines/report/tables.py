"""The tables of a report: scores, throughput, fairness, latency, where a gain comes from, power, provenance."""

import math
from collections.abc import Callable, Mapping, Sequence

from baselines.attribution import CPU_TIME, QUANTITIES, Quantity, efficiency_change, work_change, work_share
from baselines.policies import STOCK
from baselines.power import GAINS, seeds_needed
from baselines.report.document import CLEAR, FAINT, Entry, Table
from baselines.report.numbers import (
    NOTHING,
    PERCENT,
    amount,
    change_entry,
    duration,
    interval,
    percent,
    share,
    signed,
    tone,
)
from baselines.report.results import Results
from baselines.statistics import Estimate, change, geometric_mean, paired_ratios
from baselines.summary import HISTOGRAMS, PERCENTILES, Comparison, Score

SERIES = "series-v2"
"""What every policy is also compared with: the rules that were proposed."""

GAPS: dict[str, Callable[[Score], Estimate | None]] = {
    "gap closed: same knobs": lambda score: score.knob_gap_closed,
    "gap closed: any boost": lambda score: score.gap_closed,
}
"""Shares of the way from stock to two ceilings: the best oracle with the series' own knobs, the best of all."""

COLUMNS_PER_TABLE = 9
"""Cases side by side, so that a table fits a page."""


def score_table(results: Results, layout: str) -> Table:
    """One line a policy: its score and what the score hides."""
    summaries = {policy["label"]: policy["summary"] for policy in results.manifest["policies"]}
    scores = sorted(
        (score for score in results.scores_of(layout) if score.policy != STOCK),
        key=lambda score: results.ranked.index(score.policy),
    )
    gaps = {title: any(gap(score) for score in scores) for title, gap in GAPS.items()}
    beside = [name for name in dict.fromkeys([SERIES, results.best_rule(layout)]) if name in results.policies]
    rows = []
    for score in scores:
        name, first, *others = _score_row(results, score, summaries[score.policy], gaps)
        against = [_against(score, results.comparisons_of(other, layout), results.seeds) for other in beside]
        rows.append([name, first, *against, *others])
    titles = [f"against {name}" + ", the best rule" * (name != SERIES) for name in beside]
    columns = ["policy", "score: against stock", *titles, "IQM", "P(better)", *(title for title in gaps if gaps[title])]
    folded = f"Scores, {layout}" if len(results.layouts) > 1 else ""
    return Table([*columns, "cases faster / open / slower", "worst VM"], rows, folded=folded)


def _against(score: Score, others: Sequence[Comparison], seeds: int) -> Entry:
    """A policy's throughput against another's on the same seeds, over the same cases."""
    if score.policy == others[0].policy:
        return Entry("")
    ratios = {str(c.case): c.ratios for c in others}
    return change_entry(change([paired_ratios(c.ratios, ratios[str(c.case)]) for c in score.group]), seeds)


def layout_table(results: Results) -> Table:
    """The scores of all layouts, each against its own stock."""
    changes = {(score.policy, score.layout): score.change for score in results.scores}
    rows = [
        [
            Entry(results.label(layout)),
            *(change_entry(changes[policy, layout], results.seeds) for policy in results.ranked),
        ]
        for layout in results.layouts
    ]
    return Table(["", *results.ranked], rows, dense=True)


def variant_table(results: Results) -> Table:
    """Every variant and policy against stock on the plain host, and against stock in the same variant."""
    rows: list[list[Entry]] = []
    for layout in results.layouts:
        rows.append([Entry(results.label(layout))])
        scores = {score.policy: score for score in results.scores_of(layout)}
        for policy in (STOCK, *results.ranked):
            score = scores[policy]
            itself = policy == STOCK
            own = Entry("") if itself else change_entry(score.change, results.seeds)
            is_plain = itself and score.group[0].case.variant == results.plain
            rows.append([Entry(policy), Entry("") if is_plain else _plain_entry(score.plain_change, results), own])
    columns = ["", f"against stock in {results.plain}", "against stock in the same variant"]
    return Table(columns, rows, folded="Every variant and policy")


def _plain_entry(value: Estimate | None, results: Results) -> Entry:
    return Entry(NOTHING) if value is None else change_entry(value, results.seeds)


def variant_matrix(results: Results) -> Table:
    """Variants against each other under stock: the row's against the column's."""
    rows = [
        [
            Entry(results.label(one)),
            *(_plain_entry(results.stock_against(one, other), results) for other in results.layouts),
        ]
        for one in results.layouts
    ]
    names = [f"against {results.label(layout)}" for layout in results.layouts]
    return Table(["", *names], rows, folded="Variants against each other, under stock", dense=True)


def _score_row(results: Results, score: Score, summary: str, gaps: Mapping[str, bool]) -> list[Entry]:
    tones = [tone(c.change) for c in score.group] if results.seeds > 1 else []
    counts = f"{tones.count('good')} / {tones.count('')} / {tones.count('bad')}" if tones else NOTHING
    better, worst = score.probability_of_improvement, score.worst.worst_vm_change
    closed = [_gap_entry(GAPS[title](score)) for title in gaps if gaps[title]]
    name = f"{score.policy} (oracle)" if score.policy in results.oracles else score.policy
    return [
        Entry(name, (summary,) if summary else ()),
        change_entry(score.change, results.seeds),
        change_entry(score.iqm_change, results.seeds),
        Entry(f"{better.value:.2f}", (f"[{better.low:.2f}, {better.high:.2f}]",)),
        *closed,
        Entry(counts),
        Entry(percent(worst.value), (f"{score.worst.worst_vm} in {score.worst.case}",), tone(worst)),
    ]


def _gap_entry(gap: Estimate | None) -> Entry:
    return Entry(share(gap.value), (interval(gap),)) if gap else Entry(NOTHING)


def throughput_table(results: Results) -> Table:
    """Every case and policy: work done, change, published changes."""
    rows: list[list[Entry]] = []
    for case, group in results.groups():
        rows.append([Entry(case)])
        rows += [_throughput_row(c, results.seeds) for c in group]
    return Table(
        [
            "",
            "work units/s, mean of seeds",
            "against stock",
            "published with v2",
            "published with v3",
            "seeds faster / equal / slower",
        ],
        rows,
        "Work units are dbench operations, dedup chunks, vips tiles. In brackets: 95 % bootstrap interval over paired "
        "seeds. * converted from a reduction r of latency: 1 / (1 - r) - 1.",
        folded="All cases in numbers",
    )


def _throughput_row(c: Comparison, seeds: int) -> list[Entry]:
    rate = c.rate_of_work
    work = Entry(amount(rate.value), (f"[{amount(rate.low)}, {amount(rate.high)}]",) if rate.low == rate.low else ())
    if c.policy == STOCK:
        return [Entry(c.policy), work, *[Entry("")] * 4]
    said = [Entry(""), Entry("")]
    if published := c.published:
        said = [Entry(percent(published.v2)), Entry(percent(published.v3) + "*" * published.v3_from_latency)]
    gained = Entry(" / ".join(str(int(sum(seeds))) for seeds in (c.ratios > 1, c.ratios == 1, c.ratios < 1)))
    return [Entry(c.policy), work, change_entry(c.change, seeds), *said, gained]


def fairness_table(results: Results) -> Table:
    """Every case and policy: the VM that does worst, and how even the VMs are."""
    rows: list[list[Entry]] = []
    for case, group in results.groups():
        rows.append([Entry(case)])
        for c in group:
            worst = change_entry(c.worst_vm_change, results.seeds)
            jain = Entry(f"{c.jain.value:.4f}", (f"[{c.jain.low:.4f}, {c.jain.high:.4f}]",))
            even = Entry(f"{c.min_max_vm:.2f}")
            blank = c.policy == STOCK
            rows.append(
                [Entry(c.policy), Entry("") if blank else worst, Entry("" if blank else c.worst_vm), even, jain]
            )
    columns = ["", "worst VM against stock", "which", "slowest / fastest VM", "Jain's index"]
    return Table(columns, rows, folded="All cases in numbers")


def latency_table(results: Results) -> Table:
    """Every case and policy: percentiles of the latencies that the machine has histograms of."""
    kinds = [(what, name, part) for what in HISTOGRAMS for name, part in PERCENTILES.items()]
    rows: list[list[Entry]] = []
    for case, group in results.groups():
        rows.append([Entry(case)])
        for c in group:
            rows.append([Entry(c.policy), *(_latency_entry(c, what, part) for what, _, part in kinds)])
    names = {"ipi": "IPI, sent to handled", "lock": "wait for a lock"}
    return Table(["", *(f"{names[what]}: {name}" for what, name, _ in kinds)], rows, folded="All cases in numbers")


def _latency_entry(c: Comparison, what: str, part: float) -> Entry:
    latency = c.latency(what, part)
    if latency is None:
        return Entry(NOTHING)
    return Entry(duration(latency.value), (f"[{duration(latency.low)}, {duration(latency.high)}]",))


def attribution_tables(results: Results, policy: str, layout: str) -> list[Table]:
    """What a policy changed, case by case: throughput, CPU time, mechanism."""
    comparisons = results.comparisons_of(policy, layout)
    more = f", {results.label(layout)}" if len(results.layouts) > 1 else ""
    label = f"{policy}{more}: {_product(comparisons)}"
    tables = []
    for start in range(0, len(comparisons), COLUMNS_PER_TABLE):
        part = comparisons[start : start + COLUMNS_PER_TABLE]
        rows = [
            [Entry("throughput"), *(change_entry(c.change, results.seeds) for c in part)],
            [Entry("= CPU time for work", ("share: stock's, policy's",)), *map(_work_entry, part)],
            [Entry("x work in that time"), *map(_efficiency_entry, part)],
            [Entry("CPU time lost")],
            *(_quantity_row(quantity, part) for quantity in CPU_TIME),
            [Entry("Mechanism")],
            *(_quantity_row(quantity, part) for quantity in QUANTITIES),
        ]
        tables.append(Table(["", *(str(c.case) for c in part)], rows, folded=label, dense=True))
    return tables


def _product(comparisons: Sequence[Comparison]) -> str:
    """The gain as a product, geometric means over the cases."""
    gain = float(geometric_mean([1.0 + c.change.value for c in comparisons]))
    time = float(geometric_mean([work_share(c.cells) / work_share(c.stock) for c in comparisons]))
    if math.isnan(gain):
        return "every counter"
    return f"{percent(gain - 1)} = {percent(time - 1)} CPU time for work, {percent(gain / time - 1)} work in that time"


def _work_entry(c: Comparison) -> Entry:
    change = work_change(c.cells, c.stock)
    levels = _levels(share, work_share(c.stock), work_share(c.cells))
    return _counter_entry(percent(change.value), change, levels, len(c.cells))


def _efficiency_entry(c: Comparison) -> Entry:
    change = efficiency_change(c.cells, c.stock, c.ratios)
    return _counter_entry(percent(change.value), change, "", len(c.cells))


def _levels(shown: Callable[[float], str], before: float, after: float) -> str:
    """Stock's level and the policy's; their unit once."""
    return f"{shown(before).removesuffix(PERCENT)} \N{RIGHTWARDS ARROW} {shown(after)}"


def _counter_entry(text: str, change: Estimate, levels: str, seeds: int) -> Entry:
    """A change that is neither good nor bad in itself, but clear if its interval does not hold zero."""
    notes = (*[interval(change)] * (seeds > 1), *[levels] * bool(levels))
    seen = any(digit in text for digit in "123456789")
    return Entry(text, notes, CLEAR if seeds > 1 and tone(change) and seen else FAINT)


def _quantity_row(quantity: Quantity, comparisons: Sequence[Comparison]) -> list[Entry]:
    return [Entry(quantity.title, (quantity.unit,)), *(_quantity_entry(quantity, c) for c in comparisons)]


def _quantity_entry(quantity: Quantity, c: Comparison) -> Entry:
    before, after = quantity.value(c.stock), quantity.value(c.cells)
    if math.isnan(before) and math.isnan(after):
        return Entry(NOTHING)
    levels = _levels(share if quantity.share else amount, before, after)
    change = quantity.change(c.cells, c.stock)
    if change is None:
        return Entry(levels, tone=FAINT if before == after else CLEAR)
    text = f"{signed(100 * change.value)} pt" if quantity.share else percent(change.value)
    return _counter_entry(text, change, levels, len(c.cells))


def power_tables(results: Results) -> list[Table]:
    """Seeds that it takes to see a gain, as noisy as the gains are here: in the scores, and in each case."""
    columns = ["", *(f"to see {percent(gain)}" for gain in GAINS)]
    scored: list[list[Entry]] = []
    for layout in results.layouts:
        scored.append([Entry(f"Score ({results.label(layout)})")])
        rivals = {score.policy: score for score in results.scores_of(layout)}
        scored += [[Entry(policy), *_seeds_entries(rivals[policy].strata)] for policy in results.ranked]
    rows: list[list[Entry]] = []
    for case, group in results.groups():
        rows.append([Entry(case)])
        rows += [[Entry(c.policy), *_seeds_entries([c.ratios])] for c in group if c.policy != STOCK]
    return [Table(columns, scored), Table(columns, rows, folded="Case by case")]


def _seeds_entries(strata: Sequence) -> list[Entry]:
    needed = [seeds_needed(strata, gain) for gain in GAINS]
    return [Entry(NOTHING if seeds is None else f"{seeds:,}".replace(",", "\N{THIN SPACE}")) for seeds in needed]


def case_table(results: Results) -> Table:
    """What was simulated."""
    rows = []
    for case in results.cases:
        scenario, vms = case.scenario, case.scenario.expanded_vms
        vcpus = sum(vm.vcpus for vm in vms)
        kinds = [f"{vm.count} x {vm.vcpus} vCPUs of {vm.workload}" for vm in scenario.vms]
        rows.append(
            [
                Entry(str(case)),
                Entry(", ".join(kinds)),
                Entry(f"{scenario.host.cpus}"),
                Entry(f"{vcpus / scenario.host.cpus:.3g}"),
                Entry(scenario.layout),
                Entry(f"{scenario.host.hz} / s"),
                Entry(f"ple {scenario.kvm.ple}, apicv {scenario.kvm.apicv}"),
                Entry(f"{duration(scenario.run.warmup_ns)} + {duration(scenario.run.duration_ns)}"),
            ]
        )
    columns = ["case", "VMs", "CPUs", "vCPUs per CPU", "layout", "host tick", "KVM", "warm-up + measured"]
    return Table(columns, rows, words=True)


def policy_table(results: Results) -> Table:
    """What was compared."""
    rows = []
    for policy in results.manifest["policies"]:
        source = f"{policy['path']}, content {policy['digest'][:12]}" if policy["path"] else "named, in the source"
        kind = "sees what no host can see: part of the ceiling" if policy["oracle"] else "host-visible facts only"
        rows.append([Entry(policy["label"]), Entry(policy["summary"]), Entry(kind), Entry(source)])
    return Table(["policy", "what it is", "what it sees", "where it is"], rows, words=True)
