"""A recording as a Perfetto trace: the host's scheduler, and beside it what no real trace has, the guests.

Every CPU's sched_switch and sched_waking are there as ftrace has them, so that Perfetto's own tables and rows work. A
VM is a process; its vCPUs' rows say what the guest does, those of its threads on which vCPU they are. Arrows join an
IPI with its handler, a wake-up with the thread that runs, the release of a lock with who takes it next, a yield with
the first run of its target.
"""

from collections import defaultdict
from collections.abc import Iterator

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import SCHED_SWITCH, SCHED_WAKING
from vcpu_env.inspect.activity import slices, thread_changes, vcpu_changes
from vcpu_env.inspect.counters import counter_values, throttled_at_start, throttled_values
from vcpu_env.inspect.names import FIRST_PROCESS
from vcpu_env.inspect.perfetto_flows import flow_events
from vcpu_env.inspect.perfetto_tracks import INSTANT, TrackWriter, packet
from vcpu_env.inspect.protobuf import message, number, text
from vcpu_env.inspect.recorder import NORMAL_PRIORITY, Recording
from vcpu_env.inspect.rows import VM_ROWS, group_row, lock_row, task_row, thread_row, vm_row, window_row
from vcpu_env.inspect.yields import arguments, yields

SLEEPS = 1
"""TASK_INTERRUPTIBLE, as `prev_state` of a task that sleeps; 0: it stays runnable."""
IDLE_COMM = "swapper"


def packets(recording: Recording) -> Iterator[bytes]:
    """The trace, piece by piece."""
    writer = TrackWriter()
    yield process_tree(recording)
    yield writer.clear()
    yield from rows(recording)
    yield from scheduler(recording)
    changes = list(vcpu_changes(recording))
    for v, begin_ns, end_ns, state in slices(changes, recording.to_ns):
        yield writer.slice(task_row(v), begin_ns, end_ns, state)
    for t, begin_ns, end_ns, state in slices(thread_changes(changes), recording.to_ns):
        yield writer.slice(thread_row(t), begin_ns, end_ns, state)
    yield from flow_events(recording, writer)
    for found in yields(recording):
        if found.target == NIL:
            name = "yields to nobody"
        else:
            name = f"yields to {recording.tasks[found.target].comm}"
        yield writer.event(INSTANT, task_row(found.vcpu), found.time_ns, name, (), arguments(recording, found))
    for uuid, time_ns, value in (*counter_values(recording, changes), *throttled_values(recording)):
        yield writer.count(uuid, time_ns, value)
    yield writer.event(INSTANT, window_row(), recording.from_ns, "begin")
    yield writer.event(INSTANT, window_row(), recording.to_ns, "end")


def process_tree(recording: Recording) -> bytes:
    """Which thread is of which process."""
    processes = {task.tgid: task.process for task in recording.tasks}
    tree = b"".join(message(1, number(1, pid) + text(3, name)) for pid, name in processes.items())
    for task in recording.tasks:
        tree += message(2, number(1, task.pid) + number(3, task.tgid) + text(2, task.comm))
    return packet(number(8, recording.from_ns) + message(2, tree))


def rows(recording: Recording) -> Iterator[bytes]:
    """Every row: VMs, their vCPUs, counters, threads and locks, and the window's own."""
    yield TrackWriter.row(window_row(), 0, "window of the trace")
    for i, vm in enumerate(recording.plan.scenario.expanded_vms):
        yield TrackWriter.process(vm_row(i), FIRST_PROCESS + i, vm.name)
        for rank, (name, unit) in enumerate(VM_ROWS):
            yield TrackWriter.row(vm_row(i, 1 + rank), vm_row(i), name, rank, unit)
    for tg in throttled_at_start(recording):
        yield TrackWriter.row(group_row(tg), 0, f"throttled (cpu.max): {recording.groups[tg]}", tg, "CPUs")
    for p, task in enumerate(recording.tasks):
        yield TrackWriter.thread(task_row(p), task.tgid, task.pid, task.comm)
    w = recording.start
    for t, name in enumerate(recording.threads):
        group = vm_row(int(w["guest_thread"]["vm"][t]), 1 + len(VM_ROWS) - 2)
        yield TrackWriter.row(thread_row(t), group, name, t)
    first = 0
    for i, guest in enumerate(recording.plan.guests):
        for lock in range(first, first + len(guest.lock_kinds)):
            yield TrackWriter.row(lock_row(lock), vm_row(i, len(VM_ROWS)), recording.locks[lock], lock)
        first += len(guest.lock_kinds)


def scheduler(recording: Recording) -> Iterator[bytes]:
    """Switches and wake-ups as ftrace events, a bundle a CPU. A first switch says who has the CPU at the begin."""
    pids = [task.pid for task in recording.tasks] + [0]  # the idle task's place is NIL
    comms = [task.comm.encode() for task in recording.tasks] + [IDLE_COMM.encode()]
    prios = [*recording.priorities, NORMAL_PRIORITY]
    bundles: dict[int, list[bytes]] = defaultdict(list)

    def switch(time_ns: int, cpu: int, prev: int, following: int, state: int) -> None:
        content = message(1, comms[prev]) + number(2, pids[prev]) + number(3, prios[prev]) + number(4, state)
        content += message(5, comms[following]) + number(6, pids[following]) + number(7, prios[following])
        event = number(1, time_ns) + number(2, pids[prev]) + message(4, content)
        bundles[cpu].append(message(2, event))

    for cpu, p in enumerate(recording.start["rq"]["curr"].tolist()):
        switch(recording.from_ns, cpu, NIL, p, 0)
    for time_ns, kind, cpu, who, a, b, _, _ in recording.entries:
        if kind == SCHED_SWITCH:
            switch(time_ns, cpu, who, a, SLEEPS if b else 0)
        elif kind == SCHED_WAKING:
            content = message(1, comms[who]) + number(2, pids[who]) + number(3, prios[who]) + number(4, 1)
            event = number(1, time_ns) + number(2, pids[b]) + message(20, content + number(5, cpu))
            bundles[a].append(message(2, event))
    for cpu in sorted(bundles):
        yield packet(message(1, number(1, cpu) + b"".join(bundles[cpu])))
