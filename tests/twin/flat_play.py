"""Random scenarios of v7.3 on one CPU, played by the twin; its state after each step."""

from collections.abc import Iterator
from random import Random

from .flat import Rq
from .random_scenario import random_scenario

MODES = ("up", "smp", "concur", "max")


def random_flat_scenario(rng: Random, ops: int) -> dict:
    """A scenario for `play`, with slices of their own. The running task is guessed: of v6.19's twin."""
    scenario = random_scenario(rng, ops, features=True)
    scenario |= {"cgroup_mode": rng.choice(MODES), "groups": [g | {"idle": False} for g in scenario["groups"]]}
    scenario["tasks"] = [task | {"slice_ns": rng.choice([0, 0, 0, 500_000, 8_000_000])} for task in scenario["tasks"]]
    return scenario | {"features": scenario["features"] | {"PREEMPT_SHORT": rng.choice([1, 1, 0])}}


def act(rq: Rq, op: dict) -> None:
    """One operation, and the reschedule that follows."""
    name, task = op["op"], rq.tasks.get(op.get("task"))
    if name in ("block", "yield", "yield_to") and rq.curr is not task:
        return
    must = name in ("block", "yield")
    if name == "wake":
        rq.wake(task, bool(op.get("sync")))
    elif name == "fork":
        rq.fork(task)
    elif name == "block":
        task.state = "parked" if op.get("special") else "sleeping"
    elif name == "yield":
        rq.yields()
    elif name == "yield_to":
        must = rq.yield_to(rq.tasks[op["to"]]) == 1
    elif name == "renice":
        rq.renice(task, op["nice"])
    elif name == "shares":
        rq.set_shares(rq.groups[op["group"]], op["weight"])
    if must or rq.resched or rq.resched_lazy:
        rq.schedule()


def state(rq: Rq) -> dict:
    """What is compared: who runs, and of every task where it stands."""
    found: dict = {"curr": rq.curr.name if rq.curr else "idle", "next": rq.buddy.name if rq.buddy else None}
    for task in rq.tasks.values():
        facts = {"v": task.v, "d": task.d, "queued": task.queued, "delayed": task.delayed, "h_load": task.h_load}
        facts |= {"lag": task.lag if not task.queued or task.delayed else None, "ran": task.ran, "slice": task.slice}
        found[task.name] = facts | {"vprot": task.vprot if task is rq.curr and task.queued else None}
    return found


def play(scenario: dict) -> Iterator[dict]:
    """The state after every operation."""
    rq, ticks, period = Rq(scenario), 0, 1_000_000_000 // scenario["hz"]
    for op in scenario["ops"]:
        while (ticks + 1) * period <= op["t"]:
            ticks += 1
            rq.now = ticks * period
            rq.tick()
            if rq.resched or rq.resched_lazy:
                rq.schedule()
        rq.now = op["t"]
        act(rq, op)
        yield state(rq)
