"""PARSEC dedup: a compressing pipeline whose threads free memory all the time, a TLB shootdown each."""

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import PICK_OWN, PICK_RANDOM, Instances, Program
from vcpu_env.guest.workloads.memory import locked_shootdown, unlocked_shootdown
from vcpu_env.guest.workloads.pipeline import Pipe
from vcpu_env.guest.workloads.workload import Parameter, Workload

PARAMETERS = {
    "threads": Parameter(16, "threads", "measured", "threads of each middle stage (-t 16)", least=1),
    "lane": Parameter(4, "threads", "measured", "threads that share a queue", least=1),
    "batch": Parameter(20, "chunks", "measured", "chunks that are put and taken together", least=1),
    "fragment_ns": Parameter(1000, "ns/chunk", "assumed", "user time of Fragment, serial"),
    "refine_ns": Parameter(15_000, "ns/chunk", "assumed", "user time of Refine (the split of the measured total)"),
    "hash_ns": Parameter(12_000, "ns/chunk", "assumed", "user time of Dedup: SHA1 and hash table"),
    "compress_ns": Parameter(75_000, "ns/chunk", "assumed", "user time of Compress, unique chunks only"),
    "unique_share": Parameter(0.75, "of chunks", "measured", "chunks that are not duplicates"),
    "write_ns": Parameter(4500, "ns/chunk", "assumed", "kernel time of Reorder's three writes, serial"),
    "reorder_batches": Parameter(
        6, "batches", "fitted", "that Reorder waits for (voluntary context switches, RESCHEDULE IPIs)", least=1
    ),
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
    "block_batches": Parameter(16, "batches", "measured", "a block of 2 MB that Fragment puts at once", least=1),
    "queue_batches": Parameter(40, "batches", "assumed", "room in a queue; the real ones never fill up", least=1),
}


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
    if p["queue_batches"] < p["block_batches"]:
        allowed = f"block_batches, {p['block_batches']}, or more"
        raise ValueError(f"params.queue_batches: value {p['queue_batches']} (allowed: {allowed})")
    lanes = max(1, int(p["threads"] // p["lane"]))
    batch = int(p["batch"])
    mmap_lock = plan.rwsems(1)
    room = int(p["queue_batches"])
    pipes = [Pipe(plan.futexes(lanes), plan.queues(lanes, room), p["queue_hold_ns"]) for _ in range(3)]
    pipes.append(Pipe(plan.futexes(1), plan.queues(1, 1 << 30), p["queue_hold_ns"]))

    fragment = Program()
    fragment.user(p["fragment_ns"] * batch * p["block_batches"])
    fragment.put(pipes[0].queues, PICK_RANDOM, int(p["block_batches"]))

    refine = Program()
    pipes[0].get(refine, PICK_OWN)
    chunk = refine.here()
    refine.user(p["refine_ns"])
    refine.repeat(batch, chunk)
    pipes[1].put(refine, PICK_OWN)

    hashing = Program()
    pipes[1].get(hashing, PICK_OWN)
    chunk = hashing.here()
    hashing.user(p["hash_ns"])
    mark = hashing.maybe(p["madvise_per_chunk"] / 4)
    dedup_memory(hashing, p, mmap_lock)
    hashing.end_maybe(mark)
    hashing.repeat(batch, chunk)
    pipes[2].put(hashing, PICK_OWN)

    compress = Program()
    pipes[2].get(compress, PICK_OWN)
    chunk = compress.here()
    mark = compress.maybe(p["unique_share"])
    for _ in range(2):
        compress.user(p["compress_ns"] / 2)
        half = compress.maybe(min(1.0, 0.375 * p["madvise_per_chunk"] / p["unique_share"]))
        dedup_memory(compress, p, mmap_lock)
        compress.end_maybe(half)
    compress.end_maybe(mark)
    compress.work()
    compress.repeat(batch, chunk)
    pipes[3].put(compress, PICK_OWN)

    reorder = Program()
    reorder.get(pipes[3].queues, PICK_OWN, int(p["reorder_batches"]))
    reorder.kernel(p["write_ns"] * batch * p["reorder_batches"])

    plan.thread(fragment)
    for stage in (refine, hashing, compress):
        for _ in range(int(p["threads"])):
            plan.thread(stage)
    plan.thread(reorder)


WORKLOAD = Workload("dedup", "chunks", "compression pipeline: TLB shootdowns at a high rate", PARAMETERS, build_dedup)
