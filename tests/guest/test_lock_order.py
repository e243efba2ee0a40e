"""Spin locks under overcommit, in the order of published comparisons.

First-come locks far below unfair ones where waiters lose their CPUs (Ouyang and Lange, VEE 2013: 5.3 times on average);
paravirtual ones no slower than first-come ones.
"""

import pytest

from vcpu_env.counters import measure
from vcpu_env.guest.types import SPIN_LOCK_KINDS
from vcpu_env.machine import Machine
from vcpu_env.scenario import apply_overrides, load_scenario

pytestmark = pytest.mark.slow

SEEDS = range(4)


def work(scenario: str, lock: str, *overrides: str) -> list[float]:
    """Units done with one kind of lock in 0.2 s, for each seed."""
    fields = [f"vms.*.lock={lock}", "run.warmup_ns=50_000_000", "run.duration_ns=200_000_000", *overrides]
    changed = apply_overrides(load_scenario(scenario), fields)
    results = [measure(Machine(changed, seed=seed), changed.run) for seed in SEEDS]
    return [sum(vm["work_units"] for vm in result["vms"]) for result in results]


@pytest.mark.parametrize("scenario", ["micro-lwp", "dbench-2vm"])
def test_first_come_locks_are_far_behind_where_siblings_share_cpus(scenario):
    done = {lock: work(scenario, lock, "host.placement=random_pinning") for lock in SPIN_LOCK_KINDS}
    for fifo, tas, pvqspinlock in zip(done["fifo"], done["tas"], done["pvqspinlock"], strict=True):
        assert tas > 3 * fifo
        assert pvqspinlock > 3 * fifo
        assert pvqspinlock > tas / 2


def test_paravirtual_locks_bear_kernel_threads():
    """A queue of preempted waiters is passed by; with kernel threads in between the VMs' CPUs are no longer in step."""
    fifo, pvqspinlock = (sum(work("micro-lwp", lock, "host.noise=light")) for lock in ("fifo", "pvqspinlock"))
    assert pvqspinlock > fifo


def test_without_overcommit_locks_are_equal():
    fifo, tas, pvqspinlock = (work("dbench-1vm-16vcpu", lock) for lock in ("fifo", "tas", "pvqspinlock"))
    assert tas == pytest.approx(fifo, rel=0.01)
    assert pvqspinlock == pytest.approx(fifo, rel=0.01)


@pytest.mark.parametrize("scenario", ["kbuild-2vm", "kbuild-4vm"])
def test_pause_loop_exits_pay_for_a_kernel_build(scenario):
    """Published: +2 % at 2:1, more with more; here at least no loss, and much where locks are first-come."""
    for lock, least in (("pvqspinlock", 0.99), ("fifo", 1.5)):
        off, on = (sum(work(scenario, lock, f"kvm.ple={ple}")) for ple in ("off", "vmx"))
        assert on > least * off
