"""Policies by name: which patches of the series a host runs, and who answers the two decision points.

A policy is data. `stock` is v6.19 without the series; a set of patch numbers switches v2 on patch by patch. Patches 1-4
(fields and helpers that nobody calls), 6 and 7 (IPI state that nobody reads) change no decision.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vcpu_env.kvm.types import FILTER_BASE, FILTER_SERIES, TRACK_OFF, TRACK_V2
from vcpu_env.policy.rules import EXTERNAL, RULE_EXTERNAL, RULE_KERNEL, RULE_POINTER, Rule, rule_address
from vcpu_env.policy.types import DEBOOST_NONE, DEBOOST_V1, DEBOOST_V2
from vcpu_env.policy.view import YIELD_VIEW
from vcpu_env.world import World

SERIES_PATCHES = frozenset(range(1, 10))


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
    """

    name: str
    summary: str
    patches: frozenset[int] = frozenset()
    deboost_v1: bool = False
    target_rule: Rule | str | None = None
    penalty_rule: Rule | str | None = None
    settings: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(self.patches - SERIES_PATCHES)
        if unknown:
            raise ValueError(f"patches: value {unknown[0]} (allowed: 1..9)")
        if self.penalty_rule is not None and 5 not in self.patches:
            raise ValueError("penalty_rule: given (allowed: only with patch 5, which computes penalties)")

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
        for point, rule in (("target", self.target_rule), ("penalty", self.penalty_rule)):
            rules = world["decision_rules"]
            rules[f"{point}_rule"] = RULE_KERNEL if rule is None else RULE_POINTER
            if rule == EXTERNAL:
                rules[f"{point}_rule"] = RULE_EXTERNAL
            elif rule is not None:
                rules[f"{point}_address"] = rule_address(rule, YIELD_VIEW)
        for (struct, name), value in self.settings.items():
            world[struct][name] = value


def series(patches: Iterable[int], name: str = "", summary: str = "") -> Policy:
    """v2 with exactly these patches applied."""
    chosen = frozenset(patches)
    label = ",".join(map(str, sorted(chosen))) or "none"
    return Policy(name or f"series-v2-patches-{label}", summary or f"v2, patches {label}", chosen)


def series_level(level: int) -> Policy:
    """v2 up to and including a patch: level 0 is stock, level 9 the whole series.

    Raises:
        ValueError: no such level.
    """
    if not 0 <= level <= 9:
        raise ValueError(f"level: value {level} (allowed: 0..9)")
    return series(range(1, level + 1), f"series-v2-level-{level}", f"v2 up to patch {level}")


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("stock", "Linux v6.19: directed yield without the series"),
        series(range(1, 6), "debooster", "v2 patches 1-5: vruntime penalty at the lowest common cgroup"),
        series(range(6, 10), "ipi", "v2 patches 6-9: IPI-aware candidates and the relaxed round"),
        series(SERIES_PATCHES, "series-v2", "the whole v2 series"),
        replace(series(range(1, 6), "debooster-v1", "v1's debooster on the v6.19 base"), deboost_v1=True),
        *(series_level(level) for level in range(1, 10)),
    )
}


def policy_named(name: str) -> Policy:
    """The policy of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in POLICIES:
        raise ValueError(f"policy: value '{name}' (allowed: {', '.join(POLICIES)})")
    return POLICIES[name]
