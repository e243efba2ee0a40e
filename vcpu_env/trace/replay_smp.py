"""Replay of scenarios of many CPUs, held against what was recorded event by event, up to the first difference.

A trace (`smp_scenario`) names operations; ticks, timers and what follows from them happen in between (`smp_events`).
After a difference of what runs where, everything is another history, so the comparison ends there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vcpu_env.base.jit import call
from vcpu_env.base.timeline import NEVER, first_event
from vcpu_env.kernel.bandwidth import RUNTIME_INF
from vcpu_env.kernel.types import TASK_INTERRUPTIBLE, TASK_NEW, TASK_PARKED, WF_SYNC
from vcpu_env.trace import smp_events
from vcpu_env.trace.smp_scenario import EPOCH_NS, EVERY_TICK, SmpScenario, load_smp_scenario
from vcpu_env.trace.smp_state import Difference, States

Record = dict[str, Any]

NSEC_PER_USEC = 1000
EINVAL = 22
SPECIAL_STATE = TASK_PARKED
"""A state without delayed dequeue, for the recordings' TASK_FROZEN."""

HISTORY = ("curr", "cpu")
"""Fields after a difference of which nothing can be compared any more."""


@dataclass(frozen=True)
class SmpMismatch:
    """The first difference of a field: at which record, and how."""

    index: int
    t_ns: int
    event: str
    difference: Difference

    def __str__(self) -> str:
        return f"record {self.index} at {self.t_ns} ns ({self.event}): {self.difference}"


@dataclass(frozen=True)
class Event:
    """Something that has happened: a tick of a CPU or of all (CPU -1), a timer, or an operation and its results."""

    t_ns: int
    name: str
    cpu: int = -1
    results: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return self.name if self.cpu < 0 else f"{self.name} on CPU {self.cpu}"


