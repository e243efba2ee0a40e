"""From a scenario's writes to files under /sys and its pins to the machine's changes."""

from vcpu_env.base.structs import StructArray
from vcpu_env.base.timeline import set_event
from vcpu_env.base.world import World
from vcpu_env.engine.host_changes import NIL, host_change_arrays, place_of
from vcpu_env.kernel.cpumask import cpu_words
from vcpu_env.scenario.host_writes import host_writes, pins
from vcpu_env.scenario.model import Scenario
from vcpu_env.scenario.vm_lives import vm_stops

NO_CPUS = (0, 0, 0, 0)


class HostChanges:
    """The changes of a scenario that are not of cgroups, on their way into a world; nothing at all if there are none.

    Attributes:
        nr_slots: on the timeline, from `first_slot` on.
    """

    def __init__(self, scenario: Scenario, first_slot: int):
        self.first_slot = first_slot
        self.rows = [
            (write.at_ns, (*place_of(write.name), write.value, NIL, NO_CPUS, 0, NIL)) for write in host_writes(scenario)
        ]
        self.rows += [(pin.at_ns, (NIL, NIL, NIL, pin.vcpu, cpu_words(pin.cpus), 0, NIL)) for pin in pins(scenario)]
        self.rows += [
            (stop.at_ns, (NIL, NIL, int(stop.stops), NIL, NO_CPUS, 0, stop.vm)) for stop in vm_stops(scenario)
        ]
        self.nr_slots = len(self.rows)

    def arrays(self) -> list[StructArray]:
        """Their struct array."""
        return host_change_arrays(self.nr_slots) if self.rows else []

    def fill(self, world: World) -> None:
        """Put them on the timeline."""
        world["event_slots"]["change"] = self.first_slot
        for i, (at_ns, row) in enumerate(self.rows):
            world["host_change"][i] = row
            set_event(world.handle, self.first_slot + i, at_ns)
