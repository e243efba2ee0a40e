"""How large a machine becomes, before it is made: what would fill the memory is refused in a line that says why."""

import os
from collections.abc import Iterable, Sequence

from vcpu_env.base.structs import StructArray
from vcpu_env.guest.plan import GuestPlan, program_ops
from vcpu_env.guest.types import guest_arrays

MIB = 1 << 20
DEFAULT_MAX_MIB = 1024
"""Room for 256 CPUs and 4096 vCPUs with a group each; the largest shipped scenario takes 23."""

VARIABLE = "VCPU_ENV_MAX_MIB"


def max_mib() -> int:
    """Largest machine in MiB: the variable, or the default.

    Raises:
        ValueError: the variable is no number of MiB.
    """
    text = os.environ.get(VARIABLE, str(DEFAULT_MAX_MIB))
    if not text.isascii() or not text.isdigit() or not int(text[:9]) >= 1 or len(text) > 9:
        raise ValueError(f"{VARIABLE}: value {text!r:.60} (allowed: MiB, 1..999999999)")
    return int(text)


def size_of(array: StructArray) -> int:
    """Bytes of a struct array."""
    return array.count * int(array.dtype.itemsize)


def check_size(scenario: str, arrays: Iterable[StructArray]) -> int:
    """Refuse a machine of too many bytes; returns how many it has.

    Raises:
        ValueError: with what makes it large, and how the limit is raised.
    """
    arrays = list(arrays)
    size, most = sum(map(size_of, arrays)), max(arrays, key=size_of)
    limit = max_mib()
    if size > limit * MIB:
        raise ValueError(
            f"scenario {scenario}: the machine takes {size / MIB:,.0f} MiB or more, {size_of(most) / MIB:,.0f} of them "
            f"for {most.count:,} structs {most.name} (allowed: {limit} MiB; {VARIABLE} sets the limit)"
        )
    return size


def guest_structs(guests: Sequence[GuestPlan]) -> list[StructArray]:
    """The struct arrays of these VMs' guests."""
    return guest_arrays(
        sum(guest.vcpus for guest in guests),
        sum(len(guest.programs) for guest in guests),
        sum(len(guest.lock_kinds) for guest in guests),
        sum(len(guest.queue_capacities) for guest in guests),
        sum(sum(program_ops(guest).values()) for guest in guests),
        len(guests),
    )
