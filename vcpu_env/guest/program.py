"""Guest programs: what a thread does, as data.

A program is a list of operations that loops for ever. `Program` assembles it; the interpreter is compiled once for all
programs. Durations are (mean in ns, distribution: a name or the number of a shape, `GuestPlan.shape`); lock, queue and
barrier arguments name objects of the VM.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from vcpu_env.base.random import DISTRIBUTIONS

(
    OP_USER,
    OP_KERNEL,
    OP_MAYBE,
    OP_GOTO,
    OP_LOOP,
    OP_LOCK,
    OP_LOCK_SHARED,
    OP_UNLOCK,
    OP_SHOOTDOWN,
    OP_RESCHEDULE,
    OP_BLOCK,
    OP_PUT,
    OP_GET,
    OP_BARRIER,
    OP_WORK,
    OP_SYNCHRONIZE_RCU,
) = range(16)

JUMPS = (OP_MAYBE, OP_GOTO, OP_LOOP)
LOCK_OPS = (OP_LOCK, OP_LOCK_SHARED)
QUEUE_OPS = (OP_PUT, OP_GET, OP_BARRIER)

PICK_FIRST, PICK_OWN, PICK_RANDOM = range(3)
"""Which of several instances an operation means: the first, number (thread index mod instances), or a random one."""


BOOT_PIECES = 8
"""Sleeps and bursts of each thread while its guest boots [assumed]."""


@dataclass(frozen=True)
class Instances:
    """Objects of one kind that a VM has: `count` locks or queues, the first with id `first` within the VM."""

    first: int
    count: int
    kind: int = 0
    capacity: int = 0


@dataclass
class Program:
    """An assembler for guest programs; every method appends one operation."""

    ops: list[tuple[int, int, int, int, int, float]] = field(default_factory=list)

    def _add(self, kind, a=0, b=0, mean_ns=0.0, dist: str | int = "fixed", prob=1.0) -> int:
        number = DISTRIBUTIONS[dist] if isinstance(dist, str) else dist
        self.ops.append((kind, a, b, number, round(mean_ns), prob))
        return len(self.ops) - 1

    def user(self, mean_ns: float, dist: str | int = "lognormal_0.6") -> None:
        """Compute in user mode."""
        self._add(OP_USER, mean_ns=mean_ns, dist=dist)

    def kernel(self, mean_ns: float, dist: str | int = "lognormal_0.6") -> None:
        """Compute in the guest kernel."""
        self._add(OP_KERNEL, mean_ns=mean_ns, dist=dist)

    def maybe(self, probability: float) -> int:
        """Do what follows, up to `end_maybe`, with this probability."""
        return self._add(OP_MAYBE, prob=probability)

    def end_maybe(self, mark: int) -> None:
        """End of what `maybe` guards."""
        kind, _, b, dist, mean_ns, prob = self.ops[mark]
        self.ops[mark] = (kind, len(self.ops), b, dist, mean_ns, prob)

    def either(self, probability: float, this: Callable[[], None], that: Callable[[], None]) -> None:
        """Do what `this` appends with this probability, else what `that` appends."""
        mark = self.maybe(probability)
        this()
        skip = self._add(OP_GOTO)
        self.end_maybe(mark)
        that()
        self.end_maybe(skip)

    def repeat(self, times: int, mark: int) -> None:
        """Do what stands from `mark` (an earlier `here`) to this point `times` times in all."""
        self._add(OP_LOOP, a=mark, b=times)

    def here(self) -> int:
        """The position of the next operation."""
        return len(self.ops)

    def lock(self, locks: Instances, pick: int = PICK_FIRST, shared: bool = False) -> None:
        """Take a lock: spin or sleep, as its kind does."""
        self._add(OP_LOCK_SHARED if shared else OP_LOCK, a=locks.first, b=locks.count * 4 + pick)

    def unlock(self) -> None:
        """Release the lock taken last."""
        self._add(OP_UNLOCK)

    def hold(self, locks: Instances, mean_ns: float, pick: int = PICK_FIRST) -> None:
        """A critical section of the guest kernel: take a lock, compute, release it."""
        self.lock(locks, pick)
        self.kernel(mean_ns, "lognormal_0.8")
        self.unlock()

    def shootdown(self, targets: int = 0) -> None:
        """TLB shootdown: a synchronous cross-call to the sibling vCPUs that run a thread.

        Args:
            targets: call as many of them at most, beginning at random (where a process ran before); 0: all.
        """
        self._add(OP_SHOOTDOWN, a=targets)

    def reschedule(self) -> None:
        """Wake a kernel thread of a random sibling vCPU by a RESCHEDULE IPI; nobody waits for it."""
        self._add(OP_RESCHEDULE)

    def synchronize_rcu(self, expedited: bool = False) -> None:
        """Sleep until every vCPU has passed a quiescent state of RCU; expedited: IPIs ask for them."""
        self._add(OP_SYNCHRONIZE_RCU, a=int(expedited))

    def block(self, mean_ns: float, dist: str | int = "lognormal_0.6") -> None:
        """Sleep until a device is done, which ends with an interrupt."""
        self._add(OP_BLOCK, mean_ns=mean_ns, dist=dist)

    def put(self, queues: Instances, pick: int = PICK_FIRST, items: int = 1) -> None:
        """Put items into a queue; sleeps while it is full, wakes a sleeping consumer."""
        self._add(OP_PUT, a=queues.first, b=queues.count * 4 + pick, mean_ns=items)

    def get(self, queues: Instances, pick: int = PICK_FIRST, items: int = 1) -> None:
        """Take items out of a queue; sleeps until there are enough."""
        self._add(OP_GET, a=queues.first, b=queues.count * 4 + pick, mean_ns=items)

    def barrier(self, barriers: Instances) -> None:
        """Sleep until as many threads as the barrier's capacity have come."""
        self._add(OP_BARRIER, a=barriers.first)

    def work(self, units: int = 1) -> None:
        """Count finished work."""
        self._add(OP_WORK, a=units)

    @staticmethod
    def boot(length_ns: int, threads_per_vcpu: float) -> "Program":
        """What each thread does once while its guest boots: it sleeps, in short pieces, and wakes its vCPU up.

        A vCPU is idle for about four fifths of the time, however many threads it has.
        """
        program = Program()
        if length_ns > 0:
            busy = 0.2 / max(1.0, threads_per_vcpu)
            program.block((1 - busy) * length_ns / BOOT_PIECES, "exponential")
            program.user(busy * length_ns / BOOT_PIECES, "exponential")
            program.repeat(BOOT_PIECES, 0)
        return program

    def assembled(self) -> list[tuple[int, int, int, int, int, float]]:
        """The finished program; it starts again at its end."""
        return [*self.ops, (OP_GOTO, 0, 0, 0, 0, 1.0)]