class Player:
    """Plays one scenario; each `Event` of it has just happened when it is yielded."""

    def __init__(self, scenario: SmpScenario):
        self.scenario, self.world, self.w = scenario, scenario.world, scenario.world.handle
        self.tasks = self.world["task_struct"]

    def play(self, end_ns: int) -> Iterator[Event]:
        """All events up to and including `end_ns`: at one time ticks, then timers, then operations."""
        next_tick = self.scenario.tick_ns
        ops = [*self.scenario.ops, {"t": end_ns, "op": "end"}]
        for op in ops:
            while True:
                slot, timer_ns = self.next_timer()
                if next_tick <= min(timer_ns, op["t"]):
                    yield from self.ticks(next_tick)
                    next_tick += self.scenario.tick_ns
                elif timer_ns <= op["t"]:
                    yield self.timer(slot, timer_ns)
                else:
                    break
            yield self.operation(op)

    def next_timer(self) -> tuple[int, int]:
        """The slot of the timer that expires next, and when."""
        slot, when_ns = first_event(self.world)
        return slot, when_ns if when_ns == NEVER else when_ns - EPOCH_NS

    def ticks(self, t: int) -> Iterator[Event]:
        """The tick of every CPU."""
        if self.scenario.record == EVERY_TICK:
            for cpu in range(self.scenario.nr_cpus):
                call(smp_events.tick, self.w, cpu, EPOCH_NS + t)
                yield Event(t, "tick", cpu)
        else:
            call(smp_events.ticks, self.w, EPOCH_NS + t)
            yield Event(t, "tick")

    def timer(self, slot: int, t: int) -> Event:
        """A timer of bandwidth control."""
        groups = self.scenario.nr_groups + 1
        tg = slot % groups
        name = "period" if slot < groups else "slack"
        cpu = int(self.world["cfs_bandwidth"][f"{name}_cpu"][tg])
        call(smp_events.timer, self.w, slot, cpu, EPOCH_NS + t)
        return Event(t, f"{name}_timer", cpu)

    def operation(self, op: Record) -> Event:
        """One operation."""
        name = op["op"]
        if name == "end":
            return Event(op["t"], name)
        p = op.get("task", -1)
        if name in ("block", "exit", "yield", "yield_to") and not self.runs(p):
            return Event(op["t"], name, results=(("skip", 1),))
        if name != "fork" and p >= 0 and self.tasks["state"][p] == TASK_NEW:
            return Event(op["t"], name, results=(("ret", -1),))
        results = getattr(self, "do_" + name)(op, EPOCH_NS + op["t"])
        return Event(op["t"], name, results=tuple(results.items()))

    def runs(self, p: int) -> bool:
        """Whether a task has a CPU."""
        return int(self.world["rq"]["curr"][self.tasks["cpu"][p]]) == p

    def do_fork(self, op: Record, now_ns: int) -> dict[str, int]:
        call(smp_events.fork, self.w, op["task"], op["cpu"], now_ns)
        return {}

    def do_wake(self, op: Record, now_ns: int) -> dict[str, int]:
        flags = WF_SYNC if op["sync"] else 0
        return {"ret": call(smp_events.wake, self.w, op["task"], op["cpu"], flags, now_ns)}

    def do_block(self, op: Record, now_ns: int) -> dict[str, int]:
        state = SPECIAL_STATE if op.get("special") else TASK_INTERRUPTIBLE
        call(smp_events.block, self.w, op["task"], state, now_ns)
        return {}

    def do_exit(self, op: Record, now_ns: int) -> dict[str, int]:
        call(smp_events.exit_task, self.w, op["task"], now_ns)
        return {}

    def do_yield(self, op: Record, now_ns: int) -> dict[str, int]:
        call(smp_events.yield_cpu, self.w, op["task"], now_ns)
        return {}

    def do_yield_to(self, op: Record, now_ns: int) -> dict[str, int]:
        if self.tasks["state"][op["to"]] == TASK_NEW:
            return {"ret": -1}
        return {"ret": call(smp_events.yield_to, self.w, op["task"], op["to"], now_ns)}

    def do_renice(self, op: Record, now_ns: int) -> dict[str, int]:
        call(smp_events.renice, self.w, op["task"], op["nice"], now_ns)
        return {}

    def do_shares(self, op: Record, now_ns: int) -> dict[str, int]:
        call(smp_events.set_shares, self.w, op["group"], op["weight"] << 10, now_ns)
        return {}

    def do_aff(self, op: Record, now_ns: int) -> dict[str, int]:
        p, mask = op["task"], op["mask"]
        if self.runs(p) and not mask >> int(self.tasks["cpu"][p]) & 1:
            return {"skip": 1}
        call(smp_events.set_affinity, self.w, p, mask, now_ns)
        return {}

    def do_bw(self, op: Record, now_ns: int) -> dict[str, int]:
        if not self.schedulable(op):
            return {"ret": -EINVAL}
        quota_ns = op["quota_us"] * NSEC_PER_USEC if op["quota_us"] >= 0 else RUNTIME_INF
        period_ns, burst_ns = op["period_us"] * NSEC_PER_USEC, op["burst_us"] * NSEC_PER_USEC
        call(smp_events.set_bandwidth, self.w, op["group"], quota_ns, period_ns, burst_ns, op["cpu"], now_ns)
        return {"ret": 0}

    def schedulable(self, op: Record) -> bool:
        """core.c: __cfs_schedulable() under cgroup v1, as recorded: no group has more of a CPU than the one above."""
        pools, groups = self.world["cfs_bandwidth"], self.world["task_group"]
        shares: list[int | None] = [None]
        for tg in range(1, self.scenario.nr_groups + 1):
            quota_us, period_us = int(pools["quota_ns"][tg]) // NSEC_PER_USEC, int(pools["period_ns"][tg])
            period_us //= NSEC_PER_USEC
            if tg == op["group"]:
                quota_us, period_us = op["quota_us"], op["period_us"]
            above = shares[int(groups["parent"][tg])]
            own = above if quota_us < 0 else (quota_us << 20) // period_us
            if own is not None and above is not None and own > above:
                return False
            shares.append(own)
        return True

    def do_balance(self, op: Record, now_ns: int) -> dict[str, int]:
        sd = self.domain_of(op)
        return {"ret": call(smp_events.balance, self.w, op["cpu"], sd, now_ns)}

    def do_setfailed(self, op: Record, now_ns: int) -> dict[str, int]:
        self.world["sched_domain"]["nr_balance_failed"][self.domain_of(op)] = op["failed"]
        return {}

    def domain_of(self, op: Record) -> int:
        """The domain that an operation names."""
        chain = self.scenario.levels[op["cpu"]]
        if op["level"] >= len(chain):
            raise ValueError(f"{op['op']}.level: value {op['level']} (allowed: below {len(chain)} on CPU {op['cpu']})")
        return chain[op["level"]]


