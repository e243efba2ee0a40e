"""Replay of recorded calls of the many-CPU scheduler's functions: a header, then a call with its outputs a line."""

from collections.abc import Callable, Iterator
from typing import Any

from vcpu_env.trace.smp_functions import SmpFunctions
from vcpu_env.trace.smp_host import cpus_of_header
from vcpu_env.trace.smp_states import SmpStates


def checkers(header: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """What recomputes each function's outputs, on the host that the header describes."""
    if "cpus" in header:
        return SmpStates(cpus_of_header(header)).calls
    return SmpFunctions().calls


def check_smp_functions(lines: list[dict[str, Any]]) -> Iterator[tuple[int, str, str, Any, Any]]:
    """Recompute every call; yields (line, function, name, recorded value, own value) of what differs.

    Raises:
        ValueError: a line is no call of a known function.
    """
    calls = checkers(lines[0]["header"])
    for number, call in enumerate(lines[1:], start=2):
        function = "domains" if "domains" in call else call.get("fn")
        if function not in calls:
            raise ValueError(f"line {number}: fn: value {function!r} (allowed: {', '.join(calls)})")
        for name, own in calls[function](call).items():
            if call.get(name) != own:
                yield number, function, name, call.get(name), own
