"""The same probe in the simulator: its description becomes a scenario, with the real kernel's facts as its host."""

from collections.abc import Sequence

import numpy as np

from vcpu_env.realism.cgroups import TOP
from vcpu_env.realism.events import numbered
from vcpu_env.realism.kernel_facts import KernelFacts
from vcpu_env.realism.probe import Probe
from vcpu_env.realism.recording import Run
from vcpu_env.scenario import Scenario, apply_overrides
from vcpu_env.scenario.host_tasks import expanded


def scenario_of(probe: Probe, facts: KernelFacts, overrides: Sequence[str] = ()) -> Scenario:
    """The scenario of a probe on a host with these facts, and with KEY=VALUE changes.

    The probes' loops touch no memory, so nothing is lost to cold caches. There is light noise, as a real host is never
    quite without: exact ticks alone can keep tasks in a pattern that any nudge ends.

    Raises:
        ScenarioError: an override is not allowed.
    """
    groups = [TOP, *(group.model_copy(update={"parent": group.parent or TOP.name}) for group in probe.groups)]
    tasks = [task.model_copy(update={"group": task.group or TOP.name}) for task in probe.host_tasks]
    scenario = Scenario(
        name=probe.name,
        host=facts.host() | {"cpus": probe.cpus, "costs": {"cold_cache_ns": 0}, "noise": "light"},
        groups=[group.model_dump(exclude_unset=True) for group in groups],
        host_tasks=[task.model_dump(exclude_unset=True) for task in tasks],
        vms=(),
    )
    return apply_overrides(scenario, overrides)


def numbered_events(events: np.ndarray, nr_tasks: int) -> np.ndarray:
    """A simulation's events with tasks by number: the simulator counts from 0, has -1 for none, noise last."""
    return numbered(events, list(range(nr_tasks)), idle=-1)


def started_at(scenario: Scenario, seed: int) -> Scenario:
    """The scenario with its tasks' start at a random phase of the tick, as on a real kernel."""
    tick_ns = 1_000_000_000 // scenario.host.hz
    phase_ns = int(np.random.default_rng([seed, 0x7E57]).integers(1, tick_ns))
    tasks = [task.model_dump(exclude_unset=True) for task in scenario.host_tasks]
    for task in tasks:
        task["start_ns"] = task.get("start_ns", 0) + phase_ns
    return Scenario(**(scenario.model_dump(exclude_unset=True) | {"host_tasks": tasks}))


def simulate_probe(scenario: Scenario, begin_ns: int, end_ns: int, seed: int) -> Run:
    """Simulate a probe up to the end of a window of its recording."""
    from vcpu_env.trace.sched_events import simulate_tasks

    events = simulate_tasks(started_at(scenario, seed), end_ns, seed)
    return Run(numbered_events(events, len(expanded(scenario.host_tasks))), begin_ns, end_ns)
