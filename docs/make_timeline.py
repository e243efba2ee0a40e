"""Draw docs/timeline.svg: who ran on each CPU, sampled from a real run. ``python docs/make_timeline.py``."""

from itertools import groupby
from pathlib import Path

from vcpu_env.guest.types import SEG_SPIN
from vcpu_env.kvm.pcpu import GUEST
from vcpu_env.machine import Machine
from vcpu_env.scenario import load_scenario

SCENARIO, POLICY, SEED = "dedup-2vm", "stock", 0
START_NS, LENGTH_NS, STEP_NS = 200_000_000, 20_000_000, 50_000
LEFT, TOP, WIDTH, ROW = 54, 44, 820, 15
COLOURS = {
    "VM 1 computes": "#8fb8de",
    "VM 1 spins": "#1f5f99",
    "VM 2 computes": "#f2c078",
    "VM 2 spins": "#b3541e",
    "host kernel": "#777777",
    "idle": "#ffffff",
}


def activity(world, cpu: int) -> str:
    """What a CPU is doing now."""
    pcpu = world["pcpu"][cpu]
    vcpu = world["rq"]["curr"][cpu]
    if vcpu < 0:
        return "idle"
    if pcpu["mode"] != GUEST:
        return "host kernel"
    guest = world["guest_vcpu"][vcpu]
    return f"VM {guest['vm'] + 1} {'spins' if guest['segment'] == SEG_SPIN else 'computes'}"


def sample() -> list[list[str]]:
    """The activity of every CPU at every step."""
    scenario = load_scenario(SCENARIO)
    machine = Machine(scenario, POLICY, SEED)
    rows: list[list[str]] = [[] for _ in range(scenario.host.cpus)]
    for now_ns in range(START_NS, START_NS + LENGTH_NS, STEP_NS):
        machine.run_until(now_ns)
        for cpu, row in enumerate(rows):
            row.append(activity(machine.world, cpu))
    return rows


def svg(rows: list[list[str]]) -> str:
    """The chart."""
    bottom = TOP + ROW * len(rows)
    step = WIDTH / len(rows[0])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 16}" height="{bottom + 36}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="16" font-size="13">{SCENARIO}, {POLICY}, seed {SEED}: '
        f"{LENGTH_NS // 1_000_000} ms on {len(rows)} CPUs, one sample every {STEP_NS // 1000} us</text>",
    ]
    for i, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + 120 * i
        parts.append(f'<rect x="{x}" y="24" width="11" height="11" fill="{colour}" stroke="#999"/>')
        parts.append(f'<text x="{x + 16}" y="34">{name}</text>')
    strokes: dict[str, list[str]] = {name: [] for name in COLOURS}
    for cpu, row in enumerate(rows):
        y, at = TOP + ROW * cpu, 0
        parts.append(f'<text x="{LEFT - 6}" y="{y + 11}" text-anchor="end">CPU {cpu}</text>')
        for name, run in groupby(row):
            length = len(list(run))
            strokes[name].append(f"M{LEFT + at * step:.1f} {y + ROW / 2:.1f}h{length * step:.1f}")
            at += length
    for name, colour in COLOURS.items():
        parts.append(f'<path stroke="{colour}" stroke-width="{ROW - 2}" d="{"".join(strokes[name])}"/>')
    for ms in range(0, LENGTH_NS // 1_000_000 + 1, 5):
        x_ms = LEFT + WIDTH * ms * 1_000_000 / LENGTH_NS
        ends = f'x1="{x_ms:.1f}" y1="{TOP}" x2="{x_ms:.1f}" y2="{bottom + 4}"'
        parts.append(f'<line {ends} stroke="#ccc" stroke-width="0.5"/>')
        parts.append(f'<text x="{x_ms:.1f}" y="{bottom + 18}" text-anchor="middle">{ms} ms</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "timeline.svg").write_text(svg(sample()))
