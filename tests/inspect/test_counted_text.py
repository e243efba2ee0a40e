"""The text of a run's counters: rates, shares and times beside them, in 80 columns."""

from vcpu_env.inspect.counted_text import counter_lines
from vcpu_env.scenario import Scenario

VM = {"name": "a", "workload": "dedup", "work_units": 50.0, "alive_ns": 500_000_000, "cpu_ns": 600_000_000}
VM |= {"ready_ns": 300_000_000, "halted_ns": 100_000_000, "run_ns": 400_000_000, "spin_ns": 100_000_000}
VM |= {"calls": 4, "call_wait_ns": 6_000, "lock_wait_log2": [1, 2]}


def said(counted, **changes):
    scenario = Scenario(name="x", host={"cpus": 4}, vms=[{"name": "a", "vcpus": 2, "workload": "dedup", **changes}])
    lines = "\n".join(counter_lines(counted, scenario)).splitlines()
    assert max(map(len, lines)) <= 80
    return [line.split() for line in lines]


def test_shares_are_of_what_they_are_part_of():
    counted = {"kernel": "6.19", "time_ns": 500_000_000, "events": 1_000_000, "vms": [VM]}
    counted |= {"host": {"guest_ns": 500_000_000}, "kvm": {"ple_yield_attempt": 8, "ple_yield_ok": 2, "exits": 3}}
    lines = said(counted)
    for line in (
        ["events", "1,000,000", "2M/s"],
        ["work_units", "50", "100/s"],  # in half a second
        ["ready_ns", "300,000,000", "30.0%", "vCPU", "time"],  # two vCPUs for half a second
        ["spin_ns", "100,000,000", "25.0%", "run_ns"],
        ["call_wait_ns", "6,000", "1.5", "us", "calls"],
        ["guest_ns", "500,000,000", "25.0%", "all", "CPUs"],  # four CPUs for half a second
        ["ple_yield_ok", "2", "25.0%", "ple_yield_attempt"],
        ["exits", "3", "6/s"],
    ):
        assert line in lines
    assert not any(line[:1] == ["lock_wait_log2"] for line in lines)


def test_many_vms_and_tasks_fit():
    vms = [VM | {"name": f"vm-{i}", "ready_ns": 999_999_999_999} for i in range(5)]
    tasks = [{"name": "noise", "run_ns": 5, "yields": 0}, {"name": "kworker-cpu10", "run_ns": 1_000, "yields": 0}]
    lines = said({"time_ns": 500_000_000, "vms": vms, "host_tasks": tasks}, count=5)
    assert [line[1:] for line in lines if line[:1] == ["name"]] == [["vm-0", "vm-1"], ["vm-2", "vm-3"], ["vm-4"]]
    assert ["host_tasks", "run_ns"] in lines and ["kworker-cpu10", "1,000"] in lines


def test_nothing_to_divide_by():
    assert ["call_wait_ns", "0", "-", "calls"] in said({"time_ns": 0, "vms": [VM | {"calls": 0, "call_wait_ns": 0}]})
