"""Structs of the host's tasks that are no vCPUs, of their programs, and of what they wait for.

Host task *h* is the scheduler's task ``event_slots.nr_vcpus + h``: vCPU threads come first, with their vCPUs' ids.
"""

from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.guest.types import THREAD_QUEUE

MAX_TIMERS = 4
MAX_NESTING = 4

host_task = Struct(
    "host_task",
    [
        ("pc", "i8"),  # absolute, in the array of all programs' operations
        ("stage", "i8"),  # how far the current operation has come: `STAGE_*`
        ("remaining_ns", "i8"),
        ("segment_start_ns", "i8"),
        ("started", "i8"),
        ("start_ns", "i8"),  # when it begins, then when it began
        ("slack_ns", "i8"),  # how much later than asked its timers may expire
        ("slack_used", "i8"),  # the timer that is set has reached its time and uses its slack
        ("next", "i8"),  # next waiter for the same signal
        ("vm", "i8"),  # the VM that it belongs to, NIL: none
        ("nr_created", "i8"),  # vCPUs that a VMM has created
        ("run_ns", "i8"),  # in its program, without the host kernel's work for it
        ("yields", "i8"),
        ("wakeups", "i8"),
        ("draws", "i8"),
        ("loops", "i8", (MAX_NESTING,)),
        ("timer_ns", "i8", (MAX_TIMERS,)),  # last activation of each of its timers, NIL: not used yet
    ],
)

STAGE_BEGIN, STAGE_CALLED, STAGE_WOKEN = range(3)
"""Of an operation that is a system call: not begun; its time is being spent or has been; it need not sleep any more."""

host_op = Struct("host_op", [("kind", "i8"), ("a", "i8"), ("b", "i8"), ("dist", "i8"), ("mean_ns", "i8")])
"""Of a change of affinity the last four are the CPUs, 64 a word."""

host_signal = Struct(
    "host_signal",
    [
        ("count", "i8"),  # signals that nobody has waited for yet; at a barrier: who has come; of a mutex: it is taken
        ("parties", "i8"),  # of a barrier: how many meet
        ("head", "i8"),  # waiting tasks, first come first; NIL: none
        ("tail", "i8"),
        ("server", "i8"),  # of signal *vm*: the task that serves the VM's devices; NIL
        ("requests", THREAD_QUEUE),  # guest threads whose requests it has not served
    ],
)
"""Signals 0 .. number of VMs - 1 belong to the VMs' devices, one each; the others to programs."""


def host_arrays(nr_tasks: int, nr_ops: int, nr_signals: int) -> list[StructArray]:
    """The struct arrays of the host's tasks; none without tasks."""
    if nr_tasks == 0:
        return []
    return [
        host_task.array(nr_tasks),
        host_op.array(nr_ops),
        host_signal.array(nr_signals),
    ]
