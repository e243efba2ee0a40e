"""What ``vcpu-env explain`` does: find the decision, explain it, print it."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vcpu_env.inspect.request import RunRequest, moment, one_by_one
from vcpu_env.scenario.errors import InputError

if TYPE_CHECKING:
    from vcpu_env.machine import Machine


def explain_yield(
    request: RunRequest,
    policy: str,
    number: int | None,
    at_ms: float | None,
    vcpu: str | None,
    against: Sequence[str],
    as_json: bool,
) -> None:
    """Explain the `number`-th decision of a run, or the first one from `at_ms` on (of one vCPU).

    Raises:
        ValueError: naming the field; there is no such decision.
    """
    if (number is None) == (at_ms is None):
        raise InputError(f"--yield: {'missing' if number is None else 'given with --at'} (allowed: --yield or --at)")
    if vcpu is not None and at_ms is None:
        raise InputError("--vcpu: given with --yield (allowed: with --at)")
    own = one_by_one(policy, "--policy")
    others = [one_by_one(name, "--against") for names in against for name in names.split(",")]
    who = None if vcpu is None else request.vcpu(vcpu)
    at_ns = None if at_ms is None else moment("--at", at_ms, request.end_ns)
    machine = request.machine(own)
    stand = by_number(machine, number, request.end_ns) if number else by_time(machine, at_ns or 0, who, request.end_ns)
    from vcpu_env.inspect.explain import explain
    from vcpu_env.inspect.explain_text import text
    from vcpu_env.inspect.standing import policy_pending

    told = explain(stand, "stock" if policy_pending(stand) else own.name, others)
    print(json.dumps(told) if as_json else text(told), end="\n" if as_json else "")


def by_number(machine: "Machine", number: int, end_ns: int) -> "Machine":
    """The machine at its `number`-th decision.

    Raises:
        InputError: the run has not so many.
    """
    from vcpu_env.inspect.standing import decisions, stand_at

    stand = stand_at(machine, lambda m: decisions(m) == number, lambda m: decisions(m) >= number, end_ns)
    if stand is None:
        raise InputError(f"--yield: value {number} (allowed: 1..{decisions(machine)}, as many as the run has)")
    return stand


def by_time(machine: "Machine", at_ns: int, who: int | None, end_ns: int) -> "Machine":
    """The machine at its first decision from a moment on, of one vCPU or of any.

    Raises:
        InputError: there is none before the run ends.
    """
    from vcpu_env.inspect.standing import decisions, stand_at

    machine.run_until(max(0, at_ns - 1))
    before = decisions(machine)

    def wanted(m: "Machine") -> bool:
        return who is None or int(m.world["yield_view"]["vcpu"][0]) == who

    stand = stand_at(machine, wanted, lambda m: decisions(m) > before, end_ns)
    if stand is None:
        whom = "" if who is None else " of that vCPU"
        raise InputError(f"--at: value {at_ns / 1e6:g} (allowed: a time with a decision{whom} before the run ends)")
    return stand
