"""What every vCPU and every guest thread does at any time of a recording, as changes from one state to the next.

A vCPU is in the guest (``user``, ``kernel``, ``irq ...``, ``spin ...``), in the host kernel for it (``host ...``, with
the exit's reason), polls in a halt, is halted, has been preempted, or was woken and waits for a CPU. A thread has a
vCPU, spins on it, or has one that has no CPU itself. Throttled: runnable, but a group that it is in has used up its
quota.
"""

from collections.abc import Iterable, Iterator

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import GUEST_SEGMENT, HALT_POLL, KVM_EXIT, SCHED_SWITCH, SCHED_WAKING, TASK_THROTTLE
from vcpu_env.base.world import World
from vcpu_env.guest.types import SEG_COMPUTE, SEG_IRQ, SEG_SPIN, SPIN_CALL
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import EXITS, VECTORS
from vcpu_env.kernel.types import TASK_DEAD, TASK_NEW
from vcpu_env.kvm.pcpu import GUEST, POLL

Change = tuple[int, int, str, int]
"""(time in ns, who, the state from now on, the guest thread on a vCPU or the vCPU of a thread)."""

USER, KERNEL, POLLING, HALTED, PREEMPTED, WOKEN, THROTTLED, SWITCHED = (
    "user", "kernel", "poll", "halted", "preempted", "woken", "throttled", "host switch",
)  # fmt: skip
ABSENT = ""
"""The state of a vCPU that does not exist, and of a thread that has no vCPU."""
RUNS, WITHOUT_CPU = "run", "vCPU has no CPU"

HOST_STATES = {reason: f"host {name}" for reason, name in EXITS.items()}
IRQ_STATES = {vector: f"irq {name}" for vector, name in VECTORS.items()}


def segment_state(segment: int, on: int, how: int) -> str:
    """The state of a vCPU in a segment of guest time."""
    if segment == SEG_COMPUTE:
        return KERNEL if how else USER
    if segment == SEG_IRQ:
        return IRQ_STATES[on]
    return "spin call" if how == SPIN_CALL else f"spin lock {on}"


def is_throttled(world: World, p: int) -> bool:
    """Whether a task is runnable and on no queue, because a group that it is in has used up its quota."""
    return bool(world["task_struct"]["on_rq"][p]) and not world["sched_entity"]["on_rq"][p]


def states_at_start(recording: Recording) -> list[tuple[str, int]]:
    """State and thread of every vCPU when the window begins."""
    w = recording.start
    guests, threads = w["guest_vcpu"], w["guest_thread"]
    on_cpu = {int(p): int(w["pcpu"]["mode"][cpu]) for cpu, p in enumerate(w["rq"]["curr"])}
    found = []
    for v in range(recording.nr_vcpus):
        g, task_state = guests[v], w["task_struct"]["state"][v]
        mode, thread = on_cpu.get(v), int(g["current"])
        if mode == GUEST:
            th = threads[thread]
            spins, irq = g["segment"] == SEG_SPIN, g["segment"] == SEG_IRQ
            on = g["irq"] if irq else th["wait_lock"]
            how = th["activity"] if spins else th["in_kernel"]
            state = segment_state(int(g["segment"]), int(on), int(how))
        elif mode is not None:
            state = POLLING if mode == POLL else "host"
        elif task_state in (TASK_NEW, TASK_DEAD):
            state = ABSENT
        else:
            waits = THROTTLED if is_throttled(w, v) else PREEMPTED
            state = waits if task_state == 0 else HALTED
        found.append((state, thread))
    return found


def vcpu_changes(recording: Recording) -> Iterator[Change]:
    """Every change of a vCPU's state, in order; first those that say how the window begins."""
    nr_vcpus, current = recording.nr_vcpus, [NIL] * recording.nr_vcpus
    leaving = NIL
    for v, (state, thread) in enumerate(states_at_start(recording)):
        current[v] = thread
        yield recording.from_ns, v, state, thread
    for time_ns, kind, _, who, a, b, c, d in recording.entries:
        if kind == GUEST_SEGMENT:
            current[who] = b
            yield time_ns, who, segment_state(a, c, d), b
        elif kind == KVM_EXIT:
            current[who] = c
            yield time_ns, who, HOST_STATES[a], c
        elif kind == HALT_POLL:
            yield time_ns, who, POLLING, current[who]
        elif kind == SCHED_SWITCH:
            if NIL < who < nr_vcpus:
                off = THROTTLED if who == leaving else PREEMPTED
                yield time_ns, who, HALTED if b else off, current[who]
            if NIL < a < nr_vcpus:
                yield time_ns, a, SWITCHED, current[a]
            leaving = NIL
        elif kind == TASK_THROTTLE and who < nr_vcpus:
            if a:
                leaving = who
            else:
                yield time_ns, who, PREEMPTED, current[who]
        elif kind == SCHED_WAKING and who < nr_vcpus:
            yield time_ns, who, WOKEN, current[who]


def coarse(state: str) -> str:
    """A thread's state while its vCPU is in this one."""
    if state.startswith("spin"):
        return state
    return WITHOUT_CPU if state in (PREEMPTED, WOKEN, THROTTLED, HALTED) else RUNS


def thread_changes(changes: Iterable[Change]) -> Iterator[Change]:
    """Every change of a guest thread's state, from those of the vCPUs; a thread without a vCPU is ABSENT."""
    on_vcpu: dict[int, tuple[int, str]] = {}
    for time_ns, v, state, thread in changes:
        before, shown = on_vcpu.get(v, (NIL, ABSENT)), coarse(state)
        if before == (thread, shown):
            continue
        on_vcpu[v] = thread, shown
        if before[0] not in (NIL, thread):
            yield time_ns, before[0], ABSENT, v
        if thread != NIL:
            yield time_ns, thread, shown, v


def slices(changes: Iterable[Change], end_ns: int) -> Iterator[tuple[int, int, int, str]]:
    """(who, begin, end, state): times in ns in which a state lasts; in the order in which they end."""
    since: dict[int, tuple[int, str]] = {}
    for time_ns, who, state, _ in changes:
        begin_ns, before = since.get(who, (time_ns, ABSENT))
        if state == before:
            continue
        if before != ABSENT and time_ns > begin_ns:
            yield who, begin_ns, time_ns, before
        since[who] = time_ns, state
    for who, (begin_ns, state) in since.items():
        if state != ABSENT and end_ns > begin_ns:
            yield who, begin_ns, end_ns, state
