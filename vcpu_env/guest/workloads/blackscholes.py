"""PARSEC blackscholes: threads that compute, each for itself, and meet at the end of a run. The null control.

There are no locks and no cross-calls, so nobody spins and no directed yield happens: a policy that changes its
throughput charges or steals time that is not its own.
"""

from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import Program
from vcpu_env.guest.workloads.workload import Parameter, Workload, per_second

PARAMETERS = {
    "threads": Parameter(16, "threads", "measured", "threads (64 K options shared out)", least=1),
    "iteration_ns": Parameter(
        245_000, "ns", "measured", "user time of an iteration over a thread's options (0.4 CPU-s a run)"
    ),
    "iterations": Parameter(100, "iterations", "measured", "in a run, after which all threads meet", least=1),
    "faults_per_run": Parameter(67, "1/run", "measured", "page faults of a thread (2,700 per CPU-second)"),
    "fault_ns": Parameter(4000, "ns", "fitted", "kernel time of a page fault, zeroing included (kernel share)"),
    "reschedule_per_s": Parameter(13, "1/CPU-s", "fitted", "RESCHEDULE IPIs that wake kernel threads"),
}


def build_blackscholes(plan: GuestPlan, p: dict[str, float]) -> None:
    """Every thread touches its memory, iterates, and waits for the others; then the next run begins."""
    threads = int(p["threads"])
    end_of_run = plan.barriers(threads)
    program = Program()
    program.kernel(p["faults_per_run"] * p["fault_ns"])
    iteration = program.here()
    program.user(p["iteration_ns"])
    mark = program.maybe(per_second(p["reschedule_per_s"], p["iteration_ns"]))
    program.reschedule()
    program.end_maybe(mark)
    program.work()
    program.repeat(int(p["iterations"]), iteration)
    program.barrier(end_of_run)
    for _ in range(threads):
        plan.thread(program)


WORKLOAD = Workload(
    "blackscholes", "iterations", "compute only: the null control, nobody spins", PARAMETERS, build_blackscholes
)
