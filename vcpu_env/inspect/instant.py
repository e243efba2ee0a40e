"""A machine at one instant as the host's files show it: /proc/schedstat, and the counters of debugfs's kvm."""

from collections.abc import Iterator

from vcpu_env.kvm.types import COUNTERS
from vcpu_env.machine import Machine

SCHEDSTAT_VERSION = 17
NS = 1_000_000_000


def schedstat(machine: Machine) -> Iterator[str]:
    """/proc/schedstat: the line of each CPU; those of scheduling domains are not kept."""
    rq = machine.world["rq"]
    yield f"version {SCHEDSTAT_VERSION}\n"
    yield f"timestamp {machine.now_ns * int(machine.world['sched_tunables']['hz'][0]) // NS}\n"
    names = "yld_count", "sched_count", "sched_goidle", "ttwu_count", "ttwu_local"
    for cpu, of_cpu in enumerate(rq):
        counts = [int(of_cpu[name]) for name in (*names, "rq_cpu_time_ns", "run_delay_ns", "pcount")]
        counts.insert(1, 0)  # a field that the kernel keeps for old readers
        yield f"cpu{cpu} {' '.join(map(str, counts))}\n"


def kvm_stat(machine: Machine) -> Iterator[str]:
    """The counters of /sys/kernel/debug/kvm: sums over all VMs, then a column a VM."""
    w, vms = machine.world, machine.scenario.expanded_vms
    yield f"{'Event':32} {'Total':>14} " + " ".join(f"{vm.name:>14}" for vm in vms) + "\n"
    for name in COUNTERS:
        values = w["kvm_vcpu"][name]
        of_vm = [int(values[w["kvm_vcpu"]["vm"] == i].sum()) for i in range(len(vms))]
        yield f"{name:32} {sum(of_vm):14} " + " ".join(f"{value:14}" for value in of_vm) + "\n"
