"""A stand-in for the machine: counters that grow with time by known rates, for tests of what reads them."""

import os
import time
import zlib

import numpy as np

GAIN = {"stock": 1.0, "debooster": 1.1, "ipi": 0.9, "series-v2": 1.2}
POLICIES = {name: object() for name in GAIN}


class FakeMachine:
    """Work at 1000 units/s per VM times the policy's gain and a factor of seed and VM that all policies share."""

    def __init__(self, scenario, policy, seed):
        if scenario.vms[0].params.get("refuse"):
            raise ValueError("vms.0.params.refuse: unknown parameter")
        self.scenario, self.policy, self.seed, self.now = scenario, policy, seed, 0

    def run_until(self, t_ns):
        time.sleep(float(os.environ.get("FAKE_MACHINE_S", "0")))
        self.now = t_ns

    def counters(self):
        seconds = self.now / 1e9
        vms = [self._vm(i, vm, seconds) for i, vm in enumerate(self.scenario.expanded_vms)]
        tried = int(1000 * seconds)
        return {
            "time_ns": self.now,
            "events": np.int64(self.now // 1000),
            "vms": vms,
            "kvm": {
                "pause_exits": 2 * tried,
                "ple_yield_attempt": tried,
                "ple_yield_ok": tried // 2,
                "ple_yield_same_rq": tried // 4,
                "ple_yield_useful": tried // 10,
            },
            "sched": {"yld_count": tried // 2},
            "deboost": {"applied": int(300 * seconds), "limited": 0},
        }

    def _vm(self, i, vm, seconds):
        luck = zlib.crc32(f"{self.scenario.name} {self.seed} {i}".encode()) % 100 / 100
        noise = zlib.crc32(f"{self.scenario.name} {self.seed} {i} {self.policy}".encode()) % 100 / 5000
        rate = 1000.0 * (1 + luck) * GAIN[self.policy] * (1 + (noise if self.policy != "stock" else 0))
        if vm.params.get("stalled"):
            rate = 0.0
        return {
            "name": vm.name,
            "workload": vm.workload,
            "work_units": rate * seconds,
            "run_ns": int(8e9 * seconds),
            "spin_ns": int(1e9 * seconds),
            "steal_ns": int(8e9 * seconds),
            "ipis": int(10 * seconds),
        }
