"""What a report says, in which order: the answer first, then the evidence, then how to make it again."""

import functools
import math

from baselines.attribution import CPU_TIME
from baselines.policies import STOCK
from baselines.report import figures, tables
from baselines.report.document import Document, Entry, Link, Picture, Section, Table
from baselines.report.numbers import duration, interval, percent
from baselines.report.results import Results
from baselines.report.timelines import FOLDER, commands, exhibits
from baselines.statistics import CEILING_FLOOR, RATIO_FLOOR, RESAMPLES, Estimate
from baselines.summary import HISTOGRAMS, Score

PAIRED = (
    "Every number is paired: a policy's run is compared with stock's run of the same scenario and seed, in which the "
    "guests want the same work. Intervals are 95 % percentile bootstrap intervals over seeds, drawn within each case."
)

MOST_NAMES = 6
"""Most policies that are named in the first sentence."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

FEW_SEEDS = 8
FEW = " With so few seeds they are too narrow: a look, not a result."

MEASURES = {
    "[low, high]": "95 % interval, percentile bootstrap. With few seeds such intervals are too narrow: measured on "
    "normal samples, those of one case hold the truth in 76 % of all tries with 3 seeds, 84 % with 5, 89 % with 8, "
    "94 % with 30; those of a score over nine cases in 89 % with 3 seeds, 92 % with 8.",
    "score": f"Geometric mean of throughput over stock's, over all cases of one layout and all seeds; ratios below "
    f"{RATIO_FLOOR} count as {RATIO_FLOOR}. Layouts and variants are never averaged together.",
    "IQM": "Mean of the middle half of all ratios, which a few odd runs cannot move.",
    "P(better)": "Share of paired runs that beat stock's; ties count one half. 0.5 is no effect.",
    "gap closed": "The gain as a share of that of the best oracle in the same case; mean over the cases where that "
    f"oracle has at least {CEILING_FLOOR} times stock's throughput. Same knobs: the best oracle that only chooses whom "
    "to hint and how large the penalty is, as the series does; any boost: the best of all.",
    "the best rule": "The policy with the highest score in the same table that sees what a host can see. It is chosen "
    "by these runs, so comparisons with it err on the careful side.",
    "faster / open / slower": "Cases whose interval lies above zero, holds zero, or lies below.",
    "worst VM": "The VM that lost most, or gained least, against the same VM under stock.",
    "Jain's index": "1 if all VMs get the same, 1/n if one of n gets everything.",
}


def build_document(results: Results, timelines: bool = False) -> Document:
    """The whole report; `timelines`: those of `report.timelines` lie beside it."""
    manifest = results.manifest
    variants = [_within] if results.plain else []
    attribution = functools.partial(_attribution, timelines=timelines)
    evidence = [_gains, _profiles, _fairness, _latency, attribution, _power] if results.compared else []
    sections = [section(results) for section in (_answer, *variants, *evidence, _provenance)]
    return Document(manifest["title"] or f"Experiment {manifest['experiment']}", _lead(results), sections)


def _lead(results: Results) -> list[str]:
    rivals = results.rivals
    names = ", ".join(f"`{policy}`" for policy in rivals) or "Nothing"
    if len(rivals) > MOST_NAMES:
        names = f"{len(rivals)} policies"
    runs = {case.scenario.run for case in results.cases}
    lengths = " or ".join(f"{duration(run.duration_ns)} after {duration(run.warmup_ns)} of warm-up" for run in runs)
    first = results.manifest["seeds"][0]
    kernels = " and ".join(sorted({f"v{case.scenario.host.kernel}" for case in results.cases}))
    return [
        f"{names} against stock Linux {kernels}, in a simulator. {len(results.cases)} cases, {results.seeds} seeds "
        f"({first}..{first + results.seeds - 1}): {len(results.comparisons) * results.seeds} runs of {lengths}, "
        "simulated time.",
        PAIRED + FEW * (results.seeds < FEW_SEEDS),
        f"Again: {_command(results)} (source `{results.manifest['source']}`).",
    ]


def _command(results: Results) -> str:
    return f"`{results.manifest['command']}`" if results.manifest["command"] else "from Python"


def _answer(results: Results) -> Section:
    """The score of every policy; of experiments with variants, what each variant gives against the plain host."""
    if results.plain:
        parts: list[str | Table | Picture] = [_best_variant(results)]
        if panels := figures.variant_figure(results):
            caption = (
                f"Every variant and policy against stock in {results.plain}, the first variant, 95 % interval: what a "
                "change of the host gives, beside what a policy gives."
            )
            parts.append(Picture("variants", panels, caption))
        return Section("The answer", [*parts, tables.variant_table(results), tables.variant_matrix(results)])
    return Section("The answer", [*_scores(results), _meanings()])


def _within(results: Results) -> Section:
    """Of experiments with variants: policies within each."""
    return Section("Policies within each variant", [*_scores(results), _meanings()])


def _meanings() -> Table:
    rows = [[Entry(name), Entry(meaning)] for name, meaning in MEASURES.items()]
    return Table(["", ""], rows, folded="What the columns mean", words=True)


def _scores(results: Results) -> list[str | Table | Picture]:
    parts: list[str | Table | Picture] = []
    if len(results.layouts) > 1 and results.rivals:
        said = "Policies against stock of the same layout; never averaged over layouts."
        parts += [said, tables.layout_table(results)]
    for layout in results.layouts:
        scores = [score for score in results.scores_of(layout) if score.policy != STOCK]
        parts += [f"{results.label(layout)}: {_best(results, scores)}", tables.score_table(results, layout)]
    return parts


def _best(results: Results, scores: list[Score]) -> str:
    """The best host-visible policy, in words."""
    if not results.rivals:
        return "Only stock was run: there is nothing to compare."
    visible = [score for score in scores if score.policy not in results.oracles]
    if not visible:
        return "Only oracles were run beside stock: the ceiling, without a policy that a host could have."
    fair = [score for score in visible if not math.isnan(score.change.value)]
    if not fair:
        return "No policy can be scored: some VM did no work under stock. A longer `run.duration_ns` gives it time."
    best = max(fair, key=lambda score: score.change.value)
    gain = f"{percent(best.change.value)} {interval(best.change)}"
    if results.seeds == 1:
        return f"Most throughput: `{best.policy}`, {percent(best.change.value)}. One seed: no interval, no claim."
    if best.change.low > 0:
        slower = sum(c.change.high < 0 for c in best.group)
        faster = sum(c.change.low > 0 for c in best.group)
        return (
            f"Most throughput: `{best.policy}`, {gain}; faster in {faster or 'none'} of {len(best.group)} cases, "
            f"slower in {slower or 'none'}; the worst VM has {percent(best.worst.worst_vm_change.value)}."
        )
    return f"No policy is clearly better than stock: the best, `{best.policy}`, has {gain}."


def _best_variant(results: Results) -> str:
    """The variant with most throughput under stock, and that of any policy, against the plain host; in words."""
    changes = [(score, score.plain_change) for score in results.scores if score.policy not in results.oracles]
    known = [(score, change) for score, change in changes if change and not math.isnan(change.value)]
    others = [pair for pair in known if pair[0].policy == STOCK and pair[0].group[0].case.variant != results.plain]
    if not others:
        return f"No variant can be compared with {results.plain}."
    score, change = max(others, key=lambda pair: pair[1].value)
    said = (
        f"Against {results.plain}, the plain host: under stock {results.label(score.layout)} has most, {_said(change)}"
    )
    best, gain = max(known, key=lambda pair: pair[1].value)
    if best.policy == STOCK:
        return f"{said}, and no policy has more in any variant."
    return f"{said}; of all policies and variants `{best.policy}` in {results.label(best.layout)}, {_said(gain)}."


def _said(change: Estimate) -> str:
    return f"{percent(change.value)} {interval(change)}"


def _gains(results: Results) -> Section:
    caption = "Throughput against stock in the same layout, 95 % interval."
    if figures.has_published(results):
        caption += (
            " Hollow: what the authors of the series published, who named neither layout nor variance. Predictions "
            "to test: no parameter of the simulator was fitted to them."
        )
    picture = Picture("gain", figures.gain_figure(results), caption)
    return Section("Gain by workload and number of VMs", [picture, tables.throughput_table(results)])


def _profiles(results: Results) -> Section:
    caption = (
        "Share of runs whose throughput is above the value on the axis, with 95 % bands. Higher is better; a curve "
        "that falls left of zero tells how often, and how much, a policy does harm."
    )
    return Section("All runs, not just their mean", [Picture("profile", figures.profile_figure(results), caption)])


def _fairness(results: Results) -> Section:
    caption = (
        "A dot is a case. First: on the dotted line all VMs gain the same; below it, one falls back. Second: above "
        "zero, VMs are more even than under stock."
    )
    picture = Picture("fairness", figures.fairness_figure(results), caption)
    return Section("Fairness against gain", [picture, tables.fairness_table(results)])


def _latency(results: Results) -> Section:
    if not any(c.latency(what, 0.5) for c in results.comparisons for what in HISTOGRAMS):
        return Section("Latency", ["Not counted: these runs have no histograms of IPI or lock latency."])
    text = "Percentiles over all VMs and seeds, from histograms with a bucket for each power of two of nanoseconds."
    return Section("Latency", [text, tables.latency_table(results)])


def _attribution(results: Results, timelines: bool) -> Section:
    parts: list[str | Table | Picture | Link] = [
        f"CPU time adds up: each nanosecond of each CPU is work of a guest, or lost in one of {NUMBERS[len(CPU_TIME)]} "
        "ways. A change of throughput is the change of the time left for work, times the change of the work done in "
        "that time (fewer repeated spins and interrupts for the same result, or more).",
        Picture(
            "cpu-time",
            figures.cpu_time_figure(results),
            "CPU time freed by each policy, by what it was lost to under stock. Left of zero: lost in addition. "
            "Diamond and number: the sum, which is the change of the time for work.",
        ),
    ]
    if panels := figures.variant_cpu_time_figure(results):
        caption = f"The same for each variant under stock, against {results.plain}."
        parts.append(Picture("cpu-time-of-variants", panels, caption))
    parts += _exhibits(results, timelines)
    parts.append(
        "Policy by policy, every counter: change against stock with its interval, then stock's level and the "
        "policy's. pt: percentage points. `useful`: the vCPU that the spinner waited for ran at once."
    )
    for layout in results.compared:
        for policy in results.ranked:
            parts += tables.attribution_tables(results, policy, layout)
    return Section("Where a gain comes from", parts)


def _exhibits(results: Results, timelines: bool) -> list[str | Link]:
    """The two runs to look into: links, or what makes them."""
    parts: list[str | Link] = []
    for exhibit in exhibits(results):
        said = commands(results, exhibit)
        by_hand = f" `{said[1]}` finds the first decision in which they part." if said else ""
        if timelines:
            text = f"{exhibit.text}: both runs on one time axis"
            parts += [Link(text, f"{FOLDER}/{exhibit.name}.html"), *([by_hand.strip()] if by_hand else [])]
        else:
            drawn = f"`{said[0]}` draws both runs on one time axis." if said else ""
            parts.append(f"{exhibit.text}. {drawn}{by_hand}".strip())
    if parts and not timelines:
        parts.append("`python -m baselines.report DIR --timelines` draws these runs, and links them here.")
    return parts


def _power(results: Results) -> Section:
    text = (
        "Seeds at which a paired t-test (5 %, two-sided) sees a gain of that size four times in five, if runs vary as "
        f"they do here. These results have {results.seeds}."
    )
    return Section("How small a gain can be seen", [text, *tables.power_tables(results)])


def _provenance(results: Results) -> Section:
    manifest = results.manifest
    parts: list[str | Table | Picture] = [
        f"Made by {_command(results)}, vcpu_env {manifest['version']}, source hash `{manifest['source']}`.",
        f"The same source gives the same numbers, bit for bit; {RESAMPLES:,} resamples with a fixed seed make the "
        "intervals the same, too.",
        tables.policy_table(results),
        tables.case_table(results),
    ]
    return Section("What was run, and how to run it again", parts)
