"""Who makes time stand still: the words for a machine whose clock no longer moves (`timeline.time_stands_still`)."""

from vcpu_env.base.errors import InputError
from vcpu_env.base.jit import NIL
from vcpu_env.base.world import World
from vcpu_env.engine.host_tasks import program as host_program
from vcpu_env.guest import program as guest_program
from vcpu_env.scenario.model import Scenario


class StalledError(InputError):
    """A machine in which time stands still: programs or costs take none. The machine is lost."""


def operation_names(module: object) -> dict[int, str]:
    """The words for the operations of a module's programs."""
    return {kind: name[3:].lower() for name, kind in vars(module).items() if name.startswith("OP_")}


def check_stall(world: World, scenario: Scenario) -> None:
    """Raise StalledError if time stands still."""
    clock = world["machine_clock"][0]
    if clock["stalled_slot"] != NIL:
        who = whose_event(world, scenario, int(clock["stalled_slot"]))
        raise StalledError(
            f"scenario {scenario.name}: time stands still at {clock['now_ns']} ns, {who} goes on and on there "
            "(allowed: programs and costs that take time)"
        )


def whose_event(world: World, scenario: Scenario, slot: int) -> str:
    """The thread that an event belongs to, with the step that it is at; else what it belongs to."""
    slots = world["event_slots"][0]
    if slot < slots["timer"]:
        return on_cpu(world, scenario, slot % int(slots["nr_cpus"]))
    if slot < slots["io"]:
        return guest_thread(world, scenario, int(world["guest_vcpu"]["current"][slot - slots["timer"]]))
    if slot < slots["task"]:
        return guest_thread(world, scenario, int(slot - slots["io"]))
    if slot < slots["vm"]:
        return host_task(world, scenario, int(slot - slots["task"]))
    if slot < slots["hrtick"]:
        return "a VM's begin or end"
    if slot < slots["fair_server"]:
        return f"the timer of CPU {slot - slots['hrtick']}'s slices"
    if slot < slots["end"]:
        return f"the deadline server of CPU {slot - slots['fair_server']}"
    return "a change of the host" if slot >= slots["change"] else "a cgroup's timer"


def on_cpu(world: World, scenario: Scenario, cpu: int) -> str:
    """Who has a CPU."""
    vcpu, task = int(world["pcpu"]["vcpu"][cpu]), int(world["rq"]["curr"][cpu])
    if vcpu != NIL:
        return guest_thread(world, scenario, int(world["guest_vcpu"]["current"][vcpu]))
    first = int(world["event_slots"]["nr_vcpus"][0])
    return host_task(world, scenario, task - first) if task >= first else f"CPU {cpu}, which idles,"


def guest_thread(world: World, scenario: Scenario, thread: int) -> str:
    """A thread of a VM, and its step."""
    if thread == NIL:
        return "a guest that idles"
    at = world["guest_thread"][thread]
    kind = int(world["guest_op"]["kind"][at["pc"]])
    name = scenario.expanded_vms[at["vm"]].name
    return f"thread {at['index']} of VM '{name}' (at {operation_names(guest_program)[kind]})"


def host_task(world: World, scenario: Scenario, task: int) -> str:
    """A host task, and its step."""
    kind = int(world["host_op"]["kind"][world["host_task"]["pc"][task]])
    name = scenario.expanded_host_tasks[task].name
    return f"host task '{name}' (at {operation_names(host_program)[kind]})"
