"""Plays recorded traces of many CPUs and says how far each agrees: ``python -m tests.helpers.smp_traces FOLDER``.

``--soft`` also names the first difference of what an exact kernel may have otherwise (sums, statistics of idle times);
``--force`` sets the load averages to the recorded ones after every record, so that decisions are counted and not what
follows from wrong averages; ``--all`` prints every trace's differences, not only the first.
"""

import argparse
import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vcpu_env.trace.replay_smp import Comparison, SmpMismatch, recorded_dice
from vcpu_env.trace.smp_scenario import load_smp_scenario

SETS = (
    *("smp_basic", "smp_wake", "smp_mixed", "smp_balance", "smp_long", "smp_default"),
    *("pelt_sequences", "bandwidth_micro", "bandwidth", "bandwidth_slack", "smp_bandwidth"),
)


def trace_paths(folder: Path, names: tuple[str, ...] = SETS) -> list[Path]:
    return [path for name in names for path in sorted((folder / name).glob("*.jsonl.gz"))]


def trace_lines(path: Path) -> list[dict]:
    with gzip.open(path, "rt") as text:
        return [json.loads(line) for line in text]


def check(path: Path, soft: bool = False, force: bool = False) -> tuple[int, int, list[SmpMismatch]]:
    """How many records there are, how many were reached, and the first difference of every field."""
    header, *records = trace_lines(path)
    comparison = Comparison(load_smp_scenario(header["scenario"], recorded_dice(records)), soft, force)
    found = comparison.run(records)
    return len(records), comparison.reached, found


def mismatches(path: Path) -> list[str]:
    return [f"{path.parent.name}/{path.name}: {found}" for found in check(path)[2]]


def report(paths: list[Path], soft: bool, force: bool, everything: bool) -> Iterator[str]:
    matched: Counter = Counter()
    total: Counter = Counter()
    first: Counter = Counter()
    for path in paths:
        name, began = path.parent.name, time.perf_counter()
        records, reached, found = check(path, soft, force)
        total[name] += 1
        matched[name] += not found
        label = "same" if not found else f"{reached} of"
        yield f"{name}/{path.name}: {label} {records} records, {time.perf_counter() - began:.2f} s"
        for mismatch in found if everything else found[:1]:
            yield f"    {mismatch}"
        first[found[0].difference.field if found else "none"] += 1
    yield "first differences: " + ", ".join(f"{field} {count}" for field, count in first.most_common())
    for name, count in total.items():
        yield f"{name}: {matched[name]} of {count}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--only", default="", help="part of a file's name")
    for flag in ("soft", "force", "all"):
        parser.add_argument(f"--{flag}", action="store_true")
    args = parser.parse_args()
    chosen = [path for path in trace_paths(args.folder, tuple(args.sets)) if args.only in path.name]
    for line in report(chosen, args.soft, args.force, args.all):
        print(line, flush=True)
