"""One number for a policy: what it gains over the stock kernel, where no VM pays for it.

The number is the geometric mean over all cases and seeds of throughput over stock's, less one, in per cent. Harm is
paid for in the case where it is done: in a case in which a VM surely loses, not the VMs' total counts but that VM
alone, the worst of them if there are several. So nothing that is taken from one VM to give to another can be a gain,
and no weight says how much harm a gain is worth.

A VM surely loses if the mean of its change lies below `TOLERATED` with 99 % confidence (Student's t, one-sided, of the
logarithms of its ratios over seeds). With 99 % and a tolerated loss, a policy that changes nothing but the course of
chaos is seldom punished, and one that has a reason to harm always is.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.statistics import Array, Estimate, change, geometric_mean
from baselines.summary import Comparison

TOLERATED = -0.02
"""A VM whose loss cannot be told from this, or is less, is not harmed."""

CONFIDENCE = 0.99
DIGITS = 5
"""Of the ratios that a score is made of, so that a file of results holds all of it."""


@dataclass(frozen=True)
class CaseScore:
    """What a policy did in one case.

    Attributes:
        case: its name in the suite.
        scenario: what was changed for it.
        vms: names of its VMs.
        ratios: throughput over stock's, per seed; empty if the policy has no meaning on the host's kernel.
        vm_ratios: the same for every VM, shape (seeds, VMs).
    """

    case: str
    scenario: str
    vms: tuple[str, ...]
    ratios: Array
    vm_ratios: Array

    @property
    def change_of_all(self) -> float:
        """Of the throughput of all VMs."""
        return float(geometric_mean(self.ratios)) - 1.0

    @functools.cached_property
    def vm_changes(self) -> Array:
        """Of each VM's throughput, over all seeds."""
        return geometric_mean(self.vm_ratios, axis=0) - 1.0

    @functools.cached_property
    def harmed(self) -> tuple[int, ...]:
        """The VMs that surely lose, the worst first."""
        found = np.flatnonzero(upper_ends(self.vm_ratios) < TOLERATED)
        return tuple(sorted((int(vm) for vm in found), key=lambda vm: self.vm_changes[vm]))

    @property
    def worst_vm(self) -> int:
        """The VM that does worst, surely or not."""
        return int(np.argmin(self.vm_changes))

    @property
    def counted(self) -> Array:
        """The ratios that the case counts with: its own, or those of the VM that is harmed most."""
        return self.vm_ratios[:, self.harmed[0]] if self.harmed else self.ratios


def t_quantile(confidence: float, samples: int) -> float:
    """Quantile of Student's t for the mean of some samples.

    With t = tan(a) * sqrt(n - 1), the density of a is proportional to cos(a) ** (n - 2).
    """
    angles = np.linspace(-math.pi / 2, math.pi / 2, 200_001)
    mass = np.cumsum(np.maximum(np.cos(angles), 0.0) ** (samples - 2))
    return math.sqrt(samples - 1) * math.tan(float(np.interp(confidence, mass / mass[-1], angles)))


def upper_ends(vm_ratios: Array) -> Array:
    """For each VM the change below which its mean change lies with `CONFIDENCE`."""
    logs = np.log(vm_ratios)
    seeds = len(logs)
    spread = logs.std(axis=0, ddof=1) / math.sqrt(seeds)
    return np.exp(logs.mean(axis=0) + t_quantile(CONFIDENCE, seeds) * spread) - 1.0


@dataclass(frozen=True)
class Total:
    """A policy's score over some cases, each counting alike; 0.05 for +5 %."""

    cases: Sequence[CaseScore]

    @functools.cached_property
    def score(self) -> float:
        """With the penalty for harm."""
        return _mean_change([case.counted for case in self.cases])

    @functools.cached_property
    def interval(self) -> Estimate:
        """The score and its 95 % interval over seeds."""
        return change([case.counted for case in self.cases])

    @functools.cached_property
    def gain(self) -> float:
        """Without the penalty."""
        return _mean_change([case.ratios for case in self.cases])

    @property
    def penalty(self) -> float:
        """What harm costs."""
        return self.gain - self.score

    @property
    def harmed(self) -> list[CaseScore]:
        """Cases in which a VM surely loses."""
        return [case for case in self.cases if case.harmed]

    @property
    def worst(self) -> CaseScore:
        """The case of the VM that does worst of all."""
        return min(self.cases, key=lambda case: float(case.vm_changes.min()))

    @property
    def worst_vm_change(self) -> float:
        """Of that VM."""
        return float(self.worst.vm_changes.min())


def _mean_change(strata: Sequence[Array]) -> float:
    return float(geometric_mean(np.concatenate(strata))) - 1.0


def case_score(comparison: Comparison) -> CaseScore:
    """What a comparison with stock comes to."""
    vms = comparison.cells[0]["vm_name"]
    ratios, vm_ratios = comparison.ratios.round(DIGITS), comparison.vm_ratios.round(DIGITS)
    return CaseScore(comparison.case.variant, comparison.scenario.name, tuple(vms), ratios, vm_ratios)


def no_change(case: Any, seeds: int) -> CaseScore:
    """A case that a policy leaves to stock, since it has no meaning on that kernel."""
    vms = tuple(vm.name for vm in case.scenario.expanded_vms)
    return CaseScore(case.variant, case.scenario.name, vms, np.ones(seeds), np.ones((seeds, len(vms))))
