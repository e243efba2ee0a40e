"""All policies by name."""

import difflib

from vcpu_env.base.errors import InputError
from vcpu_env.policy.distilled import DISTILLED
from vcpu_env.policy.oracles import ORACLES
from vcpu_env.policy.policy import SERIES_PATCHES, Policy
from vcpu_env.policy.rivals import RIVALS
from vcpu_env.policy.series import (
    ALTERNATIVES,
    AS_DESCRIBED,
    FUTURE_WORK,
    SERIES,
    STOCK_KERNELS,
    V3_SERIES,
    series,
    series_level,
)

__all__ = ["POLICIES", "SERIES_PATCHES", "Policy", "policy_named", "series", "series_level"]

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        *STOCK_KERNELS,
        *SERIES,
        *V3_SERIES,
        *AS_DESCRIBED,
        *FUTURE_WORK,
        *ALTERNATIVES,
        *RIVALS,
        *DISTILLED,
        *ORACLES,
    )
}


def policy_named(name: str) -> Policy:
    """The policy of this name.

    Raises:
        ValueError: there is none.

    Example:
        >>> from vcpu_env import policy_named
        >>> sorted(policy_named("series-v2").patches)
        [1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> policy_named("stok")
        Traceback (most recent call last):
        vcpu_env.base.errors.InputError: policy: value 'stok' (did you mean 'stock' or 'stock-6.13' or 'stock-6.12'?)
    """
    if name not in POLICIES:
        close = difflib.get_close_matches(name, POLICIES, n=3, cutoff=0.5)
        hint = " or ".join(f"'{other}'" for other in close)
        allowed = f"did you mean {hint}?" if close else f"allowed: {', '.join(POLICIES)}"
        raise InputError(f"policy: value '{name}' ({allowed})")
    return POLICIES[name]
