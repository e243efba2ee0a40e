"""Kernel build, make -j16: short processes that fork, fault, read files and exit, each waited for by its parent.

The parallel part only: the link at the end of a build takes as long as a whole run here. Processes have one thread, so
a TLB shootdown goes to the vCPU or two where the process ran before, not to all.
"""

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import PICK_OWN, PICK_RANDOM, Instances, Program
from vcpu_env.guest.workloads.workload import Parameter, Workload

PARAMETERS = {
    "jobs": Parameter(16, "jobs", "measured", "processes at work at a time (-j16)", least=1),
    "user_ns": Parameter(13_600_000, "ns/process", "measured", "user time of a process (63 processes per CPU-second)"),
    "kernel_ns": Parameter(2_260_000, "ns/process", "fitted", "its kernel time, lock holds included (kernel share)"),
    "process_ns": Parameter(400_000, "ns/process", "assumed", "part of it that is fork, exec and exit"),
    "tasklist_hold_ns": Parameter(3000, "ns", "assumed", "hold of tasklist_lock, once in fork and once in exit"),
    "steps": Parameter(32, "1/process", "assumed", "pieces of 16 page faults: each takes the zone lock once", least=1),
    "zone_hold_ns": Parameter(1000, "ns", "assumed", "hold of the zone lock"),
    "dentries_per_step": Parameter(2, "1/step", "assumed", "takes of a dentry lock", least=0),
    "dentry_locks": Parameter(64, "locks", "assumed", "dentry locks, one of them taken at random", least=1),
    "dentry_hold_ns": Parameter(300, "ns", "assumed", "hold of a dentry lock"),
    "shootdowns_per_process": Parameter(0.47, "1/process", "measured", "TLB shootdowns (28 IPIs per CPU-second)"),
    "shootdown_targets": Parameter(1, "vCPUs", "assumed", "that a shootdown goes to", least=0),
    "block_per_process": Parameter(0.8, "1/process", "fitted", "reads from pipe or disk that sleep (vol. switches)"),
    "block_ns": Parameter(100_000, "ns", "assumed", "time asleep in each"),
    "reschedule_per_process": Parameter(2.0, "1/process", "fitted", "RESCHEDULE IPIs that wake kernel threads"),
}


def compile_file(program: Program, p: dict[str, float], kernel_ns: float, zone: Instances, dentries: Instances) -> None:
    """A process's life between exec and exit; work is counted in its steps, 2,000 per CPU-second."""
    steps = max(1, int(p["steps"]))
    step = program.here()
    program.user(p["user_ns"] / steps, "exponential")
    program.kernel(kernel_ns / steps)
    for _ in range(int(p["dentries_per_step"])):
        program.hold(dentries, p["dentry_hold_ns"], PICK_RANDOM)
    program.hold(zone, p["zone_hold_ns"])
    mark = program.maybe(p["shootdowns_per_process"] / steps)
    program.shootdown(int(p["shootdown_targets"]))
    program.end_maybe(mark)
    mark = program.maybe(p["reschedule_per_process"] / steps)
    program.reschedule()
    program.end_maybe(mark)
    mark = program.maybe(p["block_per_process"] / steps)
    program.block(p["block_ns"])
    program.end_maybe(mark)
    program.work()
    program.repeat(steps, step)


def build_kbuild(plan: GuestPlan, p: dict[str, float]) -> None:
    """Every job is two threads: a parent that forks and waits, and the process that it waits for."""
    jobs = int(p["jobs"])
    tasklist, zone = plan.spin_locks(1), plan.spin_locks(1)
    dentries = plan.spin_locks(int(p["dentry_locks"]))
    forked, exited = plan.queues(jobs, 1), plan.queues(jobs, 1)
    holds_ns = p["dentries_per_step"] * p["dentry_hold_ns"] + p["zone_hold_ns"]
    rest_ns = p["kernel_ns"] - p["process_ns"] - p["steps"] * holds_ns

    parent = Program()
    parent.kernel(p["process_ns"] / 4)
    parent.hold(tasklist, p["tasklist_hold_ns"])
    parent.put(forked, PICK_OWN)
    parent.get(exited, PICK_OWN)

    process = Program()
    process.get(forked, PICK_OWN)
    process.kernel(p["process_ns"] / 2)
    compile_file(process, p, max(0.0, rest_ns), zone, dentries)
    process.kernel(p["process_ns"] / 4)
    process.hold(tasklist, p["tasklist_hold_ns"])
    process.put(exited, PICK_OWN)

    for program in (parent, process):
        for _ in range(jobs):
            plan.thread(program)


WORKLOAD = Workload("kbuild", "steps", "kernel build: short processes, kernel spin locks", PARAMETERS, build_kbuild)
