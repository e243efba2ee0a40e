"""PARSEC vips: workers take tiles of an image under one mutex and compute them; images end in a barrier."""

from functools import partial

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import Program
from vcpu_env.guest.workloads.memory import locked_shootdown
from vcpu_env.guest.workloads.workload import Parameter, Workload

PARAMETERS = {
    "threads": Parameter(16, "threads", "measured", "worker threads (concurrency 16)", least=1),
    "tile_ns": Parameter(
        2_490_000, "ns", "measured", "user time of a tile of 128x128 (2.8 ms of CPU with its kernel share)"
    ),
    "tiles_per_image": Parameter(900, "tiles", "measured", "work units of an image", least=1),
    "image_tail_ns": Parameter(5_000_000, "ns", "assumed", "serial work between two images"),
    "allocate_hold_ns": Parameter(2000, "ns", "assumed", "hold of the global allocate lock"),
    "write_ns": Parameter(20_000, "ns", "assumed", "work of the writer thread for a tile"),
    "wait_share": Parameter(
        0.3, "of tiles", "fitted", "after which the worker sleeps once (voluntary context switches)"
    ),
    "wait_ns": Parameter(50_000, "ns", "assumed", "time asleep in each"),
    "faults_per_tile": Parameter(98, "1/tile", "measured", "page faults (35,000 per CPU-second)"),
    "fault_ns": Parameter(2700, "ns", "fitted", "kernel time of a page fault, zeroing included (kernel share)"),
    "shootdowns_per_tile": Parameter(0.65, "1/tile", "fitted", "TLB shootdowns (TLB IPIs received by one sibling)"),
    "munmap_ns": Parameter(5000, "ns", "assumed", "hold of mmap_lock around a shootdown"),
    "write_locked_share": Parameter(0.5, "of shootdowns", "assumed", "munmap and mprotect: mmap_lock for writing"),
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


WORKLOAD = Workload("vips", "tiles", "image pipeline: shootdowns, one mutex, barriers", PARAMETERS, build_vips)
