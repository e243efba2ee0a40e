"""Recordings of small hosts: one on which vCPUs spin and yield from the start, one that is idle at times."""

from functools import cache

import numpy as np

from tests.helpers.at_once import at_once
from vcpu_env.base.world import World
from vcpu_env.engine.loop import settle
from vcpu_env.inspect.recorder import Recording, record
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides

MSEC = 1_000_000
FROM_NS, TO_NS = 8 * MSEC, 14 * MSEC


def host(name: str, cpus: int, vms: int, vcpus: int) -> Scenario:
    return at_once(
        Scenario(
            name=name,
            host={"cpus": cpus},
            vms=[{"name": "vm", "count": vms, "vcpus": vcpus, "workload": "dedup"}],
            run={"warmup_ns": FROM_NS, "duration_ns": 8 * MSEC},
        )
    )


STORM = host("storm", 3, 2, 6)
QUOTA = apply_overrides(host("quota", 3, 2, 6), ["vms.*.period_us=5000", "vms.*.quota_us=6000"])
CALM = apply_overrides(host("calm", 4, 1, 3), ["host.noise=heavy"])


def machine(policy: str = "series-v2", scenario: Scenario = STORM) -> Machine:
    return Machine(scenario, policy, 1)


@cache
def storm(policy: str = "series-v2") -> Recording:
    """6 ms of two VMs of six vCPUs on three CPUs."""
    return record(machine(policy), FROM_NS, TO_NS)


@cache
def calm() -> Recording:
    """6 ms of one VM of three vCPUs on four CPUs, with kernel threads beside it."""
    return record(machine(scenario=CALM), FROM_NS, TO_NS)


@cache
def throttled(kernel: str = "6.19") -> Recording:
    """11 ms of two VMs of six vCPUs on three CPUs, each of which may use 1.2 CPUs."""
    scenario = apply_overrides(QUOTA, [f"host.kernel={kernel}", "run.duration_ns=11_000_000"])
    return record(machine("stock", scenario), FROM_NS, FROM_NS + 11 * MSEC)


def settled(world: World, now_ns: int) -> World:
    """A copy in which all that is under way is booked."""
    copy = world.copy()
    with np.errstate(over="ignore"):
        settle(copy.handle, now_ns)
    return copy


def executed(recording: Recording, world: World, now_ns: int) -> list[int]:
    """Time on a CPU of every task so far, as the scheduler has charged it."""
    entities, running = world["sched_entity"], set(world["rq"]["curr"].tolist())
    times = entities["sum_exec_runtime_ns"][: len(recording.tasks)].tolist()
    return [ns + (now_ns - int(entities["exec_start_ns"][p]) if p in running else 0) for p, ns in enumerate(times)]
