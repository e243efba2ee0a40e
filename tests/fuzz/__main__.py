"""``python -m tests.fuzz --seconds 28800``: try wrong inputs on all surfaces, and say what was found.

Each surface is tried in processes of its own, so that a crash or a hang ends only one of them and is one more kind;
`--jobs` of them run at a time. Most surfaces are tried uncompiled: what is refused is refused by the same Python.
Inputs come from the seed and the number of their batch; a second call with the same directory goes on where the first
ended. Exit code 1 if anything was found.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.fuzz.kinds import ROOT, Tally, is_ours
from tests.fuzz.surface import Surface
from tests.fuzz.work import surfaces
from vcpu_env.base.files import write_whole

SLICE_SECONDS = 120.0
"""A process is ended after this long; what it has not noticed by then, as memory that grows, ends with it."""
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')


def kind_of_end(code: int, trace: str) -> str:
    """What a process that did not end well is a kind of: a signal or a hang, and the line of ours that was running."""
    what = "hang" if "Timeout" in trace else f"signal {-code}" if code < 0 else f"exit code {code}"
    for frame in FRAME.finditer(trace):
        if is_ours(frame["file"]):
            return f"{what} at {Path(frame['file']).relative_to(ROOT).as_posix()}:{frame['line']}"
    return what


def go_on(surface: Surface, directory: Path, seed: int, seconds: float, patience: float) -> Tally:
    """Try inputs of a surface for so long, through crashes and hangs; say what was found."""
    name, path = surface.name, directory / f"{surface.name}.json"
    environment = os.environ | {"NUMBA_DISABLE_JIT": str(int(not surface.compiled))}
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        command = [sys.executable, "-m", "tests.fuzz.work", name, str(directory), "--seed", str(seed)]
        command += ["--seconds", str(min(left, SLICE_SECONDS)), "--patience", str(patience)]
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if ended.returncode:
            tally = Tally.from_json(path.read_text()) if path.exists() else Tally()
            trace = (directory / f"{name}.trace").read_text()
            message = (ended.stderr.strip().splitlines() or [""])[-1]
            tally.add(kind_of_end(ended.returncode, trace), f"an input of batch {tally.batches}", message)
            tally.batches += 1
            write_whole(path, tally.to_json().encode())
    tally = Tally.from_json(path.read_text()) if path.exists() else Tally()
    for kind, found in tally.kinds.items():
        print(f"{name}: {kind}: {found.count} times: {found.message}\n    first: {found.first[:300]}", flush=True)
    return tally


def table(tallies: dict[str, Tally]) -> str:
    """What was tried, one line a surface."""
    lines = [f"{'surface':12} {'tried':>10} {'accepted':>9} {'checked':>8} {'kinds':>6} {'a second':>9}"]
    for name, tally in tallies.items():
        rate = tally.tried / tally.seconds if tally.seconds else 0
        numbers = f"{tally.tried:>10,} {tally.accepted:>9,} {tally.checked:>8,} {len(tally.kinds):>6} {rate:>9,.0f}"
        lines.append(f"{name:12} {numbers}")
    total = sum(tally.tried for tally in tallies.values())
    kinds = sum(len(tally.kinds) for tally in tallies.values())
    hours = sum(tally.seconds for tally in tallies.values()) / 3600
    return "\n".join([*lines, f"{total:,} inputs in {hours:.2f} hours of one core, {kinds} kinds found"])


def main() -> None:
    """Run the command."""
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # here nothing runs, and to look at the surfaces imports all of it
    known = surfaces()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all surfaces together")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--surface", action="append", choices=list(known), help="several allowed; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which an input hangs")
    parser.add_argument(
        "--out", type=Path, default=Path("results/fuzz"), help="of tallies; what is there is gone on with"
    )
    options = parser.parse_args()
    directory = options.out.resolve() / f"seed-{options.seed}"
    directory.mkdir(parents=True, exist_ok=True)
    names = options.surface or list(known)
    seconds = options.seconds * options.jobs / len(names)
    one = partial(go_on, directory=directory, seed=options.seed * 10**9, seconds=seconds, patience=options.patience)
    with ThreadPoolExecutor(options.jobs) as pool:
        tallies = dict(zip(names, pool.map(one, [known[name] for name in names]), strict=True))
    print(table(tallies))
    sys.exit(any(tally.kinds for tally in tallies.values()))


if __name__ == "__main__":
    main()
