"""The workloads: guest programs with their parameters and where each number comes from.

A parameter's tag says what it rests on: *measured* (counted or timed on a 2-vCPU KVM guest running the real program),
*published*, *fitted* (chosen so that the one-VM run without overcommit shows a measured rate) or *assumed*.
Nothing is fitted to results under overcommit or to the gain of any policy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import PICK_OWN, PICK_RANDOM, Instances, Program


@dataclass(frozen=True)
class Parameter:
    """One number of a workload: default, unit, provenance tag, meaning."""

    value: float
    unit: str
    tag: str
    meaning: str


@dataclass(frozen=True)
class Workload:
    """A named workload: how to build a VM's threads, and what one unit of its work is."""

    name: str
    unit: str
    summary: str
    parameters: dict[str, Parameter]
    build: Callable[[GuestPlan, dict[str, float]], None]


def per_second(rate: float, cpu_ns: float) -> float:
    """The probability per step that gives `rate` events per CPU-second when a step takes `cpu_ns`."""
    return min(1.0, rate * cpu_ns * 1e-9)


DBENCH = {
    "clients": Parameter(16, "threads", "measured", "clients, each a thread in a closed loop"),
    "user_ns": Parameter(1600, "ns", "measured", "user time of an operation"),
    "kernel_ns": Parameter(9000, "ns", "measured", "kernel time of an operation, lock holds included"),
    "global_lock_share": Parameter(
        0.295, "of operations", "measured", "creates, unlinks and writes take the global lock"
    ),
    "global_hold_ns": Parameter(600, "ns", "assumed", "hold of the global spin lock (superblock lists, LRU)"),
    "bucket_locks": Parameter(8, "locks", "assumed", "allocator and dcache bucket locks, one taken by every operation"),
    "bucket_hold_ns": Parameter(300, "ns", "assumed", "hold of a bucket lock"),
    "parent_share": Parameter(
        0.002, "of operations", "fitted", "operations on the shared parent directory (voluntary context switches)"
    ),
    "parent_hold_ns": Parameter(3000, "ns", "assumed", "hold of the parent directory's i_rwsem"),
    "reschedule_per_s": Parameter(50, "1/CPU-s", "measured", "RESCHEDULE IPIs that nobody waits for"),
    "shootdown_per_s": Parameter(3, "1/CPU-s", "measured", "TLB shootdowns"),
    "block_per_s": Parameter(3, "1/CPU-s", "fitted", "sleeps that are no lock's (voluntary context switches)"),
    "block_ns": Parameter(100_000, "ns", "assumed", "time asleep in each"),
}


def build_dbench(plan: GuestPlan, p: dict[str, float]) -> None:
    """dbench on tmpfs: file operations, almost all kernel time, under a global and several bucket spin locks."""
    global_lock = plan.spin_locks(1)
    buckets = plan.spin_locks(int(p["bucket_locks"]))
    parent = plan.rwsems(1)
    op_ns = p["user_ns"] + p["kernel_ns"]
    holds = p["bucket_hold_ns"] + p["global_lock_share"] * p["global_hold_ns"] + p["parent_share"] * p["parent_hold_ns"]
    rest = max(0.0, p["kernel_ns"] - holds) / 2
    program = Program()
    program.user(p["user_ns"])
    program.kernel(rest)
    mark = program.maybe(p["parent_share"])
    program.lock(parent)
    program.kernel(p["parent_hold_ns"], "lognormal_0.8")
    program.unlock()
    program.end_maybe(mark)
    mark = program.maybe(p["global_lock_share"])
    program.lock(global_lock)
    program.kernel(p["global_hold_ns"], "lognormal_0.8")
    program.unlock()
    program.end_maybe(mark)
    program.lock(buckets, PICK_RANDOM)
    program.kernel(p["bucket_hold_ns"], "lognormal_0.8")
    program.unlock()
    program.kernel(rest)
    mark = program.maybe(per_second(p["reschedule_per_s"], op_ns))
    program.reschedule()
    program.end_maybe(mark)
    mark = program.maybe(per_second(p["shootdown_per_s"], op_ns))
    program.shootdown()
    program.end_maybe(mark)
    mark = program.maybe(per_second(p["block_per_s"], op_ns))
    program.block(p["block_ns"])
    program.end_maybe(mark)
    program.work()
    for _ in range(int(p["clients"])):
        plan.thread(program)


