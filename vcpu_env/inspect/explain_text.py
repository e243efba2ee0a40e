"""An explanation in words."""

from collections.abc import Iterator
from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.inspect.network import network_lines

VERDICTS = {
    "not_ready": "not ready: it runs, or sleeps",
    "halted": "halted, and nothing to wake up for",
    "refused": "refused by the filter",
    "relaxed": "refused by the filter; preempted, so a relaxed second round would take it",
    "spinning": "passes, but spins itself: passed by this time",
    "good": "good",
}
NO_PENALTY = {
    "disabled": "the debooster is off",
    "rate_limit": "the limiter let none pass (one in 6 ms a CPU)",
    "not_same_rq": "the target waits on another run queue",
    "lca": "nobody else competes at the lowest common queue",
    "wrap": "the vruntime would have wrapped",
}
IDLE_NAME = "nobody (idle)"


def duration(ns: int | None) -> str:
    """A time for people."""
    if ns is None:
        return "not in the time followed"
    size = abs(ns)
    if size < 1_000:
        return f"{ns} ns"
    return f"{ns / 1e3:.1f} us" if size < 1_000_000 else f"{ns / 1e6:.2f} ms"


def text(told: dict[str, Any]) -> str:
    """The whole explanation."""
    return "\n".join(lines(told)) + "\n"


def lines(told: dict[str, Any]) -> Iterator[str]:
    """Line by line."""
    names = told["names"]
    yield (
        f"yield {told['yield']} of {told['scenario']} under {told['policy']}, seed {told['seed']}, "
        f"Linux {told['kernel']}, at {told['time_ns'] / 1e6:.6f} ms"
    )
    yield ""
    yield from spinner_lines(told)
    yield ""
    wanted = ", preempted in kernel mode wanted" if told["kernel_mode_wanted"] else ""
    yield f"The scan{wanted} (filter of {told['filter']}):"
    for row in told["siblings"]:
        yield from sibling_lines(row, names, told["waits_for"]["awaited"])
    yield ""
    yield from outcome_lines(told, told)
    for name, other in told["against"].items():
        changed = [
            f"{names[v]} {verdict}" for v, verdict in other["verdicts"].items() if verdict != verdict_of(told, v)
        ]
        yield ""
        yield f"From the same state under {name} (filter of {other['filter']}):"
        if changed:
            yield f"  the scan differs: {', '.join(changed)}"
        yield from (f"  {line}" for line in outcome_lines(other, told))


def verdict_of(told: dict[str, Any], v: int) -> str | None:
    """What the scan made of a vCPU under the explained policy."""
    return next((row["verdict"] for row in told["siblings"] if row["vcpu"] == v), None)


def spinner_lines(told: dict[str, Any]) -> Iterator[str]:
    """Who spins, on what, since when, and whom it waits for."""
    names, waits = told["names"], told["waits_for"]
    what = f"{waits['lock']} ({waits['lock_kind']})" if "lock" in waits else "answers to a call"
    yield (
        f"{names[told['vcpu']]} on CPU {told['cpu']} spins for {what} in {waits['thread']}, first PAUSE exit of this "
        f"spell {duration(waits['since_ns'])} ago, next PLE window {duration(told['ple_window_ns'])}."
    )
    if "lock" not in waits:
        for one in waits["unanswered"]:
            yield f"  {names[one['vcpu']]} has not answered: {place(one)}"
    elif waits["holder"]:
        yield f"  {names[waits['holder']['vcpu']]} holds it ({waits['holder']['thread']}): {place(waits['holder'])}"
    else:
        yield "  nobody holds it: it is free for whoever is first in its queue, or held by readers"
    awaited = waits["awaited"]
    yield f"  It really waits for {names[awaited]}." if awaited != NIL else "  It waits for no other vCPU any more."


def place(row: dict[str, Any]) -> str:
    """Where a vCPU is."""
    since = "" if row["off_cpu_ns"] is None else f" for {duration(row['off_cpu_ns'])}"
    return f"{row['state']}{since}, CPU {row['cpu']}"


