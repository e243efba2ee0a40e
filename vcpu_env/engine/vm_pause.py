"""A VM stops, and goes on: `virsh suspend` and `resume`, and what a migration does at either end.

Every vCPU thread gets a signal and leaves KVM_RUN: one in the guest at once, one in the host kernel when that is done,
one that waits for a CPU when it has got it; a halted one is woken for it. Then it sleeps in QEMU. Interrupts that come
meanwhile wait. The guest's clock (kvm-clock) stands still, so its ticks come later by as much; a tick that was due
meanwhile has expired in the host's timer and is delivered at once when the VM goes on. Devices work through what they
were asked before.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import NEVER
from vcpu_env.engine.state import host_costs
from vcpu_env.engine.vcpu_thread import has_wakeup
from vcpu_env.guest.run import start_timer
from vcpu_env.guest.types import guest_vcpu, guest_vm
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import try_to_wake_up
from vcpu_env.kernel.types import TASK_DEAD, WORK_SIGNAL, task_struct
from vcpu_env.kvm.lapic import VECTOR_TIMER, accept_interrupt, lapic
from vcpu_env.kvm.pcpu import GUEST, KICK_RESCHED, POLL, kick, pcpu
from vcpu_env.kvm.types import kvm_vcpu


@kjit
def wake_vcpu(w, v, now_ns):
    """Wake a vCPU's thread; whoever does that is taken to run where the vCPU ran last."""
    cpu = task_struct(w, v).cpu
    update_rq_clock(w, cpu, now_ns)
    try_to_wake_up(w, v, cpu, 0)


@kjit
def signal_vcpu(w, v, now_ns):
    """pthread_kill(SIG_IPI): the thread is kicked out of the guest, or woken from a halt."""
    task, vcpu, cpu = task_struct(w, v), kvm_vcpu(w, v), lapic(w, v).cpu
    if task.state == TASK_DEAD:
        return
    task.exit_work |= WORK_SIGNAL
    vcpu.stops_in_halt = 0
    if vcpu.asleep:
        vcpu.stops_in_halt, vcpu.asleep, vcpu.ready = 1, 0, 1
        wake_vcpu(w, v, now_ns)
    elif cpu != NIL and pcpu(w, cpu).mode == GUEST:
        kick(w, cpu, KICK_RESCHED, now_ns + host_costs(w).resched_ipi_ns)
    elif cpu != NIL and pcpu(w, cpu).mode == POLL:
        kick(w, cpu, KICK_RESCHED, now_ns)


@kjit
def pause_vm(w, vm_id, now_ns):
    """QEMU: pause_all_vcpus()."""
    vm = guest_vm(w, vm_id)
    vm.paused_since_ns = now_ns
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        signal_vcpu(w, v, now_ns)


@kjit
def resume_vcpu(w, v, now_ns):
    """A stopped vCPU goes on: into the guest, or back into the halt in which it was."""
    task, vcpu, g = task_struct(w, v), kvm_vcpu(w, v), guest_vcpu(w, v)
    task.exit_work &= ~WORK_SIGNAL
    if vcpu.stopped == 0:
        return
    vcpu.stopped = 0
    g.paused_ns += now_ns - g.sched_out_ns
    g.sched_out_ns = g.halt_start_ns = now_ns
    if g.timer_due_ns != NEVER:
        start_timer(w, v, now_ns)
        if g.timer_due_ns <= now_ns:
            accept_interrupt(w, v, VECTOR_TIMER, 0, NIL, now_ns)
    if vcpu.stops_in_halt and not has_wakeup(w, v):
        vcpu.blocking = vcpu.asleep = 1
        return
    vcpu.pv_unhalted = 0
    wake_vcpu(w, v, now_ns)


@kjit
def resume_vm(w, vm_id, now_ns):
    """QEMU: resume_all_vcpus(), with the guest's clock where it stopped."""
    vm = guest_vm(w, vm_id)
    vm.tick_phase_ns = (vm.tick_phase_ns + now_ns - vm.paused_since_ns) % vm.tick_ns
    vm.paused_since_ns = NIL
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        resume_vcpu(w, v, now_ns)
