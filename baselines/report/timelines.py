"""The two runs that a report lets one look into: of the largest gain, and of the worst harm to a VM.

Of such a case the launch is taken whose change is the median of all, and of it the middle of the measured time: no run
and no window is chosen by its looks.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.cells import load_object, source_id
from baselines.policies import STOCK, PolicySource, choose_policies
from baselines.report.numbers import percent
from baselines.report.results import Results
from baselines.statistics import geometric_mean
from baselines.store import StoreError
from baselines.summary import Comparison
from vcpu_env.base.errors import InputError
from vcpu_env.base.files import write_whole
from vcpu_env.scenario import ScenarioError, load_scenario

FOLDER = "timelines"
LENGTH_NS = 10_000_000


@dataclass(frozen=True)
class Exhibit:
    """A run under a policy, beside stock's with the same seed.

    Attributes:
        name: of its file.
        title: what it shows.
        changes: what the policy changed, one number a launch; the median is shown.
    """

    name: str
    title: str
    comparison: Comparison
    changes: Sequence[float]
    first_seed: int

    @property
    def seed(self) -> int:
        """Of the launch that is shown."""
        return self.first_seed + self._launch

    @property
    def _launch(self) -> int:
        return int(np.argsort(self.changes)[len(self.changes) // 2])

    @property
    def window_ns(self) -> tuple[int, int]:
        """Begin and end of what is shown."""
        run = self.comparison.scenario.run
        begin_ns = run.warmup_ns + run.duration_ns // 2
        return begin_ns, min(begin_ns + LENGTH_NS, run.warmup_ns + run.duration_ns)

    @property
    def text(self) -> str:
        """In words."""
        c, (begin_ns, end_ns) = self.comparison, self.window_ns
        return (
            f"{self.title}: {c.policy} in {c.case}, seed {self.seed} ({percent(self.changes[self._launch])}, the "
            f"median launch), {begin_ns / 1e6:g} to {end_ns / 1e6:g} ms"
        )


def exhibits(results: Results) -> list[Exhibit]:
    """Which runs a report shows; none where nothing gained, and none where nobody was harmed."""
    visible = [
        c
        for c in results.comparisons
        if c.policy != STOCK
        and c.policy not in results.oracles
        and not math.isnan(c.change.value + c.worst_vm_change.value)
    ]
    first_seed, found = int(results.manifest["seeds"][0]), []
    best = max(visible, key=lambda c: c.change.value, default=None)
    if best is not None and best.change.value > 0:
        found.append(Exhibit("gain", "Largest gain", best, (best.ratios - 1.0).tolist(), first_seed))
    worst = min(visible, key=lambda c: c.worst_vm_change.value, default=None)
    if worst is not None and worst.worst_vm_change.value < 0:
        vm = int(np.argmin(geometric_mean(worst.vm_ratios, axis=0)))
        title, changes = f"Worst harm, to {worst.worst_vm}", (worst.vm_ratios[:, vm] - 1.0).tolist()
        found.append(Exhibit("harm", title, worst, changes, first_seed))
    return found


def commands(results: Results, exhibit: Exhibit) -> list[str]:
    """What shows the same on the command line; nothing where the scenario or the policy has no name there."""
    about = policy_entry(results, exhibit)
    scenario = exhibit.comparison.scenario
    try:
        shipped = load_scenario(scenario.name) == scenario
    except ScenarioError:
        shipped = False
    if not shipped or about["path"]:
        return []
    run = ["--seed", str(exhibit.seed)]
    begin_ns, end_ns = exhibit.window_ns
    window = ["--from", f"{begin_ns / 1e6:g}", "--for", f"{(end_ns - begin_ns) / 1e6:g}", "-o", f"{exhibit.name}.html"]
    policies = ["--policy", STOCK, "--beside", about["label"]]
    return [
        shlex.join(["vcpu-env", "trace", scenario.name, *policies, *run, *window]),
        shlex.join(["vcpu-env", "diff", scenario.name, "--policy", STOCK, "--policy", about["label"], *run]),
    ]


def policy_entry(results: Results, exhibit: Exhibit) -> dict[str, Any]:
    """What the results say of a policy."""
    return next(p for p in results.manifest["policies"] if p["label"] == exhibit.comparison.policy)


def source_of(results: Results, exhibit: Exhibit) -> PolicySource:
    """The policy, as it was evaluated.

    Raises:
        StoreError: it is another one by now.
    """
    about = policy_entry(results, exhibit)
    given = about["path"] or about["label"]
    try:
        (found,) = (
            p for p in choose_policies([given], load_object("vcpu_env.policy.named:POLICIES")) if p.label != STOCK
        )
    except InputError as error:
        raise StoreError(f"timelines: {error}") from None
    if found.digest != about["digest"]:
        raise StoreError(f"timelines: policy '{given}' is not what was evaluated (allowed: the same content)")
    return found


def write_timelines(results: Results, target: Path) -> list[Exhibit]:
    """Run both runs again, and write a page for each that stands alone.

    Raises:
        InputError: the results are of another simulator, a policy has changed, or a run cannot be recorded.
    """
    made, here = results.manifest["source"], source_id()
    if made != here:
        raise StoreError(f"timelines: results of source {made} (allowed: {here}, as here: the runs would be others)")
    shown = exhibits(results)
    sources = [source_of(results, exhibit) for exhibit in shown]
    from vcpu_env.inspect.recorder import record
    from vcpu_env.inspect.timeline import page
    from vcpu_env.machine import Machine

    (target / FOLDER).mkdir(parents=True, exist_ok=True)
    for exhibit, source in zip(shown, sources, strict=True):
        scenario, seed = exhibit.comparison.scenario, exhibit.seed
        machines = [Machine(scenario, STOCK, seed), source.machine(scenario, seed, Machine)]
        recordings = [record(machine, *exhibit.window_ns) for machine in machines]
        names = (STOCK, source.label)
        named = commands(results, exhibit)
        again = [f"vcpu-env explain {scenario.name} --policy {name} --seed {seed}" if named else "" for name in names]
        write_whole(target / FOLDER / f"{exhibit.name}.html", "".join(page(recordings, again)).encode())
    return shown
