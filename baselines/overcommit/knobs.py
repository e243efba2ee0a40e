"""What an operator can turn on an overcommitted host, and what only a patched kernel has.

A knob is a change of the scenario, or a kernel. Whether it can be turned on a host, and whether it is turned already,
comes out when it is tried.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from baselines.overcommit.hosts import QuestionError, with_vms
from vcpu_env.scenario import Scenario, ScenarioError, apply_overrides
from vcpu_env.scenario.errors import nearest
from vcpu_env.scenario.vm import VcpuSched

Needs = Literal["write", "restart", "reboot", "hardware", "patch"]
"""A file that is written at run time; a VM that starts again; another kernel; other hardware; a patched kernel."""


@dataclass(frozen=True)
class Knob:
    """One knob.

    Attributes:
        what: what is done, as an operator would say it.
        needs: what it takes.
        set: changes of the scenario.
        edit: what else changes in it; raises QuestionError where that cannot be.
        policy: the kernel's way to yield.
        risk: whom it may harm, if that is known without measuring.
    """

    name: str
    what: str
    needs: Needs
    set: tuple[str, ...] = ()
    edit: Callable[[Scenario], Scenario] | None = None
    policy: str = "stock"
    risk: str = ""

    def turn(self, scenario: Scenario) -> Scenario:
        """The host with this knob turned.

        Raises:
            QuestionError: it cannot be turned here, or is already.
        """
        try:
            changed = apply_overrides(scenario, self.set) if self.edit is None else self.edit(scenario)
        except ScenarioError as error:
            raise QuestionError(str(error).splitlines()[0]) from None
        if self.policy == "stock" and changed == scenario:
            raise QuestionError("it is so already")
        return changed


def pinned(scenario: Scenario, floating: bool) -> Scenario:
    """All vCPUs in turn over all CPUs: each on one, or those of a VM anywhere on the VM's."""
    if any(vm.pinning is not None for vm in scenario.vms):
        raise QuestionError("the VMs are pinned already")
    if scenario.host.placement not in ("launched", "one_per_cpu"):
        raise QuestionError(f"host.placement is '{scenario.host.placement}'")
    vms, first = [], 0
    for vm in scenario.expanded_vms:
        own = tuple((first + i) % scenario.host.cpus for i in range(vm.vcpus))
        every = tuple(sorted(set(own)))
        vms.append(vm.model_copy(update={"pinning": tuple(every if floating else (cpu,) for cpu in own)}))
        first += vm.vcpus
    return with_vms(scenario, vms, scenario.name)


def unpinned(scenario: Scenario) -> Scenario:
    """No vCPU pinned: the scheduler places them."""
    if all(vm.pinning is None for vm in scenario.vms):
        raise QuestionError("no VM is pinned")
    vms = [vm.model_copy(update={"pinning": None}) for vm in scenario.vms]
    return with_vms(scenario, vms, scenario.name)


def half_the_vcpus(scenario: Scenario) -> Scenario:
    """Every VM with half its vCPUs."""
    if all(vm.vcpus == 1 for vm in scenario.vms):
        raise QuestionError("the VMs have one vCPU each")
    vms = []
    for vm in scenario.vms:
        half = (vm.vcpus + 1) // 2
        fewer: dict[str, object] = {"vcpus": half}
        for field in ("pinning", "vcpu_groups"):
            if getattr(vm, field) is not None:
                fewer[field] = getattr(vm, field)[:half]
        left = [
            sched.model_copy(
                update={"vcpus": None if sched.vcpus is None else tuple(v for v in sched.vcpus if v < half)}
            )
            for sched in vm.vcpusched
        ]
        fewer["vcpusched"] = tuple(sched for sched in left if sched.vcpus != ())
        vms.append(vm.model_copy(update=fewer))
    return with_vms(scenario, vms, scenario.name)


def without_smt(scenario: Scenario) -> Scenario:
    """One hardware thread a core: half the CPUs."""
    topology = scenario.host.topology or ""
    if not topology.endswith("2t"):
        raise QuestionError("the host's topology has no second threads")
    if any(vm.pinning is not None or vm.emulator_cpus is not None for vm in scenario.vms):
        raise QuestionError("pins name CPUs that would go")
    data = scenario.model_dump(exclude_unset=True)
    data["host"] = {name: value for name, value in data["host"].items() if name != "cpus"}
    data["host"]["topology"] = topology.removesuffix("2t")
    return Scenario(**data)


