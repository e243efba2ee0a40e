"""A recording as ftrace prints it in the file `trace`: Perfetto and ``vcpu-env fit`` read it.

Wake-ups by an interrupt carry its flag, since nobody's program is their cause.
"""

from collections.abc import Iterator

from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.tracepoints import EXIT, IDLE_COMM, SWITCH, VMX_REASONS, Event, events

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
REASONS = {number: name for name, number in VMX_REASONS.items()}


def lines(recording: Recording) -> Iterator[str]:
    """The text, line by line."""
    comms = [task.comm for task in recording.tasks] + [IDLE_COMM]
    pids = [task.pid for task in recording.tasks] + [0]
    found = events(recording)
    yield from HEADER.format(count=len(found), cpus=recording.nr_cpus).splitlines(keepends=True)
    for event in found:
        flags = "d.h2." if event.interrupt else "d..2."
        seconds, ns = divmod(event.time_ns, 1_000_000_000)
        yield (
            f"{comms[event.task]:>16}-{pids[event.task]:<7} [{event.cpu:03}] {flags} {seconds:5}.{ns:09}: "
            f"{event.point.name}: {text(event)}\n"
        )


def text(event: Event) -> str:
    """What stands behind an event's name."""
    names = [name.partition("[")[0] for _, name in event.point.fields]
    told = dict(zip(names, event.values, strict=True))
    if event.point is SWITCH:
        told["state"] = "S" if told["prev_state"] else "R"
    elif event.point is EXIT:
        told["reason"] = REASONS[told["exit_reason"]]
    return event.point.text.format(**told)