def sibling_lines(row: dict[str, Any], names: list[str], awaited: int) -> Iterator[str]:
    """One sibling: verdict, the values behind it, and where it is not eligible."""
    mark = "  <- awaited" if row["vcpu"] == awaited else ""
    said = VERDICTS[row["verdict"]]
    read = ", ".join(f"{name}={value}" for name, value in row["tests"].items() if value)
    yield f"  {row['vcpu_idx']:3} {names[row['vcpu']]:15} {place(row):40} {said} ({read or 'all 0'}){mark}"
    behind = [f"{level['entity']} in {level['queue']} {duration(level['lag_ns'])}" for level in row["levels"]]
    short = [level["entity"] for level in row["levels"] if not level["eligible"]]
    if behind and row["verdict"] in ("good", "relaxed", "spinning"):
        verdict = f"not eligible: {', '.join(short)}" if short else "eligible on every level"
        yield f"{'':20} {verdict}; lag: {', '.join(behind)}"


def outcome_lines(policy: dict[str, Any], told: dict[str, Any]) -> Iterator[str]:
    """What a policy said, what yield_to() did, who ran next."""
    names, came, network = [*told["names"], IDLE_NAME], policy["outcome"], policy["network"]
    if network:
        yield from network_lines(network, names)
    yield answer_line(came, names, "network" if network and network["asked"] else "rule")
    for target, ret in came["attempts"]:
        if ret <= 0:
            why = "both CPUs have one task only" if ret < 0 else "it runs, sleeps or is throttled by now"
            yield f"  yield_to({names[target]}) fails: {why}."
    if "yield_to" not in came:
        yield "  No directed yield comes of it."
    else:
        yield from yield_lines(came, names, policy["hit"])
    if came["spinner_keeps_cpu"]:
        yield f"  CPU {told['cpu']}: the spinner keeps it."
    else:
        yield f"  CPU {told['cpu']}: {names[came['next_on_spinners_cpu']]} runs next."
    yield f"  The spinner computes again after: {duration(came['spinner_served_after_ns'])}."


def answer_line(came: dict[str, Any], names: list[str], who: str) -> str:
    """Whom the rule, or the network, wants."""
    answer = came["answer"]
    if answer["kind"] == "nobody":
        return f"The {who} wants nobody."
    boost = "" if answer["boost"] == "rule" else f", with boost {answer['boost']}"
    if answer["kind"] == "as_kernel":
        return f"The kernel's loop takes the first good one{boost}."
    return f"The {who} takes {names[answer['vcpu']]}{boost}."


def yield_lines(came: dict[str, Any], names: list[str], was_hit: bool) -> Iterator[str]:
    """A yield_to() that succeeded."""
    done = came["yield_to"]
    target = names[done["target"]]
    where = "the spinner's own CPU" if done["same_run_queue"] else f"CPU {done['target_cpu']}"
    able = "eligible" if done["chain_lag_ns"] >= 0 else f"not eligible by {duration(-done['chain_lag_ns'])}"
    yield f"  yield_to({target}): it waits on {where} for {duration(done['waited_ns'])}, {able}. {hit_words(was_hit)}"
    if done["penalty_ns"]:
        yield f"  The spinner pays {duration(done['penalty_ns'])} of virtual time."
    elif done["no_penalty_because"]:
        yield f"  No penalty: {NO_PENALTY[done['no_penalty_because']]}."
    if done["credit_ns"]:
        yield f"  The target is credited with {duration(done['credit_ns'])}."
    if done["ran_next"]:
        yield f"  The hint is kept: {target} runs next, after {duration(came['target_runs_after_ns'])}."
    elif done["ran_next"] is None:
        yield f"  Another yield took the hint's place; {target} runs after: {duration(came['target_runs_after_ns'])}."
    else:
        other = names[came["next_on_targets_cpu"]]
        yield f"  The hint is lost: {other} runs; {target} runs after: {duration(came['target_runs_after_ns'])}."


def hit_words(was_hit: bool) -> str:
    """Whether it was the right one."""
    return "It is the one waited for: a hit." if was_hit else "It is not the one waited for: a miss."
