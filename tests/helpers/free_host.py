"""Hosts with tasks that are no vCPUs and no costs, and what their traces say. Times are in ms."""

import itertools

from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario
from vcpu_env.trace.sched_events import SWITCH, WAKEUP, pids, simulate_tasks

MSEC = 1_000_000
FREE = dict.fromkeys(
    ("task_switch_ns", "task_yield_ns", "task_syscall_ns", "task_tick_ns", "task_ipi_ns", "wake_ns"), 0
)
EPOCH = 12
"""When the tasks of a worked example begin (ms): all are forked at 0 and sleep until then, so that V starts at 0."""


def ns(ms: float) -> int:
    return round(ms * MSEC)


def run(ms: float) -> dict:
    return {"run_ns": ns(ms)}


def sleep(ms: float) -> dict:
    return {"sleep_ns": ns(ms)}


FOREVER = run(1_000_000)


def task(name: str, *program: dict, **more) -> dict:
    return {"name": name, "timer_slack_ns": 0, "program": [sleep(EPOCH), *program, FOREVER], **more}


def host(*tasks: dict, **more) -> Scenario:
    settings = {"cpus": 1, "base_slice_ns": 2_800_000, "costs": FREE} | more
    return Scenario(name="worked", host=settings, host_tasks=tasks)


def switches(scenario: Scenario, ms: float) -> list[tuple[float, str]]:
    """(time, who runs then) of every switch from EPOCH on, times counted from there; "" is idle."""
    names = [*pids(scenario), ""]
    events = simulate_tasks(scenario, ns(EPOCH + ms))
    chosen = events[(events["event"] == SWITCH) & (events["time_ns"] >= ns(EPOCH))]
    return [(int(event["time_ns"] - ns(EPOCH)) / MSEC, names[event["next_pid"]]) for event in chosen]


def shares(scenario: Scenario, ms: float) -> dict[str, float]:
    """How long every task had the CPU (ms) from EPOCH on."""
    ran: dict[str, float] = {}
    changes = [*switches(scenario, ms), (ms, "")]
    for (begin, name), (end, _) in itertools.pairwise(changes):
        ran[name] = ran.get(name, 0) + end - begin
    return {name: round(time, 6) for name, time in ran.items()}


def count(scenario: Scenario, ms: float, name: str, seed: int = 0) -> dict:
    machine = Machine(scenario, "stock", seed)
    machine.run_until(ns(ms))
    return next(counted for counted in machine.counters()["host_tasks"] if counted["name"] == name)


def wakeups(scenario: Scenario, name: str, ms: float) -> list[float]:
    events = simulate_tasks(scenario, ns(ms))
    mine = (events["event"] == WAKEUP) & (events["next_pid"] == pids(scenario).index(name))
    return [time / MSEC for time in events["time_ns"][mine].tolist()]
