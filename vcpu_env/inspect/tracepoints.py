"""A recording as events of the kernel's tracepoints: what ftrace, trace-cmd and perf would have recorded of the host.

The scheduler's and KVM's have the kernel's names and fields; those of the system ``vcpu_env`` are our own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import (
    CFS_THROTTLE,
    KVM_ENTRY,
    KVM_EXIT,
    SCHED_SWITCH,
    SCHED_WAKING,
    TASK_THROTTLE,
    YIELD_TO,
)
from vcpu_env.inspect.recorder import NORMAL_PRIORITY, Recording
from vcpu_env.inspect.records import EXITS

RUNNING, INTERRUPTIBLE = 0, 1
VMX = 1
"""KVM_ISA_VMX."""
VMX_REASONS = {"EXTERNAL_INTERRUPT": 1, "HLT": 12, "VMCALL": 18, "PAUSE_INSTRUCTION": 40}
"""Numbers of the exit reasons (Intel SDM volume 3, appendix C)."""
IDLE_COMM = "<idle>"


@dataclass(frozen=True)
class Point:
    """A tracepoint.

    Attributes:
        fields: C type and name of each, as in its file `format`; ``char NAME[N]`` is a text.
        print_fmt: as there, for readers that have no printer of their own for it.
        text: how ftrace prints it, with the fields' names.
    """

    system: str
    name: str
    number: int
    fields: tuple[tuple[str, str], ...]
    print_fmt: str
    text: str


SWITCH = Point(
    "sched", "sched_switch", 301,
    (
        ("char", "prev_comm[16]"), ("pid_t", "prev_pid"), ("int", "prev_prio"), ("long", "prev_state"),
        ("char", "next_comm[16]"), ("pid_t", "next_pid"), ("int", "next_prio"),
    ),
    '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%ld ==> next_comm=%s next_pid=%d next_prio=%d", '
    "REC->prev_comm, REC->prev_pid, REC->prev_prio, REC->prev_state, REC->next_comm, REC->next_pid, REC->next_prio",
    "prev_comm={prev_comm} prev_pid={prev_pid} prev_prio={prev_prio} prev_state={state} ==> "
    "next_comm={next_comm} next_pid={next_pid} next_prio={next_prio}",
)  # fmt: skip
WAKE_FIELDS = (("char", "comm[16]"), ("pid_t", "pid"), ("int", "prio"), ("int", "target_cpu"))
WAKE_FMT = '"comm=%s pid=%d prio=%d target_cpu=%03d", REC->comm, REC->pid, REC->prio, REC->target_cpu'
WAKE_TEXT = "comm={comm} pid={pid} prio={prio} target_cpu={target_cpu:03}"
WAKING = Point("sched", "sched_waking", 302, WAKE_FIELDS, WAKE_FMT, WAKE_TEXT)
WAKEUP = Point("sched", "sched_wakeup", 310, WAKE_FIELDS, WAKE_FMT, WAKE_TEXT)
WAKEUP_NEW = Point("sched", "sched_wakeup_new", 303, WAKE_FIELDS, WAKE_FMT, WAKE_TEXT)
RUNTIME = Point(
    "sched", "sched_stat_runtime", 309,
    (("char", "comm[16]"), ("pid_t", "pid"), ("u64", "runtime")),
    '"comm=%s pid=%d runtime=%llu [ns]", REC->comm, REC->pid, REC->runtime',
    "comm={comm} pid={pid} runtime={runtime} [ns]",
)  # fmt: skip
"""Linux has one whenever a task is charged; here there is one a turn, at its end."""
EXIT = Point(
    "kvm", "kvm_exit", 304,
    (
        ("unsigned int", "exit_reason"), ("unsigned long", "guest_rip"), ("u32", "isa"), ("u64", "info1"),
        ("u64", "info2"), ("u32", "intr_info"), ("u32", "error_code"), ("unsigned int", "vcpu_id"),
    ),
    '"vcpu %u reason %u rip 0x%lx info1 0x%016llx", REC->vcpu_id, REC->exit_reason, REC->guest_rip, REC->info1',
    "vcpu {vcpu_id} reason {reason} rip 0x{guest_rip:x} info1 0x{info1:016x}",
)  # fmt: skip
ENTRY = Point(
    "kvm", "kvm_entry", 305,
    (("unsigned int", "vcpu_id"), ("unsigned long", "rip")),
    '"vcpu %u, rip 0x%lx", REC->vcpu_id, REC->rip',
    "vcpu {vcpu_id}, rip 0x{rip:x}",
)  # fmt: skip
YIELD = Point(
    "vcpu_env", "kvm_yield", 306,
    (("unsigned int", "vcpu_id"), ("unsigned int", "target"), ("pid_t", "target_pid"), ("int", "ret")),
    '"vcpu %u target %u pid=%d ret=%d", REC->vcpu_id, REC->target, REC->target_pid, REC->ret',
    "vcpu {vcpu_id} target {target} pid={target_pid} ret={ret}",
)  # fmt: skip
THROTTLE = Point(
    "vcpu_env", "cfs_throttle", 307,
    (("char", "group[48]"), ("int", "throttled")),
    '"group=%s throttled=%d", REC->group, REC->throttled',
    "group={group} throttled={throttled}",
)  # fmt: skip
TASK_THROTTLED = Point(
    "vcpu_env", "task_throttle", 308,
    (("char", "comm[16]"), ("pid_t", "pid"), ("int", "throttled")),
    '"comm=%s pid=%d throttled=%d", REC->comm, REC->pid, REC->throttled',
    "comm={comm} pid={pid} throttled={throttled}",
)  # fmt: skip
POINTS = (SWITCH, WAKING, WAKEUP, WAKEUP_NEW, RUNTIME, EXIT, ENTRY, YIELD, THROTTLE, TASK_THROTTLED)


class Event(NamedTuple):
    """One event.

    Attributes:
        task: what ran on the CPU where it was recorded; NIL: the idle task.
        interrupt: an interrupt did it.
        values: of the point's fields, in order.
    """

    time_ns: int
    cpu: int
    task: int
    point: Point
    interrupt: bool
    values: tuple[Any, ...]


def events(recording: Recording) -> list[Event]:
    """All events of a recording in order of time."""
    return sorted(_events(recording), key=lambda event: event.time_ns)


def _events(recording: Recording) -> Iterator[Event]:
    tasks = recording.tasks
    comms = [task.comm for task in tasks] + [IDLE_COMM]  # the idle task's place is NIL
    pids = [task.pid for task in tasks] + [0]
    prios = [*recording.priorities, NORMAL_PRIORITY]
    current, since = recording.start["rq"]["curr"].tolist(), [recording.from_ns] * recording.nr_cpus
    for time_ns, kind, cpu, who, a, b, c, _ in recording.entries:
        if kind == SCHED_SWITCH:
            if who != NIL:
                yield Event(time_ns, cpu, who, RUNTIME, False, (comms[who], pids[who], time_ns - since[cpu]))
            current[cpu], since[cpu] = a, time_ns
            prev, following = (comms[p] if p != NIL else f"swapper/{cpu}" for p in (who, a))
            state = INTERRUPTIBLE if b else RUNNING
            values: tuple[Any, ...] = (prev, pids[who], prios[who], state, following, pids[a], prios[a])
            yield Event(time_ns, cpu, who, SWITCH, False, values)
        elif kind == SCHED_WAKING:
            for point in (WAKEUP_NEW,) if c else (WAKING, WAKEUP):
                yield Event(time_ns, a, b, point, b == NIL, (comms[who], pids[who], prios[who], cpu))
        elif kind == KVM_EXIT:
            reason = VMX_REASONS[EXITS[a]]
            yield Event(time_ns, cpu, who, EXIT, False, (reason, 0, VMX, 0, 0, 0, 0, tasks[who].vcpu))
        elif kind == KVM_ENTRY:
            yield Event(time_ns, cpu, who, ENTRY, False, (tasks[who].vcpu, 0))
        elif kind == YIELD_TO:
            yield Event(time_ns, cpu, who, YIELD, False, (tasks[who].vcpu, tasks[a].vcpu, pids[a], b))
        elif kind == CFS_THROTTLE:
            yield Event(time_ns, cpu, current[cpu], THROTTLE, a == 0, (recording.groups[who], a))
        elif kind == TASK_THROTTLE:
            yield Event(time_ns, cpu, current[cpu], TASK_THROTTLED, a == 0, (comms[who], pids[who], a))
