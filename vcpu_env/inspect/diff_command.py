"""What ``vcpu-env diff`` does: find where two policies part, say what each did, and how the runs go on."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from vcpu_env.inspect.request import RunRequest, one_by_one
from vcpu_env.scenario.errors import InputError


def diff_policies(request: RunRequest, names: Sequence[str], as_json: bool) -> None:
    """Compare two policies on one run.

    Raises:
        ValueError: naming the field.
    """
    if len(names) != 2:
        raise InputError(f"--policy: given {len(names)} times (allowed: twice)")
    one, other = (one_by_one(name, "--policy") for name in names)
    machines = [request.machine(policy) for policy in (one, other)]
    told: dict[str, Any] = {"scenario": request.scenario.name, "kernel": request.scenario.host.kernel}
    told |= {"seed": request.seed, "policies": [one.name, other.name]}
    from vcpu_env.inspect.diff import development, part

    for machine in machines:
        machine.run_until(min(request.scenario.policy_from_ns, request.end_ns))
    starts = [machine.fork() for machine in machines]
    parted = part(machines[0], machines[1], request.end_ns)
    if parted is None:
        told["parted"] = None
    else:
        told["parted"] = {"time_ns": parted.time_ns, "yield": parted.number, "at_decision": parted.at_decision}
        if parted.number:
            told["explained"] = explained(starts, parted.number, request.end_ns)
        told["development"] = development(machines[0], machines[1], parted.time_ns, request.end_ns)
    print(json.dumps(told) if as_json else "\n".join(lines(told)))


def explained(starts: Sequence[Any], number: int, end_ns: int) -> dict[str, Any]:
    """The decision under the first policy, and beside it what the second one makes of it in its own run."""
    from vcpu_env.inspect.explain import explain, hit
    from vcpu_env.inspect.explain_command import by_number

    one, other = (explain(by_number(m.fork(), number, end_ns), m.policy_name) for m in starts)
    there = {name: other[name] for name in ("filter", "network", "outcome", "hit")}
    there["verdicts"] = {row["vcpu"]: row["verdict"] for row in other["siblings"]}
    there["hit"] = hit(other["outcome"], other["waits_for"]["awaited"])
    return one | {"against": {other["policy"]: there}}


def lines(told: dict[str, Any]) -> Iterator[str]:
    """The comparison in words."""
    from vcpu_env.inspect.explain_text import duration
    from vcpu_env.inspect.explain_text import lines as explained_lines

    one, other = told["policies"]
    where = f"{told['scenario']}, seed {told['seed']}, Linux {told['kernel']}"
    if told["parted"] is None:
        yield f"{one} and {other} never part in {where}: they do the same to the end."
        return
    parted = told["parted"]
    yield f"{one} and {other} part in {where}, at {parted['time_ns'] / 1e6:.6f} ms."
    if not parted["at_decision"]:
        what = "no decision has been taken so far" if not parted["yield"] else "the last decision before it is this one"
        yield f"No yield does it: what differs there is who gets a CPU; {what}."
    yield ""
    if "explained" in told:
        yield from explained_lines(told["explained"])
        yield ""
    yield f"{'since then':24} {one:>16} {other:>16}"
    for row in told["development"]:
        yield f"after {duration(row['after_ns'])}"
        for name in row["policies"][0]:
            values = (shown(name, counted[name]) for counted in row["policies"])
            yield f"  {name.removesuffix('_ns'):22} " + " ".join(f"{value:>16}" for value in values)


def shown(name: str, value: float) -> str:
    """A count, or a time in ms."""
    return f"{value / 1e6:,.2f} ms" if name.endswith("_ns") else f"{value:,.10g}"
