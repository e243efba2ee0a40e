"""A made-up kernel and probes for it."""

from vcpu_env.realism.kernel_facts import KernelFacts
from vcpu_env.realism.probe import Probe

FACTS = KernelFacts(
    release="6.18.1",
    cpus=2,
    threads_per_core=1,
    hz=250,
    hz_source="configuration",
    base_slice_ns=1_400_000,
    base_slice_source="debugfs",
    preempt="none",
    lag_clamp="6.19.9",
    model="made up",
    virtual=True,
)


TASKS = [{"name": "t"}]


def probe(**fields) -> Probe:
    return Probe(**({"name": "p", "summary": "one", "host_tasks": TASKS} | fields))