DEDUP = {
    "threads": Parameter(16, "threads", "measured", "threads of each middle stage (-t 16)"),
    "lane": Parameter(4, "threads", "measured", "threads that share a queue"),
    "batch": Parameter(20, "chunks", "measured", "chunks that are put and taken together"),
    "fragment_ns": Parameter(1000, "ns/chunk", "assumed", "user time of Fragment, serial"),
    "refine_ns": Parameter(15_000, "ns/chunk", "assumed", "user time of Refine (the split of the measured total)"),
    "hash_ns": Parameter(12_000, "ns/chunk", "assumed", "user time of Dedup: SHA1 and hash table"),
    "compress_ns": Parameter(75_000, "ns/chunk", "assumed", "user time of Compress, unique chunks only"),
    "unique_share": Parameter(0.75, "of chunks", "measured", "chunks that are not duplicates"),
    "write_ns": Parameter(4500, "ns/chunk", "assumed", "kernel time of Reorder's three writes, serial"),
    "reorder_batches": Parameter(4, "batches", "fitted", "that Reorder waits for (voluntary context switches)"),
    "madvise_per_chunk": Parameter(2.2, "1/chunk", "measured", "madvise(DONTNEED) of 12 pages: a TLB shootdown each"),
    "madvise_ns": Parameter(1300, "ns", "measured", "its kernel time without the shootdown"),
    "faults_per_madvise": Parameter(6.9, "1/madvise", "measured", "page faults"),
    "fault_ns": Parameter(4000, "ns", "fitted", "kernel time of a page fault, zeroing included (kernel share)"),
    "mmap_lock_share": Parameter(
        0.0, "of madvise", "measured", "that take mmap_lock: none since per-VMA locks, 1 before"
    ),
    "mprotect_per_madvise": Parameter(0.078, "1/madvise", "measured", "mprotect calls: mmap_lock for writing"),
    "mprotect_ns": Parameter(1000, "ns", "assumed", "hold of mmap_lock in mprotect"),
    "queue_hold_ns": Parameter(1000, "ns", "assumed", "hold of a queue's mutex"),
    "block_batches": Parameter(16, "batches", "measured", "a block of 2 MB that Fragment puts at once"),
    "queue_batches": Parameter(40, "batches", "assumed", "room in a queue; the real ones never fill up"),
    "reschedule_per_chunk": Parameter(0.0015, "1/chunk", "fitted", "RESCHEDULE IPIs that nobody waits for"),
}


def unlocked_shootdown(program: Program, kernel_ns: float) -> None:
    """A TLB shootdown under no lock that other threads want."""
    program.kernel(kernel_ns)
    program.shootdown()


def locked_shootdown(program: Program, mmap_lock: Instances, shared: bool, kernel_ns: float) -> None:
    """A TLB shootdown under mmap_lock."""
    program.lock(mmap_lock, shared=shared)
    unlocked_shootdown(program, kernel_ns)
    program.unlock()


def dedup_memory(program: Program, p: dict[str, float], mmap_lock: Instances) -> None:
    """One madvise with its shootdown, and the faults and mprotect calls that go with it."""
    program.kernel(p["faults_per_madvise"] * p["fault_ns"])
    program.either(
        p["mmap_lock_share"],
        lambda: locked_shootdown(program, mmap_lock, True, p["madvise_ns"]),
        lambda: unlocked_shootdown(program, p["madvise_ns"]),
    )
    mark = program.maybe(p["mprotect_per_madvise"])
    program.lock(mmap_lock)
    program.kernel(p["mprotect_ns"])
    program.unlock()
    program.end_maybe(mark)


