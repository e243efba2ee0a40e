"""Guests from a description: what a workload file says, as plain data (`scenario.workload_file`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from vcpu_env.base.random import DISTRIBUTIONS
from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import PICK_FIRST, PICK_OWN, PICK_RANDOM, Program
from vcpu_env.guest.shapes import shape_quantiles

PICKS = {"first": PICK_FIRST, "own": PICK_OWN, "random": PICK_RANDOM}

Node = tuple[Any, ...]


class Writer:
    """Plans what threads share, then writes their programs."""

    def __init__(self, plan: GuestPlan, described: Mapping[str, Any]):
        lock_makers = {"spin": plan.spin_locks, "futex": plan.futexes, "rwsem": plan.rwsems}
        self.plan = plan
        self.measured = {name: shape["quantiles"] for name, shape in described["distributions"].items()}
        self.locks = {name: lock_makers[lock["kind"]](lock["count"]) for name, lock in described["locks"].items()}
        self.queues = {name: plan.queues(q["count"], q["capacity"]) for name, q in described["queues"].items()}
        self.barriers = {name: plan.barriers(barrier["parties"]) for name, barrier in described["barriers"].items()}
        self.shapes: dict[str, int] = {}

    def distribution(self, name: str) -> str | int:
        """What a program's operation says for a distribution: a name, or the number of a shape."""
        if name in DISTRIBUTIONS and name not in self.measured:
            return name
        if name not in self.shapes:
            self.shapes[name] = self.plan.shape(shape_quantiles(name, self.measured.get(name, ())))
        return self.shapes[name]

    def write(self, program: Program, nodes: Sequence[Node]) -> None:
        """Append the operations of a tree."""
        for name, *rest in nodes:
            if name in ("user", "kernel", "sleep"):
                append = {"user": program.user, "kernel": program.kernel, "sleep": program.block}[name]
                append(rest[0], self.distribution(rest[1]))
            elif name == "lock":
                program.lock(self.locks[rest[0]], PICKS[rest[1]], rest[2])
            elif name == "hold":
                program.hold(self.locks[rest[0]], rest[2], PICKS[rest[1]])
            elif name in ("put", "get"):
                getattr(program, name)(self.queues[rest[0]], PICKS[rest[1]], rest[2])
            elif name == "barrier":
                program.barrier(self.barriers[rest[0]])
            elif name == "maybe":
                self.maybe(program, *rest)
            elif name == "repeat":
                mark = program.here()
                self.write(program, rest[1])
                program.repeat(rest[0], mark)
            else:  # unlock, shootdown, reschedule, work
                getattr(program, name)(*rest)

    def maybe(self, program: Program, probability: float, this: Sequence[Node], that: Sequence[Node]) -> None:
        """Append a branch."""
        if that:
            program.either(probability, lambda: self.write(program, this), lambda: self.write(program, that))
            return
        mark = program.maybe(probability)
        self.write(program, this)
        program.end_maybe(mark)


def build_described(plan: GuestPlan, described: Mapping[str, Any], programs: Sequence[tuple[int, list[Node]]]) -> None:
    """Plan the guest that a file describes: so many threads of each program."""
    writer = Writer(plan, described)
    for count, nodes in programs:
        program = Program()
        writer.write(program, nodes)
        for _ in range(count):
            plan.thread(program)