class Comparison:
    """Holds a player against a trace's records.

    Args:
        scenario: to be played; its world is used up.
        soft: also note differences of what an exact kernel may have differently.
        force: after each record set the load averages to the recorded ones.
    """

    def __init__(self, scenario: SmpScenario, soft: bool = False, force: bool = False):
        self.player, self.states = Player(scenario), States(scenario)
        self.soft, self.force = soft, force
        self.found: dict[str, SmpMismatch] = {}
        self.reached = 0

    def run(self, records: list[Record]) -> list[SmpMismatch]:
        """The first difference of every field up to the first that makes another history; in order of time."""
        goes_on, at = self.agrees(records[0], Event(0, "init")), 1
        for event in self.player.play(records[-1]["t"]):
            if at == len(records) or not goes_on:
                break
            if self.recorded(event, records[at]):
                goes_on = self.agrees(records[at], event)
                at += 1
        if goes_on and at < len(records):
            self.note(records[at], Difference("-", "the trace", "records", len(records), self.reached))
        return list(self.found.values())

    def recorded(self, event: Event, record: Record) -> bool:
        """Whether a record is about this event. Ticks at which nothing happened, and the end, may have none."""
        if event.name not in ("tick", "end"):
            return True
        same_cpu = event.cpu < 0 or event.cpu == record.get("cpu")
        return (event.t_ns, event.name) == (record["t"], record["ev"]) and same_cpu

    def agrees(self, record: Record, event: Event) -> bool:
        """Compare one record; returns whether what follows can be compared as well."""
        self.reached += 1
        self.states.apply(record)
        if (record["t"], record["ev"]) != (event.t_ns, event.name):
            self.note(record, Difference("-", "the trace", "event", record["ev"], f"{event} at {event.t_ns} ns"))
            return False
        if event.name.endswith("_timer") and event.cpu != record["cpu"]:
            self.note(record, Difference("-", "the timer", "CPU", record["cpu"], event.cpu))
        results = dict(event.results)
        for name in ("skip", "ret"):
            want, got = record.get(name), results.get(name)
            if want != got and (name == "skip" or None not in (want, got)):
                self.note(record, Difference("-", record["ev"], name, want, got))
        for difference in self.states.differences(self.soft):
            self.note(record, difference)
        if self.force:
            self.states.force()
        return not any(field in self.found for field in HISTORY)

    def note(self, record: Record, difference: Difference) -> None:
        """Keep the first difference of a field."""
        event = record["ev"] if record.get("cpu", -1) < 0 else f"{record['ev']} on CPU {record['cpu']}"
        if "task" in record:
            event += f", task {record['task']}"
        self.found.setdefault(difference.field, SmpMismatch(record["i"], record["t"], event, difference))


def recorded_dice(records: list[Record]) -> list[int]:
    """The random numbers that newidle balancing drew, in the order of the draws."""
    return [entry[2] for record in records for entry in record.get("log", ()) if entry[0] == "dice"]


def compare_smp(scenario: Record, records: list[Record], soft: bool = False) -> list[SmpMismatch]:
    """Play a scenario and compare with its records.

    Raises:
        ValueError: the scenario is not valid.
    """
    if not records:
        raise ValueError("records: none (allowed: a trace with its initial state)")
    return Comparison(load_smp_scenario(scenario, recorded_dice(records)), soft).run(records)
