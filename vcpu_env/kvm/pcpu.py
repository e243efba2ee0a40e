"""What each physical CPU is doing, and the slots of the machine's events.

A CPU is idle, in the host kernel, polling for a halted vCPU, in guest mode, or runs another task of the host. In the
host kernel it finishes its current piece of work before it looks at anything: interrupts that arrive meanwhile are
noticed on the way into the guest, as in `xfer_to_guest_mode_handle_work()`.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.timeline import NEVER, event, set_event

IDLE, HOST, POLL, GUEST, TASK = range(5)
ENTER, ON_SPIN, HALT, HYPERCALL = range(4)
"""What follows the current host work: enter guest (or task), kvm_vcpu_on_spin(), kvm_vcpu_halt(), a yield hypercall."""

KICK_RESCHED, KICK_EVENT, KICK_POSTED = 1, 2, 4

pcpu = Struct(
    "pcpu",
    [
        # cache line 0
        ("mode", "i8"),
        ("vcpu", "i8"),  # NIL: idle, or a host task that is no vCPU has the CPU
        ("next_work", "i8"),
        ("kick_reasons", "i8"),
        ("since_ns", "i8"),
        ("guest_ns", "i8"),
        ("host_ns", "i8"),
        ("tick_phase_ns", "i8"),
        # seldom used, or by few machines
        ("last_vcpu", "i8"),  # whose state the CPU's caches and VMCS pointer hold
        ("hint_vcpu", "i8"),  # target of the last directed yield to this CPU, until its next pick
        ("hint_awaited", "i8"),  # that target is the vCPU that the yielder waits for
        ("idle_ns", "i8"),
        ("poll_ns", "i8"),
        ("task_ns", "i8"),
    ],
)

event_slots = Struct(
    "event_slots",
    [
        ("nr_cpus", "i8"),
        ("nr_vcpus", "i8"),  # the first of the host's tasks that is no vCPU
        ("tick", "i8"),
        ("kick", "i8"),
        ("run", "i8"),
        ("timer", "i8"),
        ("io", "i8"),
        ("task", "i8"),
        ("vm", "i8"),
        ("hrtick", "i8"),
        ("fair_server", "i8"),
        ("end", "i8"),  # from here on: those of cgroups, if a host has any
        ("change", "i8"),  # what an administrator does beside cgroups
    ],
    single=True,
)


def pcpu_arrays(nr_cpus: int) -> list[StructArray]:
    """The struct arrays of the physical CPUs."""
    return [pcpu.array(nr_cpus), event_slots.array()]


def init_pcpus(
    world, nr_vcpus: int, nr_threads: int, nr_vms: int, nr_host_tasks: int = 0, nr_hrticks: int = 0, nr_servers: int = 0
) -> None:
    """All CPUs idle; the slots: each CPU's tick, kick and segment, vCPU's timer, thread's device, host task, VM, and,
    on hosts with HRTICK, each CPU's timer of slices, with real-time tasks that of its fair server.
    """
    cpus, slots = world["pcpu"], world["event_slots"]
    nr_cpus = len(cpus)
    cpus["vcpu"] = cpus["last_vcpu"] = cpus["hint_vcpu"] = -1
    slots["nr_cpus"], slots["nr_vcpus"] = nr_cpus, nr_vcpus
    slots["kick"], slots["run"], slots["timer"] = nr_cpus, 2 * nr_cpus, 3 * nr_cpus
    slots["io"] = 3 * nr_cpus + nr_vcpus
    slots["task"] = 3 * nr_cpus + nr_vcpus + nr_threads
    slots["vm"] = slots["task"] + nr_host_tasks
    slots["hrtick"] = slots["vm"] + nr_vms
    slots["fair_server"] = slots["hrtick"] + nr_hrticks
    slots["end"] = slots["fair_server"] + nr_servers
    slots["change"] = NEVER


@kjit
def set_mode(w, cpu, mode, now_ns):
    """Account the time of the mode that ends and begin another."""
    pc = pcpu(w, cpu)
    past = now_ns - pc.since_ns
    if pc.mode == GUEST:
        pc.guest_ns += past
    elif pc.mode == HOST:
        pc.host_ns += past
    elif pc.mode == IDLE:
        pc.idle_ns += past
    elif pc.mode == POLL:
        pc.poll_ns += past
    else:
        pc.task_ns += past
    pc.mode = mode
    pc.since_ns = now_ns


@kjit
def kick(w, cpu, reason, when_ns):
    """Send an IPI (or a local interrupt) to `cpu`, to arrive at `when_ns`. Kicks that are under way are merged."""
    pc = pcpu(w, cpu)
    pc.kick_reasons |= reason
    slot = event_slots(w).kick + cpu
    if when_ns < event(w, slot).when_ns:
        set_event(w, slot, when_ns)


@kjit
def set_run_event(w, cpu, when_ns):
    """Let the CPU's current segment or host work end at `when_ns`."""
    set_event(w, event_slots(w).run + cpu, when_ns)
