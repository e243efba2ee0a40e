"""Scripted KVM scenarios: which ops there are, what each takes, and the check that a scenario can be played.

A scenario is a dict ``{name, n, mode: "base" | "v2", ipi_tracking, ipi_window_ns, relaxed, ops: [{t, op, ...}]}`` over
one VM with `n` vCPUs, times in ns.
"""

from collections.abc import Callable
from typing import Any

from vcpu_env.kvm import ipi

Check = tuple[str, Callable[[Any, int], bool]]

FLAG: Check = ("0 or 1", lambda x, n: isinstance(x, int) and x in (0, 1))
VCPU: Check = ("the index of a vCPU, 0 to n - 1", lambda x, n: type(x) is int and 0 <= x < n)
VCPUS: Check = ("a list of vCPU indices", lambda x, n: isinstance(x, list) and all(VCPU[1](i, n) for i in x))
TIME: Check = ("nanoseconds, 0 or more", lambda x, n: type(x) is int and x >= 0)
RESULT: Check = ("1, 0 or -3", lambda x, n: type(x) is int and x in (1, 0, -3))
RESULTS: Check = (
    "{vCPU index as a string: non-empty list of 1, 0 or -3}",
    lambda x, n: (
        isinstance(x, dict)
        and all(str(i).isdecimal() and int(i) < n for i in x)
        and all(isinstance(rets, list) and rets and all(RESULT[1](ret, n) for ret in rets) for rets in x.values())
    ),
)


def one_of(*names: str) -> Check:
    """The check of a choice among names."""
    return ", ".join(repr(name) for name in names), lambda x, n: x in names


MODES = {
    "fixed": ipi.APIC_DM_FIXED,
    "lowest": ipi.APIC_DM_LOWEST,
    "smi": ipi.APIC_DM_SMI,
    "nmi": ipi.APIC_DM_NMI,
    "init": ipi.APIC_DM_INIT,
}
SHORTHANDS = {
    "none": ipi.APIC_DEST_NOSHORT,
    "self": ipi.APIC_DEST_SELF,
    "all": ipi.APIC_DEST_ALLINC,
    "others": ipi.APIC_DEST_ALLBUT,
}
SETTABLE = {
    "ready": "ready",
    "preempted": "preempted",
    "in_kernel": "preempted_in_kernel",
    "blocking": "blocking",
    "in_spin_loop": "in_spin_loop",
    "dy_eligible": "dy_eligible",
    "apicv": "apicv",
    "apic_enabled": "apic_enabled",
    "pir": "pir_pending",
    "event": "event",
    "nmi": "nmi",
    "pv_unhalted": "pv_unhalted",
    "async_pf": "async_pf",
    "pid_busy": "pid_busy",
    "no_task": "no_task",
}
"""What `set` may set, and the field of `kvm_vcpu` it is."""

SCENARIO: dict[str, Check] = {
    "n": ("1 to 64 (vCPUs)", lambda x, n: type(x) is int and 1 <= x <= 64),
    "mode": one_of("base", "v2"),
    "ipi_tracking": FLAG,
    "ipi_window_ns": TIME,
    "relaxed": FLAG,
}
REQUIRED: dict[str, dict[str, Check]] = {
    "on_spin": {"me": VCPU},
    "resume": {"me": VCPU},
    "pv_yield": {"me": VCPU, "to": VCPU},
    "send_ipi": {"src": VCPU, "dst": VCPUS},
    "eoi": {"vcpu": VCPU},
    "reset": {"vcpu": VCPU},
    "query": {"sender": VCPU, "receiver": VCPU},
    "param": {},
    "set": {"vcpu": VCPU},
    "sched_out": {"vcpu": VCPU},
    "sched_in": {"vcpu": VCPU},
    "wake": {"vcpu": VCPU},
}
OPTIONAL: dict[str, dict[str, Check]] = {
    "on_spin": {"kernel": FLAG, "yr": RESULTS, "park": FLAG},
    "pv_yield": {"alone": FLAG},
    "send_ipi": {
        "mode": one_of(*MODES),
        "shorthand": one_of(*SHORTHANDS),
        "path": one_of("fast", "slow"),
        "from": one_of("lapic", "device"),
        "pv": FLAG,
    },
    "eoi": {"pv": FLAG},
    "reset": {"full": FLAG},
    "param": {"track": FLAG, "window": TIME, "relaxed": FLAG},
    "set": {**{name: FLAG for name in SETTABLE}, "yield_ret": RESULT},
    "sched_out": {"runnable": FLAG, "cpl": ("0 to 3", lambda x, n: type(x) is int and 0 <= x <= 3), "wants": FLAG},
}


def _check_fields(where: str, given: dict, required: dict[str, Check], optional: dict[str, Check], n: int) -> None:
    allowed = required | optional
    for field in required:
        if field not in given:
            raise ValueError(f"{where}: {field} is missing; it must be {required[field][0]}")
    for field, value in given.items():
        if field not in allowed:
            raise ValueError(f"{where}: field {field}={value!r} is unknown; allowed: {', '.join(allowed)}")
        meaning, valid = allowed[field]
        if not valid(value, n):
            raise ValueError(f"{where}: {field}={value!r} is not allowed; it must be {meaning} (n = {n})")


def check_scenario(scenario: dict) -> None:
    """Raise ValueError, naming field, value and what is allowed, unless `scenario` can be played."""
    given = {key: value for key, value in scenario.items() if key not in ("name", "ops")}
    n = scenario.get("n", 0)
    _check_fields("scenario", given, SCENARIO, {}, n)
    ops = scenario.get("ops")
    if not isinstance(ops, list):
        raise ValueError(f"scenario: ops={ops!r} is not allowed; it must be a list of ops")
    before = 0
    for i, op in enumerate(ops):
        name = op.get("op")
        if name not in REQUIRED:
            raise ValueError(f"ops[{i}]: op={name!r} is unknown; allowed: {', '.join(REQUIRED)}")
        args = {key: value for key, value in op.items() if key != "op"}
        _check_fields(f"ops[{i}] ({name})", args, {"t": TIME} | REQUIRED[name], OPTIONAL.get(name, {}), n)
        if op["t"] < before:
            raise ValueError(
                f"ops[{i}] ({name}): t={op['t']} is not allowed; it must be at least {before}, the op before"
            )
        before = op["t"]
