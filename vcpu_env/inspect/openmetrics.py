"""A machine at one instant as OpenMetrics, under the names that node exporter and libvirt exporters use."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vcpu_env.base.world import World
from vcpu_env.engine.loop import settle
from vcpu_env.machine import Machine

NS = 1_000_000_000
MODES = {"guest": "guest_ns", "system": "host_ns", "poll": "poll_ns", "idle": "idle_ns", "user": "task_ns"}
"""Modes of a CPU; ``poll`` is our own: KVM polls for a halted vCPU."""


class Metric(NamedTuple):
    """A counter, named without its ``_total``, with its samples: labels and value."""

    name: str
    about: str
    samples: list[tuple[dict[str, str], float]]


def openmetrics(machine: Machine) -> Iterator[str]:
    """The text of an exposition."""
    world = machine.world.copy()
    with np.errstate(over="ignore"):
        settle(world.handle, machine.now_ns)
    for metric in (*host_metrics(world), *vm_metrics(machine, world)):
        yield f"# HELP {metric.name} {metric.about}\n# TYPE {metric.name} counter\n"
        for labels, value in metric.samples:
            inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
            yield f"{metric.name}_total{f'{{{inside}}}' if inside else ''} {value!r}\n"
    yield "# EOF\n"


def host_metrics(world: World) -> list[Metric]:
    """What node exporter says of a host's CPUs and scheduler."""
    rq, cpus = world["rq"], world["pcpu"]
    names = [str(cpu) for cpu in range(len(rq))]

    def of_cpus(values: np.ndarray, scale: int = NS) -> list[tuple[dict[str, str], float]]:
        return [({"cpu": name}, float(value / scale)) for name, value in zip(names, values, strict=True)]

    modes: list[tuple[dict[str, str], float]] = [
        ({"cpu": name, "mode": mode}, float(cpus[field][cpu] / NS))
        for cpu, name in enumerate(names)
        for mode, field in MODES.items()
    ]
    return [
        Metric("node_cpu_seconds", "Seconds the CPUs spent in each mode.", modes),
        Metric("node_context_switches", "Context switches.", [({}, float(rq["nr_switches"].sum()))]),
        Metric("node_schedstat_running_seconds", "Seconds spent running processes.", of_cpus(rq["rq_cpu_time_ns"])),
        Metric("node_schedstat_waiting_seconds", "Seconds processes waited for this CPU.", of_cpus(rq["run_delay_ns"])),
        Metric("node_schedstat_timeslices", "Timeslices executed by the CPU.", of_cpus(rq["pcount"], 1)),
    ]


def vm_metrics(machine: Machine, world: World) -> list[Metric]:
    """What libvirt exporters say of VMs and vCPUs: time on CPUs, and time runnable without one."""
    tasks, total, entities = world["task_struct"], [], world["sched_entity"]
    on_cpu: list[tuple[dict[str, str], float]] = []
    delay: list[tuple[dict[str, str], float]] = []
    first = 0
    for vm in machine.scenario.expanded_vms:
        its = slice(first, first + vm.vcpus)
        ran_ns = entities["sum_exec_runtime_ns"][its]
        total.append(({"domain": vm.name}, float(ran_ns.sum() / NS)))
        for i in range(vm.vcpus):
            labels = {"domain": vm.name, "vcpu": str(i)}
            on_cpu.append((labels, float(ran_ns[i] / NS)))
            delay.append((labels, float(tasks["run_delay_ns"][first + i] / NS)))
        first += vm.vcpus
    return [
        Metric("libvirt_domain_info_cpu_time_seconds", "Time on CPUs of the VM's vCPUs.", total),
        Metric("libvirt_domain_vcpu_time_seconds", "Time on CPUs of each vCPU.", on_cpu),
        Metric("libvirt_domain_vcpu_delay_seconds", "Time each vCPU was runnable and waited for a CPU.", delay),
    ]