def weighted_by_size(scenario: Scenario) -> Scenario:
    """Every VM with 100 for each vCPU, as far as cpu.weight goes."""
    if any(vm.vcpu_groups is not None for vm in scenario.vms):
        raise QuestionError("vcpu_groups name the vCPUs' cgroups")
    if scenario.host.cgroups == "flat":
        raise QuestionError("VMs have no cgroups")
    if len({vm.vcpus for vm in scenario.vms}) == 1 and len({vm.weight for vm in scenario.vms}) == 1:
        raise QuestionError("the VMs are of one size and one weight")
    vms = [vm.model_copy(update={"weight": min(100 * vm.vcpus, 10_000)}) for vm in scenario.vms]
    return with_vms(scenario, vms, scenario.name)


def all_fifo(scenario: Scenario) -> Scenario:
    """Every vCPU thread SCHED_FIFO, at one priority."""
    fifo = (VcpuSched(scheduler="fifo", priority=1),)
    return with_vms(scenario, [vm.model_copy(update={"vcpusched": fifo}) for vm in scenario.vms], scenario.name)


def other_hz(scenario: Scenario) -> Scenario:
    """The other usual tick rate."""
    return apply_overrides(scenario, [f"host.hz={250 if scenario.host.hz == 1000 else 1000}"])


TOLD = "vms.*.steal_time=reported"

KNOBS: dict[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob("pin", "vcpupin: vCPUs in turn over all CPUs, one each", "write", edit=partial(pinned, floating=False)),
        Knob("pin-sets", "vcpupin: each VM on as many CPUs, in turn", "write", edit=partial(pinned, floating=True)),
        Knob("unpin", "no vcpupin", "write", edit=unpinned),
        Knob(
            *("cgroups-flat", "all vCPUs in one cgroup", "restart", ("host.cgroups=flat",)),
            risk="VMs with few vCPUs: shares go by vCPU",
        ),
        Knob("cgroups-per-vm", "one cgroup a VM, none a vCPU", "restart", ("host.cgroups=per_vm",)),
        Knob("cgroups-libvirt", "libvirt's cgroups, one a vCPU", "restart", ("host.cgroups=libvirt",)),
        Knob(
            *("weights-by-size", "cpu.weight=100 for each vCPU", "write"),
            edit=weighted_by_size,
            risk="VMs with few vCPUs, or with a large weight now",
        ),
        Knob(
            *("vcpusched-fifo", "vcpusched fifo 1: every vCPU thread real-time", "restart"),
            edit=all_fifo,
            risk="whoever shares a CPU with a vCPU that does not sleep, the host's own threads too",
        ),
        Knob("ple-off", "kvm_intel.ple_gap=0: no PAUSE exits", "reboot", ("kvm.ple_gap=0",)),
        Knob("ple-window-x4", "kvm_intel.ple_window=16384", "reboot", ("kvm.ple_window=16384",)),
        Knob("halt-poll-off", "kvm.halt_poll_ns=0", "write", ("kvm.halt_poll_ns=0",)),
        Knob("halt-poll-50us", "kvm.halt_poll_ns=50000", "write", ("kvm.halt_poll_ns=50_000",)),
        Knob("hz", "CONFIG_HZ: 250 for 1000, or back", "reboot", edit=other_hz),
        Knob("slice-1ms", "sched/base_slice_ns=1000000", "write", ("host.base_slice_ns=1_000_000",)),
        Knob("slice-10ms", "sched/base_slice_ns=10000000", "write", ("host.base_slice_ns=10_000_000",)),
        Knob("preempt-lazy", "sched/preempt=lazy", "write", ("host.preempt=lazy",)),
        Knob("next-buddy", "sched/features: NEXT_BUDDY", "write", ("host.features.NEXT_BUDDY=true",)),
        Knob("no-parity", "sched/features: NO_RUN_TO_PARITY", "write", ("host.features.RUN_TO_PARITY=false",)),
        Knob("pv-spinlock", "pvspinlock on", "restart", ("vms.*.lock=pvqspinlock", TOLD)),
        Knob("pv-tlb-flush", "kvm-pv-tlb-flush on", "restart", (TOLD, "vms.*.pv_tlb_flush=true")),
        Knob("pv-sched-yield", "kvm-pv-sched-yield on", "restart", (TOLD, "vms.*.pv_sched_yield=true")),
        Knob("pv-ipi", "kvm-pv-ipi on", "restart", ("vms.*.ipi_mode=pv",)),
        Knob("apicv", "posted interrupts (APICv)", "hardware", ("kvm.apicv=apicv",)),
        Knob("ipiv", "IPI virtualisation", "hardware", ("kvm.apicv=ipiv",)),
        Knob("smt-off", "one thread a core", "write", edit=without_smt, risk="everybody: half the CPUs"),
        Knob(
            *("half-vcpus", "every VM with half its vCPUs", "restart"),
            edit=half_the_vcpus,
            risk="a VM that is alone at times: it can't use what is free",
        ),
        Knob("linux-6.12", "directed yield of Linux 6.12", "reboot", policy="stock-6.12"),
        Knob("linux-6.13", "directed yield of Linux 6.13 to 6.18", "reboot", policy="stock-6.13"),
        Knob("linux-7.3", "Linux 7.3: one run queue a CPU", "reboot", ("host.kernel=7.3",)),
        Knob("series-v2", "the series, v2", "patch", policy="series-v2"),
        Knob("relaxed", "the series' last patch alone", "patch", policy="relaxed"),
        Knob("strict-borrow", "a hint may be early by a loan", "patch", policy="strict-borrow"),
    )
}

