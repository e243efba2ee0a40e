"""A policy: which patches of the series a host runs, which rules answer the two decision points, what else is set.

A policy is data. Patches 1-4 of v2 (fields and helpers that nobody calls), 6 and 7 (IPI state that nobody reads) change
no decision.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from vcpu_env.base.errors import InputError, shown
from vcpu_env.base.world import World
from vcpu_env.kernel.cpumask import allow
from vcpu_env.kernel.yield_types import DEBOOST_NONE, DEBOOST_V1, DEBOOST_V2
from vcpu_env.kvm.types import FILTER_BASE, FILTER_SERIES, TRACK_OFF, TRACK_V2
from vcpu_env.policy.rules import EXTERNAL, RULE_EXTERNAL, RULE_KERNEL, RULE_POINTER, Rule, rule_address
from vcpu_env.policy.view import YIELD_VIEW

SERIES_PATCHES = frozenset(range(1, 10))
KERNELS = frozenset(("6.19", "7.3"))


@dataclass(frozen=True)
class Search:
    """Trying answers on copies of the machine, see `vcpu_env.engine.search`.

    Attributes:
        boosts: what every candidate is tried with, as (BOOST_*, penalty scale).
        horizon_ns: how far each try is followed.
        every_ns: time between decisions that are searched; in between the policy's own rule answers.
    """

    boosts: tuple[tuple[int, float], ...]
    horizon_ns: int = 200_000
    every_ns: int = 50_000


def check_names(name: str, summary: str) -> None:
    """Refuse names and summaries that tables, files and pages cannot hold.

    Raises:
        ValueError: naming the field.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+:-]{0,63}", name):
        raise InputError(f"name: value {shown(name)} (allowed: up to 64 letters, digits, '_', '.', '+', ':', '-')")
    if not isinstance(summary, str) or not (summary == "" or summary.isprintable()) or len(summary) > 1000:
        raise InputError(f"summary: value {shown(summary)} (allowed: one line of text)")


@dataclass(frozen=True)
class Policy:
    """What a host does when a vCPU spins.

    Attributes:
        name: as in tables and on the command line.
        summary: one line.
        patches: patches of the series, v2, that are applied (1..9).
        deboost_v1: the debooster of v1 instead of v2's, if patch 5 is applied.
        target_rule: who chooses whom to yield to: a function of the view (`policy.view`), EXTERNAL; None: the
            kernel's loop.
        penalty_rule: who chooses the yielder's penalty (patch 5 applied), likewise; None: the series' formula.
        settings: fields of the world's structs to set, as (struct, field) -> value.
        keep_apart: every vCPU has a CPU of its own among its VM's and stays there (no more vCPUs a VM than CPUs).
        oracle: it uses what no host kernel can know: a ceiling, no policy.
        knobs: an oracle that turns the series' own two knobs only, hints and penalties: a ceiling of these.
        search: the rule is improved by search, an oracle.
        ported: what it does to run queues is v6.19's; on kernel 7.3 a port of this project stands for it. So it does
            if patch 5 is applied.
        kernels: the host kernels on which it has a meaning.
        source: where it comes from.
    """

    name: str
    summary: str
    patches: frozenset[int] = frozenset()
    deboost_v1: bool = False
    target_rule: Rule | str | None = None
    penalty_rule: Rule | str | None = None
    settings: dict[tuple[str, str], int] = field(default_factory=dict)
    keep_apart: bool = False
    oracle: bool = False
    knobs: bool = False
    search: Search | None = None
    ported: bool = False
    kernels: frozenset[str] = KERNELS
    source: str = ""

    def __post_init__(self) -> None:
        check_names(self.name, self.summary)
        unknown = sorted(self.patches - SERIES_PATCHES)
        if unknown:
            raise InputError(f"patches: value {unknown[0]} (allowed: 1..9)")
        if self.penalty_rule is not None and 5 not in self.patches:
            raise InputError("penalty_rule: given (allowed: only with patch 5, which computes penalties)")

    @property
    def on_7_3(self) -> str:
        """What it is on kernel 7.3: as it is on v6.19, a port of this project, or nothing."""
        if "7.3" not in self.kernels:
            return "no meaning"
        return "ported" if self.ported or 5 in self.patches else "as it is"

    def check_kernel(self, kernel: str) -> None:
        """Refuse a host kernel on which the policy has no meaning.

        Raises:
            ValueError: naming the policy and the kernels.
        """
        if kernel not in self.kernels:
            allowed = ", ".join(sorted(self.kernels))
            raise ValueError(f"policy: value '{self.name}' (allowed on host.kernel {allowed} only, not on {kernel})")

    def apply(self, world: World) -> None:
        """Set a world's parameters to this policy."""
        deboost = DEBOOST_NONE
        if 5 in self.patches:
            deboost = DEBOOST_V1 if self.deboost_v1 else DEBOOST_V2
        world["deboost_params"]["deboost"] = deboost
        params = world["kvm_params"]
        params["track"] = TRACK_V2 if {6, 7} <= self.patches else TRACK_OFF
        params["filter"] = FILTER_SERIES if 8 in self.patches else FILTER_BASE
        params["relaxed_round"] = 9 in self.patches
        rules = world["decision_rules"]
        for point, rule in (("target", self.target_rule), ("penalty", self.penalty_rule)):
            kinds: dict[Any, int] = {None: RULE_KERNEL, EXTERNAL: RULE_EXTERNAL}
            rules[f"{point}_rule"] = kinds.get(rule, RULE_POINTER)
        self.put_addresses(world)
        if self.search is not None:
            world["decision_rules"]["target_rule"] = RULE_EXTERNAL
        for (struct, name), value in self.settings.items():
            world[struct][name] = value
        if self.keep_apart:
            stay_apart(world)

    def put_addresses(self, world: World) -> None:
        """Tell a world, also one that comes from another process, where the code of the rules lies."""
        for point, rule in (("target", self.target_rule), ("penalty", self.penalty_rule)):
            if rule is not None and rule != EXTERNAL:
                world["decision_rules"][f"{point}_address"] = rule_address(rule, YIELD_VIEW, point)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Policy":
        return self  # a value


def stay_apart(world: World) -> None:
    """Let every vCPU thread run on one CPU only: where it was placed; of launched VMs, number i on CPU i."""
    nr_cpus = len(world["rq"])
    for p, vcpu in enumerate(world["kvm_vcpu"]):
        launched = world["guest_vm"]["launched"][vcpu["vm"]]
        index = p - world["kvm"]["first_vcpu"][vcpu["vm"]]
        allow(world, p, [int(index) % nr_cpus if launched else int(world["task_struct"]["cpu"][p])])
