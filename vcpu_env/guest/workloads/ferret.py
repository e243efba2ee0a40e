"""PARSEC ferret: search for similar images, a pipeline of six stages with short queues; the fifth has the work.

Nothing of it was measured here. Queues fill up and run empty, so threads sleep and wake on both sides of each.
"""

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import Instances, Program
from vcpu_env.guest.workloads.memory import locked_shootdown
from vcpu_env.guest.workloads.pipeline import Pipe
from vcpu_env.guest.workloads.workload import Parameter, Workload, per_second

STAGES = ("segment", "extract", "vector", "rank")
"""The middle stages; each has a pool of threads."""
STEPS = 4
"""Pieces of a query in the stages without a natural one; faults and shootdowns come between pieces."""

PARAMETERS = {
    "threads": Parameter(16, "threads", "published", "threads of each middle stage", least=1),
    "queue_queries": Parameter(
        20, "queries", "published", "room in each queue (the run configuration's depth)", least=1
    ),
    "load_ns": Parameter(700_000, "ns/query", "assumed", "time of Load, serial"),
    "segment_ns": Parameter(1_400_000, "ns/query", "assumed", "time of Segment: 4 % of 35 ms"),
    "extract_ns": Parameter(350_000, "ns/query", "assumed", "time of Extract: 1 %"),
    "vector_ns": Parameter(5_600_000, "ns/query", "assumed", "time of Vector: 16 %"),
    "rank_ns": Parameter(26_250_000, "ns/query", "assumed", "time of Rank: 75 %"),
    "comparisons": Parameter(
        25, "1/query", "assumed", "images that Rank compares a query with; work is counted in them", least=1
    ),
    "out_ns": Parameter(700_000, "ns/query", "assumed", "time of Out, serial"),
    "kernel_share": Parameter(0.02, "of time", "assumed", "spent in the kernel: page faults, reading"),
    "queue_hold_ns": Parameter(1000, "ns", "assumed", "hold of a queue's mutex"),
    "shootdown_per_s": Parameter(20, "1/CPU-s", "assumed", "TLB shootdowns: a query's memory goes back to the kernel"),
    "munmap_ns": Parameter(5000, "ns", "assumed", "hold of mmap_lock around a shootdown"),
    "reschedule_per_s": Parameter(70, "1/CPU-s", "assumed", "RESCHEDULE IPIs that wake kernel threads"),
}


def compute(program: Program, p: dict[str, float], stage: str, mmap_lock: Instances) -> None:
    """A stage's work on one query."""
    steps = max(1, int(p["comparisons"])) if stage == "rank" else STEPS
    step_ns = p[f"{stage}_ns"] / steps
    step = program.here()
    program.user(step_ns * (1 - p["kernel_share"]))
    program.kernel(step_ns * p["kernel_share"])
    mark = program.maybe(per_second(p["shootdown_per_s"], step_ns))
    locked_shootdown(program, mmap_lock, False, p["munmap_ns"])
    program.end_maybe(mark)
    mark = program.maybe(per_second(p["reschedule_per_s"], step_ns))
    program.reschedule()
    program.end_maybe(mark)
    if stage == "rank":
        program.work()
    program.repeat(steps, step)


def build_ferret(plan: GuestPlan, p: dict[str, float]) -> None:
    """Load and Out are one thread each, the stages between them pools that share a queue."""
    mmap_lock = plan.rwsems(1)
    pipes = [
        Pipe(plan.futexes(1), plan.queues(1, int(p["queue_queries"])), p["queue_hold_ns"])
        for _ in range(len(STAGES) + 1)
    ]
    load = Program()
    compute(load, p, "load", mmap_lock)
    pipes[0].put(load)
    plan.thread(load)
    for i, stage in enumerate(STAGES):
        program = Program()
        pipes[i].get(program)
        compute(program, p, stage, mmap_lock)
        pipes[i + 1].put(program)
        for _ in range(int(p["threads"])):
            plan.thread(program)
    out = Program()
    pipes[-1].get(out)
    compute(out, p, "out", mmap_lock)
    plan.thread(out)


WORKLOAD = Workload(
    "ferret", "comparisons", "search pipeline with short queues: sleeps and wake-ups", PARAMETERS, build_ferret
)
