"""An IPI to several vCPUs: how many ICR writes it takes, what they cost the sender, and what the host sees of them.

x2APIC modes of a Linux guest: *phys*, one write for each target; *cluster* (logical destinations, with interrupt
remapping), one for each 16 vCPUs with a target among them; *shorthand_auto*, one "all but self" if that is who is
meant, else as phys; *pv*, the hypercall KVM_HC_SEND_IPI for more than one target. IPI tracking sees a write that means
one vCPU. Hardware delivers unicasts without an exit (`kvm.lapic`), and with AVIC also the others, if all targets have a
CPU.
"""

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.types import (
    IPI_CLUSTER,
    IPI_PHYS,
    IPI_PV,
    IPI_SHORTHAND_AUTO,
    guest_costs,
    guest_vm,
)
from vcpu_env.kvm.lapic import icr_write_exits, lapic
from vcpu_env.kvm.types import APICV_AVIC, kvm_params

CLUSTER = 16


@kjit
def bit(index):
    """The mask with one bit, for indices up to 63."""
    return np.int64(1) << np.int64(index)


@kjit
def count_bits(mask):
    """How many vCPUs a mask holds."""
    count = 0
    while mask != 0:
        mask &= mask - 1
        count += 1
    return count


@kjit
def unicast_cost(w, dst):
    """The sender's time for one ICR write to one vCPU."""
    return guest_costs(w).icr_write_ns if icr_write_exits(w, dst) else 0


@kjit
def group_write_exits(w, vm, mask):
    """Whether one ICR write for several vCPUs leaves the guest."""
    if kvm_params(w).apicv != APICV_AVIC:
        return True
    for i in range(vm.nr_vcpus):
        if mask >> i & 1 and lapic(w, vm.first_vcpu + i).cpu == NIL:
            return True
    return False


@kjit
def cluster_mask(mask, i):
    """The targets in the cluster of vCPU `i`."""
    first = i // CLUSTER * CLUSTER
    return mask & (np.int64(0xFFFF) << np.int64(first))


@kjit
def cluster_cost(w, vm, mask):
    """One write for each cluster that has a target; one that means several costs more for each of them."""
    costs = guest_costs(w)
    total = 0
    for first in range(0, vm.nr_vcpus, CLUSTER):
        targets = cluster_mask(mask, first)
        if targets != 0 and group_write_exits(w, vm, targets):
            total += costs.icr_write_ns
            if targets & (targets - 1) != 0:
                total += costs.pv_ipi_ns * count_bits(targets) // 3
    return total


@kjit
def multicast_cost(w, vm_id, mask):
    """Time that the sender needs for an IPI to the siblings in `mask`."""
    vm, costs = guest_vm(w, vm_id), guest_costs(w)
    targets = count_bits(mask)
    if vm.ipi_mode == IPI_CLUSTER:
        return cluster_cost(w, vm, mask)
    if vm.ipi_mode == IPI_PV and targets > 1:
        return costs.pv_ipi_ns + costs.pv_ipi_ns * targets // 3
    if vm.ipi_mode == IPI_SHORTHAND_AUTO and targets > 1 and targets == vm.nr_vcpus - 1:
        return costs.icr_write_ns if group_write_exits(w, vm, mask) else 0
    total = 0
    for i in range(vm.nr_vcpus):
        if mask >> i & 1:
            total += unicast_cost(w, vm.first_vcpu + i)
    return total


@kjit
def is_unicast(w, vm_id, mask, i):
    """Whether the write that reaches vCPU `i` of the targets `mask` means it alone."""
    vm = guest_vm(w, vm_id)
    if vm.ipi_mode == IPI_PHYS or mask & (mask - 1) == 0:
        return True
    if vm.ipi_mode == IPI_CLUSTER:
        targets = cluster_mask(mask, i)
        return targets & (targets - 1) == 0
    return vm.ipi_mode == IPI_SHORTHAND_AUTO and count_bits(mask) < vm.nr_vcpus - 1
