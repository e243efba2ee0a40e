"""The fake machine with all the counters that studies read."""

from tests.helpers.fake_machine import FakeMachine

MACHINE = "tests.helpers.counting_machine:CountingMachine"


class CountingMachine(FakeMachine):
    """Adds counters that grow with time, alike under all policies."""

    def counters(self):
        counted = super().counters()
        events = int(self.now // 1_000_000)
        counted["kvm"] |= {"ple_yield_ran": events // 8, "exits": events}
        names = ("yields", "applied", "penalty_ns", "limited", "cross_rq", "wrapped", "forfeit")
        counted["deboost"] |= {name: events // (i + 1) for i, name in enumerate(names)}
        for vm in counted["vms"]:
            vm |= {"preempt_in_lock": events, "ipis": events, "ipi_latency_ns": 1000 * events}
        return counted
