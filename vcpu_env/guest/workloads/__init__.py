"""The workloads: guest programs with their parameters and where each number comes from.

A parameter's tag says what it rests on: *measured* (counted or timed on a 2-vCPU KVM guest running the real program),
*published* (read in the program's source or run configuration), *fitted* (chosen so that the one-VM run without
overcommit shows a measured rate) or *assumed*. Nothing is fitted to results under overcommit or to the gain of any
policy. The micro-benchmarks stand for no real program: each is there for one mechanism, and its numbers are chosen
so that this mechanism, and no other, costs much.
"""

from vcpu_env.base.errors import InputError
from vcpu_env.guest.workloads import blackscholes, dbench, dedup, ferret, kbuild, micro, vips
from vcpu_env.guest.workloads.workload import Parameter, Workload

__all__ = ["APPLICATIONS", "MICRO", "WORKLOADS", "Parameter", "Workload", "workload_parameters"]

APPLICATIONS = {module.WORKLOAD.name: module.WORKLOAD for module in (dbench, dedup, vips, ferret, kbuild, blackscholes)}
"""Models of real programs."""

MICRO = {workload.name: workload for workload in micro.WORKLOADS}
"""One mechanism each."""

WORKLOADS = APPLICATIONS | MICRO


def workload_parameters(name: str, overrides: dict[str, float]) -> dict[str, float]:
    """The parameters of a workload, some of them overridden.

    Raises:
        ValueError: unknown workload or parameter, or a value that the parameter can't have.
    """
    if name not in WORKLOADS:
        raise InputError(f"workload: value '{name}' (allowed: {', '.join(WORKLOADS)})")
    defaults = WORKLOADS[name].parameters
    for key, value in overrides.items():
        if key not in defaults:
            raise InputError(f"params.{key}: unknown parameter of {name} (allowed: {', '.join(defaults)})")
        if allowed := defaults[key].refuse(value):
            raise InputError(f"params.{key}: value {value} (allowed: {allowed})")
    return {key: overrides.get(key, parameter.value) for key, parameter in defaults.items()}
