"""A guest that stands still, for tests of single steps: thread i runs on vCPU i, on CPU i, nothing else happens."""

import numpy as np

from tests.helpers.at_once import at_once
from vcpu_env.guest.types import RUNNING, SEG_SPIN
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario


class Probe:
    """One VM of `vcpus` vCPUs with as many threads, and one spin lock."""

    def __init__(self, vcpus: int = 4, kvm: dict | None = None, **fields):
        vm = {"name": "vm", "vcpus": vcpus, "workload": "micro-lwp", "params": {"threads": vcpus}, **fields}
        scenario = at_once(Scenario(name="probe", host={"cpus": vcpus}, kvm=kvm or {}, vms=[vm]))
        self.machine = Machine(scenario, "stock", 0)
        self.world, self.w = self.machine.world, self.machine.world.handle
        ids = np.arange(vcpus)
        guests, threads = self.world["guest_vcpu"], self.world["guest_thread"]
        guests["current"] = guests["cpu"] = self.world["lapic"]["cpu"] = ids
        guests["run_queue"], guests["nr_queued"] = (-1, -1), 0
        guests["segment"] = SEG_SPIN
        threads["vcpu"], threads["state"], threads["next"] = ids, RUNNING, -1
        self.world["pcpu"]["vcpu"] = ids

    def set(self, struct: str, index: int, **fields) -> None:
        for name, value in fields.items():
            self.world[struct][name][index] = value

    def get(self, struct: str, index: int, *names: str):
        values = tuple(self.world[struct][name][index].item() for name in names)
        return values[0] if len(values) == 1 else values
