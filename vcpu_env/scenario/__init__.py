"""Typed, validated descriptions of experiments: host, VMs, workloads, length; the shipped ones in TOML."""

from vcpu_env.scenario.errors import ScenarioError
from vcpu_env.scenario.guest import GuestCosts
from vcpu_env.scenario.host import SCHED_FEATURES, Costs, Host, Kvm
from vcpu_env.scenario.host_tasks import HostTask, Step, Thread
from vcpu_env.scenario.load import apply_overrides, list_scenarios, load_rtapp, load_scenario, parse_scenario
from vcpu_env.scenario.model import Group, Run, Scenario
from vcpu_env.scenario.vm import Vm
from vcpu_env.scenario.workload_file import WorkloadFile

__all__ = [
    "SCHED_FEATURES",
    "Costs",
    "Group",
    "GuestCosts",
    "Host",
    "HostTask",
    "Kvm",
    "Run",
    "Scenario",
    "ScenarioError",
    "Step",
    "Thread",
    "Vm",
    "WorkloadFile",
    "apply_overrides",
    "list_scenarios",
    "load_rtapp",
    "load_scenario",
    "parse_scenario",
]
