"""A stand-in for the machine: counters that grow with time by known rates, for tests of what reads them."""

import os
import time
import zlib
from dataclasses import dataclass

import numpy as np

GAIN = {"stock": 1.0, "debooster": 1.1, "ipi": 0.9, "series-v2": 1.2, "oracle": 1.4, "oracle-hint": 1.25}


@dataclass(frozen=True)
class FakePolicy:
    name: str
    summary: str = "for tests"
    oracle: bool = False
    knobs: bool = False


POLICIES = {name: FakePolicy(name, oracle="oracle" in name, knobs=name == "oracle-hint") for name in GAIN}


class FakeMachine:
    """Work at 1000 units/s per VM times the policy's gain and a factor of seed and VM that all policies share."""

    def __init__(self, scenario, policy, seed):
        if scenario.vms[0].params.get("refuse"):
            raise ValueError("vms.0.params.refuse: unknown parameter")
        self.scenario, self.seed, self.now = scenario, seed, 0
        self.policy = policy if isinstance(policy, str) else policy.name

    def run_until(self, t_ns):
        time.sleep(float(os.environ.get("FAKE_MACHINE_S", "0")))
        if self.scenario.vms[0].params.get("die"):
            os._exit(9)
        self.now = t_ns

    def counters(self):
        seconds = self.now / 1e9
        vms = [self._vm(i, vm, seconds) for i, vm in enumerate(self.scenario.expanded_vms)]
        tried = int(1000 * seconds)
        guest = sum(vm["run_ns"] for vm in vms)
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
            "sched": {"nr_switches": tried // 2, "nr_migrations": tried // 10},
            "deboost": {"applied": int(300 * seconds) if self.policy != "stock" else 0, "limited": 0},
            "host": {
                "guest_ns": guest,
                "host_ns": int(1e9 * seconds),
                "poll_ns": 0,
                "idle_ns": int(1e9 * seconds),
                "task_ns": 0,
            },
        }

    def _vm(self, i, vm, seconds):
        luck = zlib.crc32(f"{self.scenario.name} {self.seed} {i}".encode()) % 100 / 100
        noise = zlib.crc32(f"{self.scenario.name} {self.seed} {i} {self.policy}".encode()) % 100 / 5000
        rate = 1000.0 * (1 + luck) * GAIN.get(self.policy, 1.05) * (1 + (noise if self.policy != "stock" else 0))
        if vm.params.get("stalled"):
            rate = 0.0
        counted = {
            "name": vm.name,
            "workload": vm.workload,
            "work_units": rate * seconds,
            "run_ns": int(8e9 * seconds),
            "spin_ns": int((1e9 if self.policy == "stock" else 5e8) * seconds),
            "irq_ns": int(1e8 * seconds),
            "cold_lost_ns": int(1e8 * seconds),
            "smt_lost_ns": 0,
            "steal_ns": int(8e9 * seconds),
            "calls": int(10 * seconds),
            "call_wait_ns": int(1e6 * seconds),
            "lock_spins": int(10 * seconds),
            "lock_wait_ns": int(1e5 * seconds),
        }
        if vm.params.get("histograms"):
            counted["ipi_latency_log2"] = [0] * 10 + [int(100 * seconds), int(50 * seconds)]
        return counted
