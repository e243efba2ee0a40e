"""VMs as KVM sees them, without a scheduler: small cases set their vCPUs by hand."""

from vcpu_env.base.jit import NIL
from vcpu_env.base.world import World
from vcpu_env.kvm import ipi, on_spin
from vcpu_env.kvm import types as kt

MS = 1_000_000
SERIES = {"filter": kt.FILTER_SERIES, "track": kt.TRACK_V2, "relaxed_round": 1}
KERNEL_HOLDER = {"ready": 1, "preempted": 1, "preempted_in_kernel": 1}
USER = {"ready": 1, "preempted": 1}
A, B, C = 0, 1, 2


class Vm:
    """A host with VMs; by default one of four vCPUs."""

    def __init__(self, vcpus_per_vm=(4,), **params):
        self.world = World(kt.kvm_arrays(len(vcpus_per_vm), sum(vcpus_per_vm)))
        kt.kvm_init(self.world, vcpus_per_vm, **params)
        self.w = self.world.handle
        self.vcpus = self.world["kvm_vcpu"]

    def set(self, vcpu, **fields):
        for name, value in fields.items():
            self.vcpus[name][vcpu] = value

    def get(self, vcpu, field):
        return int(self.vcpus[field][vcpu])

    @property
    def last(self):
        return int(self.world["kvm"]["last_boosted_vcpu"][0])

    @last.setter
    def last(self, idx):
        self.world["kvm"]["last_boosted_vcpu"][0] = idx

    def params(self, **values):
        for name, value in values.items():
            self.world["kvm_params"][name] = value

    def spin(self, me=0, results=lambda target: 1, kernel_mode=1, now_ns=0):
        """One whole kvm_vcpu_on_spin(); the vCPUs that were tried, in order."""
        tried = []
        if on_spin.on_spin_begin(self.w, me, kernel_mode):
            while (target := int(on_spin.on_spin_next(self.w, me, now_ns))) != NIL:
                tried.append(target)
                on_spin.on_spin_result(self.w, me, target, results(target))
            on_spin.on_spin_finish(self.w, me)
        return tried

    def ipi(self, sender, receiver, now_ns=0, vector=0):
        ipi.kvm_track_ipi_communication(self.w, sender, receiver, now_ns, vector)

    def eoi(self, vcpu, now_ns, vector=0):
        ipi.kvm_clear_ipi_on_eoi(self.w, vcpu, now_ns, vector)

    def confirmed(self, sender, receiver, now_ns):
        return bool(ipi.kvm_vcpu_is_ipi_receiver(self.w, sender, receiver, now_ns))
