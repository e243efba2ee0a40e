"""A VM's guest before it is built: its threads with their programs, its locks and queues; then its place in a world."""

from dataclasses import dataclass, field

import numpy as np

from vcpu_env.base.world import World
from vcpu_env.guest.program import JUMPS, LOCK_OPS, QUEUE_OPS, Instances, Program
from vcpu_env.guest.shapes import FIRST_SHAPE
from vcpu_env.guest.types import FULL_SPEED, LOCK_FUTEX, LOCK_RWSEM, RUNNABLE


@dataclass
class GuestPlan:
    """What one VM contains. A workload fills it; ids are numbered within the VM.

    Attributes:
        vcpus: number of vCPUs.
        spin_lock_kind: how the guest kernel's spin locks behave, one of `guest.types.SPIN_LOCK_KINDS`.
        boot: what every thread does once, before its program.
    """

    vcpus: int
    spin_lock_kind: int
    boot: Program = field(default_factory=Program)
    lock_kinds: list[int] = field(default_factory=list)
    queue_capacities: list[int] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    shapes: list[np.ndarray] = field(default_factory=list)

    def _locks(self, kind: int, count: int) -> Instances:
        first = len(self.lock_kinds)
        self.lock_kinds += [kind] * count
        return Instances(first, count)

    def spin_locks(self, count: int) -> Instances:
        """Spin locks of the guest kernel."""
        return self._locks(self.spin_lock_kind, count)

    def futexes(self, count: int) -> Instances:
        """User-space mutexes."""
        return self._locks(LOCK_FUTEX, count)

    def rwsems(self, count: int) -> Instances:
        """Reader-writer semaphores of the guest kernel; taken for writing only, they are mutexes."""
        return self._locks(LOCK_RWSEM, count)

    def queues(self, count: int, capacity: int) -> Instances:
        """Queues with room for `capacity` items."""
        first = len(self.queue_capacities)
        self.queue_capacities += [capacity] * count
        return Instances(first, count)

    def barriers(self, parties: int) -> Instances:
        """One barrier at which `parties` threads meet."""
        return self.queues(1, parties)

    def shape(self, quantiles: np.ndarray) -> int:
        """A shape of durations (`guest.shapes.shape_quantiles`), as programs name it."""
        self.shapes.append(quantiles)
        return FIRST_SHAPE + len(self.shapes) - 1

    def thread(self, program: Program) -> None:
        """One more thread that runs `program`."""
        self.programs.append(program)


GOVERNOR_HIGH_BP, GOVERNOR_LOW_BP = 500, 200
"""Defaults of the steal governor's thresholds, in hundredths of a per cent."""


@dataclass
class Offsets:
    """Where the next VM's objects go in a world's arrays."""

    vcpu: int = 0
    thread: int = 0
    lock: int = 0
    queue: int = 0
    op: int = 0
    shape: int = 0


def program_ops(plan: GuestPlan) -> dict[int, int]:
    """Operations of each distinct program (threads may share one), with its boot: id -> number of operations."""
    return {id(program): len(plan.boot.ops) + len(program.assembled()) for program in plan.programs}


def place_guest(world: World, vm: int, plan: GuestPlan, at: Offsets) -> None:
    """Write a VM's guest into the world's arrays: all unlocked and empty, thread *i* queued on vCPU *i* mod n."""
    starts = place_programs(world, plan, at)
    locks = world["guest_lock"][at.lock : at.lock + len(plan.lock_kinds)]
    locks["kind"] = plan.lock_kinds
    locks["owner"] = -1
    locks["spinners"] = locks["sleepers"] = locks["stealers"] = (-1, -1)
    queues = world["guest_queue"][at.queue : at.queue + len(plan.queue_capacities)]
    queues["capacity"] = plan.queue_capacities
    queues["consumers"] = queues["producers"] = (-1, -1)

    vcpus = world["guest_vcpu"][at.vcpu : at.vcpu + plan.vcpus]
    vcpus["vm"], vcpus["index"] = vm, np.arange(plan.vcpus)
    for name in ("cpu", "current", "io_head", "last_cpu", "delayed_since_ns"):
        vcpus[name] = -1
    vcpus["run_queue"], vcpus["speed_1024"] = (-1, -1), FULL_SPEED
    threads = world["guest_thread"][at.thread : at.thread + len(plan.programs)]
    threads["vm"], threads["index"] = vm, np.arange(len(threads))
    threads["wait_lock"] = threads["next"] = -1
    threads["state"] = RUNNABLE
    for i, program in enumerate(plan.programs):
        threads["pc"][i] = starts[id(program)]
        threads["vcpu"][i] = at.vcpu + i % plan.vcpus
    for v in range(min(plan.vcpus, len(threads))):
        mine = range(at.thread + v, at.thread + len(threads), plan.vcpus)
        for t, following in zip(mine, [*mine[1:], -1], strict=True):
            world["guest_thread"]["next"][t] = following
        vcpus["run_queue"]["head"][v], vcpus["run_queue"]["tail"][v] = mine[0], mine[-1]
        vcpus["nr_queued"][v] = len(mine)

    guest = world["guest_vm"]
    guest["first_vcpu"][vm], guest["nr_vcpus"][vm] = at.vcpu, plan.vcpus
    guest["nr_preferred"][vm] = plan.vcpus
    guest["governor_high_bp"][vm], guest["governor_low_bp"][vm] = GOVERNOR_HIGH_BP, GOVERNOR_LOW_BP
    guest["first_thread"][vm], guest["nr_threads"][vm] = at.thread, len(threads)
    at.vcpu += plan.vcpus
    at.thread += len(threads)
    at.lock += len(locks)
    at.queue += len(queues)
    at.shape += len(plan.shapes)


def place_programs(world: World, plan: GuestPlan, at: Offsets) -> dict[int, int]:
    """Write the operations of a VM's programs with absolute targets; returns where each thread's first one is."""
    starts: dict[int, int] = {}
    for program in plan.programs:
        if id(program) in starts:
            continue
        starts[id(program)] = at.op
        for ops in (plan.boot.ops, program.assembled()):
            start = at.op
            for kind, a, b, dist, mean_ns, prob in ops:
                if kind in JUMPS:
                    a += start
                elif kind in LOCK_OPS:
                    a += at.lock
                elif kind in QUEUE_OPS:
                    a += at.queue
                if dist >= FIRST_SHAPE:
                    dist += at.shape
                world["guest_op"][at.op] = (kind, a, b, dist, mean_ns, round(prob * 2**32))
                at.op += 1
    return starts
