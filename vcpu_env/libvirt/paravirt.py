"""What a domain's guest is offered by KVM: paravirtual locks, TLB flushes, IPIs, yields, steal time.

QEMU offers clock, asynchronous page faults, steal time and EOI with every CPU; the others where they are asked for, or
with ``-cpu host``, which has whatever the host's KVM has. A Linux guest without paravirtual unhalt takes test-and-set
locks; one with the hint "dedicated" takes its native queued locks and leaves paravirtual flushes and yields alone.
"""

import re

from vcpu_env.libvirt.found import Findings
from vcpu_env.libvirt.known import HYPERV, KVM
from vcpu_env.libvirt.tree import Element

PASSED_THROUGH = ("pv-unhalt", "pv-tlb-flush", "pv-ipi", "pv-sched-yield")
OF_COMMAND_LINE = re.compile(
    r"(?:kvm[-_])(pv-unhalt|pv-tlb-flush|pv-ipi|pv-sched-yield|steal-time|hint-dedicated|poll-control)=(on|off)"
)
GUEST_POLLS = "guests here do not poll before they halt"


class Paravirt:
    """The features of one domain, on or off by KVM's names."""

    def __init__(self, domain: Element, vcpus: int, found: Findings):
        self.domain, self.vcpus, self.found = domain, vcpus, found
        self.on = dict.fromkeys((*PASSED_THROUGH, "hint-dedicated"), False) | {"steal-time": True}
        self.hyperv: set[str] = set()

    def read(self) -> dict[str, object]:
        """Fields of a VM."""
        cpu, features = self.domain.one("cpu"), self.domain.one("features")
        if cpu is not None and cpu.attributes.get("mode") in ("host-passthrough", "maximum"):
            self.on |= dict.fromkeys(PASSED_THROUGH, True)
            self.found.used(cpu, f"all that KVM offers: {', '.join(PASSED_THROUGH)}", f"mode {cpu.attributes['mode']}")
        if features is not None:
            self.read_features(features)
        self.read_command_line()
        return self.fields()

    def read_features(self, features: Element) -> None:
        """pvspinlock, kvm, hyperv; all else of the features changes nothing."""
        for child in features.children:
            if child.tag == "pvspinlock":
                self.on["pv-unhalt"] = child.is_on()
                self.found.used(child, "lock", self.state(child))
            elif child.tag == "kvm":
                child.check_children(KVM)
                for feature in child.children:
                    self.read_kvm(feature)
            elif child.tag == "hyperv":
                child.check_children(HYPERV)
                if child.attributes.get("mode") == "passthrough":
                    self.hyperv |= {"tlbflush", "ipi"}
                    self.found.approximated(child, "as tlbflush and ipi", "mode passthrough")
                for feature in child.children:
                    self.read_hyperv(feature)
            else:
                self.found.without(child, "changes nothing that is simulated", self.state(child))

    def read_kvm(self, feature: Element) -> None:
        """One of the features of KVM that libvirt has names for."""
        if feature.tag in self.on:
            self.on[feature.tag] = feature.is_on()
            how = "ipi_mode" if feature.tag == "pv-ipi" else "lock 'fifo', no paravirtual flushes and yields"
            self.found.used(feature, how, self.state(feature))
        else:
            why = GUEST_POLLS if feature.tag == "poll-control" else "changes nothing that is simulated"
            self.found.without(feature, why, self.state(feature))

    def read_hyperv(self, feature: Element) -> None:
        """One of the features for Windows."""
        if feature.tag in ("tlbflush", "ipi") and feature.is_on():
            self.hyperv.add(feature.tag)
            how = "pv_tlb_flush: KVM's own paravirtual flush" if feature.tag == "tlbflush" else "ipi_mode 'pv'"
            self.found.approximated(feature, how, "on")
        elif feature.tag == "spinlocks":
            self.found.without(feature, "the guests' kernels are Linux: no call after so many turns", "on")
        else:
            self.found.without(feature, "the guests' kernels are Linux", self.state(feature))

    def read_command_line(self) -> None:
        """Options of -cpu that are handed to QEMU past libvirt."""
        for command in self.domain.all("qemu:commandline"):
            for argument in command.all("qemu:arg"):
                for name, state in OF_COMMAND_LINE.findall(argument.attributes.get("value", "").replace("_", "-")):
                    if name in self.on:
                        self.on[name] = state == "on"
                        self.found.used("qemu:arg", "paravirtual feature", f"kvm-{name}={state}")
                    else:
                        self.found.without("qemu:arg", GUEST_POLLS, f"kvm-{name}={state}")

    def fields(self) -> dict[str, object]:
        """What the features come to in a Linux guest."""
        steal, dedicated = self.on["steal-time"], self.on["hint-dedicated"]
        lock = "fifo" if dedicated else "pvqspinlock" if self.on["pv-unhalt"] else "tas"
        told = steal and not dedicated and self.vcpus > 1
        fields: dict[str, object] = {"lock": lock, "steal_time": "reported" if steal else "off"}
        if (self.on["pv-tlb-flush"] or "tlbflush" in self.hyperv) and told:
            fields["pv_tlb_flush"] = True
        if self.on["pv-sched-yield"] and told:
            fields["pv_sched_yield"] = True
        if (self.on["pv-ipi"] or "ipi" in self.hyperv) and self.vcpus > 1:
            fields["ipi_mode"] = "pv"
        return fields

    @staticmethod
    def state(element: Element) -> str:
        """How an element's state is shown."""
        return element.attributes.get("state", "")
