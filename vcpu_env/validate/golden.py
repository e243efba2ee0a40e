"""Traces recorded from the kernel's own code: how many of each set are played again without a difference."""

from collections import defaultdict
from pathlib import Path

from vcpu_env.executors.base import Executor
from vcpu_env.validate.verdict import Part, Verdict


def sets_of(directory: Path) -> dict[str, list[Path]]:
    """The trace files below a directory, by the folder that they lie in.

    Raises:
        ValueError: there are none.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(directory.rglob("*.jsonl.gz")):
        found[path.parent.relative_to(directory).as_posix()].append(path)
    if not found:
        raise ValueError(f"golden: value '{directory}' (allowed: a directory with recorded traces, *.jsonl.gz)")
    return dict(found)


def check(path: Path) -> str:
    """The first mismatch of a file; empty if there is none."""
    from vcpu_env.trace.replay import TraceError, check_file

    try:
        mismatches = check_file(path).mismatches
    except TraceError as error:
        return str(error)
    return mismatches[0] if mismatches else ""


def parts(executor: Executor, directory: Path, say) -> list[Part]:
    """Every set of traces below a directory."""
    sets = sets_of(directory)
    files = [path for paths in sets.values() for path in paths]
    wrong: dict[Path, str] = {}
    for done, (i, mismatch) in enumerate(executor.map(check, files), start=1):
        wrong[files[i]] = mismatch
        say(done, len(files))
    verdicts = []
    for name, paths in sets.items():
        matched = sum(not wrong[path] for path in paths)
        first = next((wrong[path] for path in paths if wrong[path]), "")
        seen = f"{matched} of {len(paths)}" + (f"; first difference: {first}" if first else "")
        verdicts.append(Verdict(name, f"{len(paths)} of {len(paths)}", seen, matched == len(paths)))
    return [Part("Traces of the kernel's own code", "files played again without a difference", tuple(verdicts))]
