"""Draw docs/stock-vs-series.gif: the same 40 ms under the stock kernel and under the series, time sweeping.

``python docs/make_gif.py``; needs the extra `render`. One run each, after the scenario's warm-up, so neither a mean nor
a best case: of seeds 0 to 7 of dedup-2vm, seed 2 is the one whose gain in these 40 ms (+7.8 %) is nearest to that of
all eight together (+3.1 %; single seeds lie between -11.4 % and +24.7 %). ``--gains`` prints them.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from gymnasium.error import DependencyNotInstalled
from typer.exceptions import TyperException

from vcpu_env import Scenario, ensure_compiled, load_scenario
from vcpu_env.counters import difference
from vcpu_env.envs.drawing.gantt import Gantt
from vcpu_env.envs.drawing.render import rgb_array
from vcpu_env.guest.workloads import WORKLOADS

app = typer.Typer(add_completion=False)
POLICIES = ("stock", "series-v2")
LENGTH_NS, FRAMES = 40_000_000, 80
FRAME_MS, LAST_FRAME_MS = 60, 4000


def progress(counted: dict[str, Any], cpus: int) -> str:
    """Work done and time lost, in words."""
    work: Counter[str] = Counter()
    for vm in counted["vms"]:
        work[WORKLOADS[vm["workload"]].unit] += round(vm["work_units"])
    done = " + ".join(f"{count:,} {unit}" for unit, count in work.items())
    spun = sum(vm["spin_ns"] for vm in counted["vms"]) / max(1, counted["time_ns"]) / cpus
    return f"{done} in {counted['time_ns'] / 1e6:.1f} ms, {spun:.0%} of CPU time spinning"


def charts(scenario: Scenario, policy: str, seed: int) -> list[np.ndarray]:
    """The frames of one policy: a chart that fills from the left."""
    from vcpu_env import Machine

    machine, gantt, frames = Machine(scenario, policy, seed), Gantt(LENGTH_NS), []
    start_ns = scenario.run.warmup_ns
    machine.run_until(start_ns)
    before = machine.counters()
    for frame in range(1, FRAMES + 1):
        gantt.follow(machine, start_ns + LENGTH_NS * frame // FRAMES)
        now = progress(difference(machine.counters(), before), scenario.host.cpus)
        frames.append(rgb_array(gantt, f"{scenario.name}, seed {seed}, {policy}:  {now}"))
    return frames


def print_gains(scenario: Scenario) -> None:
    """What the series gains in these 40 ms, seed by seed and over all."""
    from vcpu_env import Machine  # compiles on import

    done = np.zeros((8, len(POLICIES)))
    for seed, i in np.ndindex(done.shape):
        machine = Machine(scenario, POLICIES[i], seed)
        machine.run_until(scenario.run.warmup_ns)
        before = machine.counters()
        machine.run_until(scenario.run.warmup_ns + LENGTH_NS)
        done[seed, i] = sum(vm["work_units"] for vm in difference(machine.counters(), before)["vms"])
    print(*(f"seed {seed}: {series / stock - 1:+.1%}" for seed, (stock, series) in enumerate(done)), sep="\n")
    print(f"together: {np.divide(*done.sum(axis=0)[::-1]) - 1:+.1%}")


def write_gif(frames: list[np.ndarray], out: Path) -> None:
    """Write an endless animation."""
    from PIL import Image

    images = [Image.fromarray(frame).quantize(dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * (len(images) - 1) + [LAST_FRAME_MS]
    images[0].save(out, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)


@app.command()
def command(
    scenario: Annotated[str, typer.Option(help="name of a shipped scenario, or a TOML file")] = "dedup-2vm",
    seed: Annotated[int, typer.Option(help="seed of all randomness")] = 2,
    out: Annotated[Path, typer.Option(help="file to write")] = Path(__file__).parent / "stock-vs-series.gif",
    gains: Annotated[bool, typer.Option(help="only print what seeds 0 to 7 gain in these 40 ms")] = False,
) -> None:
    """Draw the same 40 ms under the stock kernel and under the series v2, one above the other."""
    loaded = load_scenario(scenario)
    if out.suffix != ".gif" or not out.parent.is_dir():
        raise ValueError(f"--out: value '{out}' (allowed: a .gif file in a directory that exists)")
    ensure_compiled()
    if gains:
        print_gains(loaded)
        return
    both = zip(*(charts(loaded, policy, seed) for policy in POLICIES), strict=True)
    write_gif([np.concatenate(pair) for pair in both], out)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
    except (ValueError, OSError, DependencyNotInstalled) as error:
        message = "; ".join(str(error).splitlines())
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