DEFAULT_KNOBS = (
    *("pin", "cgroups-flat", "ple-off", "halt-poll-off", "hz", "slice-10ms", "next-buddy"),
    *("pv-tlb-flush", "pv-ipi", "apicv", "half-vcpus", "series-v2"),
)
"""The twelve of a question that names none."""


def chosen_knobs(text: str | None) -> list[Knob]:
    """The knobs of a list like ``pin,hz``; ``all``; none: the default ones.

    Raises:
        QuestionError: there is no such knob.
    """
    names: Sequence[str] = DEFAULT_KNOBS if text is None else [name.strip() for name in text.split(",")]
    if names == ["all"]:
        names = list(KNOBS)
    if list(names) in ([""], ["none"]):
        return []
    for name in names:
        if name not in KNOBS:
            raise QuestionError(f"--knobs: value '{name:.40}' ({nearest(name, (*KNOBS, 'all', 'none'))})")
    return [KNOBS[name] for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class Setting:
    """A host with knobs turned: what is run."""

    name: str
    knobs: tuple[Knob, ...]
    scenario: Scenario
    policy: str

    @property
    def needs(self) -> str:
        """What all of its knobs take."""
        return ", ".join(dict.fromkeys(knob.needs for knob in self.knobs))

    @property
    def risk(self) -> str:
        """Whom they may harm."""
        return "; ".join(knob.risk for knob in self.knobs if knob.risk)


def setting(knobs: Sequence[Knob], scenario: Scenario) -> Setting:
    """A host with all of these turned.

    Raises:
        QuestionError: they cannot be, or not together.
    """
    kernels = [knob.policy for knob in knobs if knob.policy != "stock"]
    if len(kernels) > 1:
        raise QuestionError("a host runs one kernel")
    changed = scenario
    for knob in knobs:
        changed = knob.turn(changed)
    return Setting(" + ".join(knob.name for knob in knobs), tuple(knobs), changed, (*kernels, "stock")[0])


def settings(knobs: Sequence[Knob], scenario: Scenario) -> tuple[list[Setting], Mapping[str, str]]:
    """What can be turned on a host, one by one, and why the others cannot."""
    found, refused = [], {}
    for knob in knobs:
        try:
            found.append(setting([knob], scenario))
        except QuestionError as error:
            refused[knob.name] = str(error)
    return found, refused
