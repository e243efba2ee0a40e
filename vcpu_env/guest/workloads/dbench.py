"""dbench 4.0, a file server on tmpfs: almost all kernel time, under a global and several bucket spin locks."""

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import PICK_RANDOM, Program
from vcpu_env.guest.workloads.workload import Parameter, Workload, per_second

PARAMETERS = {
    "clients": Parameter(16, "threads", "measured", "clients, each a thread in a closed loop", least=1),
    "user_ns": Parameter(1600, "ns", "measured", "user time of an operation"),
    "kernel_ns": Parameter(9000, "ns", "measured", "kernel time of an operation, lock holds included"),
    "global_lock_share": Parameter(
        0.295, "of operations", "measured", "creates, unlinks and writes take the global lock"
    ),
    "global_hold_ns": Parameter(600, "ns", "assumed", "hold of the global spin lock (superblock lists, LRU)"),
    "bucket_locks": Parameter(
        8, "locks", "assumed", "allocator and dcache bucket locks, one taken by every operation", least=1
    ),
    "bucket_hold_ns": Parameter(300, "ns", "assumed", "hold of a bucket lock"),
    "parent_share": Parameter(
        0.002, "of operations", "fitted", "operations on the shared parent directory (voluntary context switches)"
    ),
    "parent_hold_ns": Parameter(3000, "ns", "assumed", "hold of the parent directory's i_rwsem"),
    "reschedule_per_s": Parameter(50, "1/CPU-s", "measured", "RESCHEDULE IPIs that wake kernel threads"),
    "shootdown_per_s": Parameter(3, "1/CPU-s", "measured", "TLB shootdowns"),
    "block_per_s": Parameter(2.5, "1/CPU-s", "fitted", "sleeps that are no lock's (voluntary context switches)"),
    "block_ns": Parameter(100_000, "ns", "assumed", "time asleep in each"),
}


def build_dbench(plan: GuestPlan, p: dict[str, float]) -> None:
    """Clients in closed loops, each with its file operations one after the other."""
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
    program.hold(parent, p["parent_hold_ns"])
    program.end_maybe(mark)
    mark = program.maybe(p["global_lock_share"])
    program.hold(global_lock, p["global_hold_ns"])
    program.end_maybe(mark)
    program.hold(buckets, p["bucket_hold_ns"], PICK_RANDOM)
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


WORKLOAD = Workload("dbench", "operations", "file server on tmpfs: kernel spin locks", PARAMETERS, build_dbench)
