"""A recording as ftrace prints it: trace-cmd, KernelShark, Perfetto and ``vcpu-env fit`` read it.

The scheduler's and KVM's events have the kernel's formats; `kvm_yield` is our own. Wake-ups by an interrupt carry its
flag, since nobody's program is their cause.
"""

from collections.abc import Iterator

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import KVM_ENTRY, KVM_EXIT, SCHED_SWITCH, SCHED_WAKING, YIELD_TO
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import EXITS

HEADER = """\
# tracer: nop
#
# entries-in-buffer/entries-written: {count}/{count}   #P:{cpus}
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
PRIORITY = 120


def lines(recording: Recording) -> Iterator[str]:
    """The text, line by line."""
    comms = [task.comm for task in recording.tasks] + ["<idle>"]
    pids = [task.pid for task in recording.tasks] + [0]
    swapper = [*comms[:-1], "swapper"]
    found = []
    for time_ns, kind, cpu, who, a, b, c, _ in recording.entries:
        flags = "d..2."
        if kind == SCHED_SWITCH:
            state = "S" if b else "R"
            number = f"/{cpu}"
            prev, following = (swapper[p] + (number if p == NIL else "") for p in (who, a))
            rest = (
                f"sched_switch: prev_comm={prev} prev_pid={pids[who]} prev_prio={PRIORITY} prev_state={state} ==> "
                f"next_comm={following} next_pid={pids[a]} next_prio={PRIORITY}"
            )
            found.append((time_ns, cpu, who, flags, rest))
        elif kind == SCHED_WAKING:
            flags = "d.h2." if b == NIL else flags
            rest = f"comm={comms[who]} pid={pids[who]} prio={PRIORITY} target_cpu={cpu:03}"
            name = "sched_wakeup_new" if c else "sched_waking"
            found.append((time_ns, a, b, flags, f"{name}: {rest}"))
        elif kind == KVM_EXIT:
            vcpu = recording.tasks[who].vcpu
            rest = f"kvm_exit: vcpu {vcpu} reason {EXITS[a]} rip 0x0 info1 0x0000000000000000"
            found.append((time_ns, cpu, who, flags, rest))
        elif kind == KVM_ENTRY:
            rest = f"kvm_entry: vcpu {recording.tasks[who].vcpu}, rip 0x0"
            found.append((time_ns, cpu, who, flags, rest))
        elif kind == YIELD_TO:
            rest = f"kvm_yield: vcpu {recording.tasks[who].vcpu} target {recording.tasks[a].vcpu} pid={pids[a]} ret={b}"
            found.append((time_ns, cpu, who, flags, rest))
    found.sort(key=lambda event: event[0])
    yield from HEADER.format(count=len(found), cpus=recording.nr_cpus).splitlines(keepends=True)
    for time_ns, cpu, p, flags, rest in found:
        seconds, ns = divmod(time_ns, 1_000_000_000)
        yield f"{comms[p]:>16}-{pids[p]:<7} [{cpu:03}] {flags} {seconds:5}.{ns:09}: {rest}\n"