def build_dedup(plan: GuestPlan, p: dict[str, float]) -> None:
    """PARSEC dedup: a pipeline of Fragment, Refine, Dedup, Compress, Reorder; Compress frees memory all the time."""
    lanes = max(1, int(p["threads"] // p["lane"]))
    batch = int(p["batch"])
    mmap_lock = plan.rwsems(1)
    queues = [plan.queues(lanes, int(p["queue_batches"])) for _ in range(3)] + [plan.queues(1, 1 << 30)]
    mutexes = [plan.futexes(lanes) for _ in range(3)] + [plan.futexes(1)]

    def locked(program: Program, stage: int, operation: Callable, pick: int) -> None:
        program.lock(mutexes[stage], pick)
        program.user(p["queue_hold_ns"])
        program.unlock()
        operation(queues[stage], pick)

    fragment = Program()
    fragment.user(p["fragment_ns"] * batch * p["block_batches"])
    fragment.put(queues[0], PICK_RANDOM, int(p["block_batches"]))

    refine = Program()
    locked(refine, 0, refine.get, PICK_OWN)
    chunk = refine.here()
    refine.user(p["refine_ns"])
    refine.repeat(batch, chunk)
    locked(refine, 1, refine.put, PICK_OWN)

    hashing = Program()
    locked(hashing, 1, hashing.get, PICK_OWN)
    chunk = hashing.here()
    hashing.user(p["hash_ns"])
    mark = hashing.maybe(p["madvise_per_chunk"] / 4)
    dedup_memory(hashing, p, mmap_lock)
    hashing.end_maybe(mark)
    hashing.repeat(batch, chunk)
    locked(hashing, 2, hashing.put, PICK_OWN)

    compress = Program()
    locked(compress, 2, compress.get, PICK_OWN)
    chunk = compress.here()
    mark = compress.maybe(p["unique_share"])
    for _ in range(2):
        compress.user(p["compress_ns"] / 2)
        half = compress.maybe(min(1.0, 0.375 * p["madvise_per_chunk"] / p["unique_share"]))
        dedup_memory(compress, p, mmap_lock)
        compress.end_maybe(half)
    compress.end_maybe(mark)
    mark = compress.maybe(p["reschedule_per_chunk"])
    compress.reschedule()
    compress.end_maybe(mark)
    compress.work()
    compress.repeat(batch, chunk)
    locked(compress, 3, compress.put, PICK_OWN)

    reorder = Program()
    reorder.get(queues[3], PICK_OWN, int(p["reorder_batches"]))
    reorder.kernel(p["write_ns"] * batch * p["reorder_batches"])

    plan.thread(fragment)
    for stage in (refine, hashing, compress):
        for _ in range(int(p["threads"])):
            plan.thread(stage)
    plan.thread(reorder)


VIPS = {
    "threads": Parameter(16, "threads", "measured", "worker threads (concurrency 16)"),
    "tile_ns": Parameter(
        2_490_000, "ns", "measured", "user time of a tile of 128x128 (2.8 ms of CPU with its kernel share)"
    ),
    "tiles_per_image": Parameter(900, "tiles", "measured", "work units of an image"),
    "image_tail_ns": Parameter(5_000_000, "ns", "assumed", "serial work between two images"),
    "allocate_hold_ns": Parameter(2000, "ns", "assumed", "hold of the global allocate lock"),
    "write_ns": Parameter(20_000, "ns", "assumed", "work of the writer thread for a tile"),
    "wait_share": Parameter(
        1.0, "of tiles", "fitted", "after which the worker sleeps once (voluntary context switches)"
    ),
    "wait_ns": Parameter(50_000, "ns", "assumed", "time asleep in each"),
    "faults_per_tile": Parameter(98, "1/tile", "measured", "page faults (35,000 per CPU-second)"),
    "fault_ns": Parameter(2700, "ns", "fitted", "kernel time of a page fault, zeroing included (kernel share)"),
    "shootdowns_per_tile": Parameter(0.65, "1/tile", "fitted", "TLB shootdowns (TLB IPIs received by one sibling)"),
    "munmap_ns": Parameter(5000, "ns", "assumed", "hold of mmap_lock around a shootdown"),
    "write_locked_share": Parameter(0.5, "of shootdowns", "assumed", "munmap and mprotect: mmap_lock for writing"),
    "reschedule_per_tile": Parameter(0.22, "1/tile", "measured", "RESCHEDULE IPIs that nobody waits for"),
}


def build_vips(plan: GuestPlan, p: dict[str, float]) -> None:
    """vips: workers take tiles under one mutex and compute them; a writer collects them; images end in a barrier."""
    workers = int(p["threads"])
    allocate = plan.futexes(1)
    mmap_lock = plan.rwsems(1)
    done = plan.queues(1, 1 << 30)
    image_end = plan.barriers(workers)
    image_start = plan.barriers(workers)
    tiles = max(1, round(p["tiles_per_image"] / workers))
    steps = 4
    for worker in range(workers):
        program = Program()
        tile = program.here()
        program.lock(allocate)
        program.user(p["allocate_hold_ns"])
        program.unlock()
        for _ in range(steps):
            program.user(p["tile_ns"] / steps, "exponential")
            program.kernel(p["faults_per_tile"] / steps * p["fault_ns"])
            mark = program.maybe(min(1.0, p["shootdowns_per_tile"] / steps))
            program.either(
                p["write_locked_share"],
                partial(locked_shootdown, program, mmap_lock, False, p["munmap_ns"]),
                partial(locked_shootdown, program, mmap_lock, True, p["munmap_ns"]),
            )
            program.end_maybe(mark)
        mark = program.maybe(p["reschedule_per_tile"])
        program.reschedule()
        program.end_maybe(mark)
        program.put(done)
        program.work()
        mark = program.maybe(p["wait_share"])
        program.block(p["wait_ns"])
        program.end_maybe(mark)
        program.repeat(tiles, tile)
        program.barrier(image_end)
        if worker == 0:
            program.user(p["image_tail_ns"])
        program.barrier(image_start)
        plan.thread(program)
    writer = Program()
    writer.get(done)
    writer.kernel(p["write_ns"])
    plan.thread(writer)


WORKLOADS = {
    w.name: w
    for w in (
        Workload("dbench", "operations", "file server on tmpfs: kernel spin locks", DBENCH, build_dbench),
        Workload("dedup", "chunks", "compression pipeline: TLB shootdowns at a high rate", DEDUP, build_dedup),
        Workload("vips", "tiles", "image pipeline: shootdowns, one mutex, barriers", VIPS, build_vips),
    )
}


def workload_parameters(name: str, overrides: dict[str, float]) -> dict[str, float]:
    """The parameters of a workload, some of them overridden.

    Raises:
        ValueError: unknown workload or parameter, or a value that is negative or not finite.
    """
    if name not in WORKLOADS:
        raise ValueError(f"workload: value '{name}' (allowed: {', '.join(WORKLOADS)})")
    defaults = WORKLOADS[name].parameters
    for key, value in overrides.items():
        if key not in defaults:
            raise ValueError(f"params.{key}: unknown parameter of {name} (allowed: {', '.join(defaults)})")
        if not 0 <= value < 1e15:
            raise ValueError(f"params.{key}: value {value} (allowed: 0 or more, finite)")
    return {key: overrides.get(key, parameter.value) for key, parameter in defaults.items()}
