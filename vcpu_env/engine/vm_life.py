"""The begin and the end of a VM while the host runs: its vCPU threads are created, later killed.

A launched VM has a VMM that creates its vCPUs (`host.run`); of others all vCPUs begin at one instant. A VM that ends
takes no time: its queued threads leave their queues, its running ones their CPUs, nothing of it wakes up any more, and
its counters stand still.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import NEVER, set_event
from vcpu_env.engine.host_tasks.run import account_task
from vcpu_env.engine.host_tasks.types import host_task
from vcpu_env.engine.vcpu_thread import begin_vcpu, give_way, leave_guest
from vcpu_env.guest.types import guest_vcpu, guest_vm
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.exit import kill_waiting_task
from vcpu_env.kernel.types import TASK_DEAD, TASK_NEW, cpu_rq, task_struct
from vcpu_env.kvm.lapic import lapic
from vcpu_env.kvm.pcpu import GUEST, POLL, TASK, event_slots, pcpu
from vcpu_env.kvm.trace import trace_vm_life
from vcpu_env.kvm.types import kvm_vcpu


@kjit
def begin_vm(w, vm_id, now_ns):
    """Every vCPU thread becomes runnable, forked on the CPU where it was placed."""
    vm = guest_vm(w, vm_id)
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        begin_vcpu(w, v, task_struct(w, v).cpu, now_ns)


@kjit
def end_vcpu(w, v, now_ns):
    """KVM's and the guest's last traces of a vCPU whose thread has gone."""
    vcpu = kvm_vcpu(w, v)
    vcpu.preempted, vcpu.ready, vcpu.blocking, vcpu.asleep = 0, 0, 0, 0
    vcpu.parked, vcpu.in_spin_loop, vcpu.stopped = 0, 0, 0
    lapic(w, v).cpu = NIL
    set_event(w, event_slots(w).timer + v, NEVER)


@kjit
def end_host_tasks(w, vm_id, now_ns):
    """Kill the VM's other threads: its VMM, emulator and vhost worker."""
    slots = event_slots(w)
    for h in range(slots.vm - slots.task):
        if host_task(w, h).vm != vm_id:
            continue
        p = slots.nr_vcpus + h
        cpu = task_struct(w, p).cpu
        set_event(w, slots.task + h, NEVER)
        update_rq_clock(w, cpu, now_ns)
        if cpu_rq(w, cpu).curr != p:
            kill_waiting_task(w, p)
            continue
        if pcpu(w, cpu).mode == TASK:
            account_task(w, cpu, now_ns)
        give_way(w, cpu, TASK_DEAD, now_ns)


@kjit
def end_vm(w, vm_id, now_ns):
    """Kill the VM's threads: first those that wait or sleep, so that no CPU picks one, then those that have a CPU."""
    vm, slots = guest_vm(w, vm_id), event_slots(w)
    for t in range(vm.first_thread, vm.first_thread + vm.nr_threads):
        set_event(w, slots.io + t, NEVER)
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        cpu = task_struct(w, v).cpu
        if pcpu(w, cpu).vcpu == v:
            continue
        g = guest_vcpu(w, v)
        if kvm_vcpu(w, v).stopped:
            g.paused_ns += now_ns - g.sched_out_ns
        elif kvm_vcpu(w, v).blocking:
            g.idle_ns += now_ns - g.sched_out_ns
        elif task_struct(w, v).state != TASK_NEW:
            g.steal_ns += now_ns - g.sched_out_ns
        update_rq_clock(w, cpu, now_ns)
        kill_waiting_task(w, v)
        end_vcpu(w, v, now_ns)
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        cpu = task_struct(w, v).cpu
        pc = pcpu(w, cpu)
        if pc.vcpu != v:
            continue
        if pc.mode == GUEST:
            leave_guest(w, cpu, now_ns)
        elif pc.mode == POLL:
            guest_vcpu(w, v).idle_ns += now_ns - guest_vcpu(w, v).halt_start_ns
        update_rq_clock(w, cpu, now_ns)
        give_way(w, cpu, TASK_DEAD, now_ns)
        end_vcpu(w, v, now_ns)
    end_host_tasks(w, vm_id, now_ns)


@kjit
def vm_begins_or_ends(w, vm_id, now_ns):
    """The VM's next event is due, or time begins."""
    vm = guest_vm(w, vm_id)
    next_ns = vm.stop_ns
    if now_ns < vm.start_ns:
        next_ns = vm.start_ns
    elif now_ns == vm.start_ns:
        trace_vm_life(w, vm_id, 1, now_ns)
        if not vm.launched:
            begin_vm(w, vm_id, now_ns)
    else:
        trace_vm_life(w, vm_id, 0, now_ns)
        end_vm(w, vm_id, now_ns)
        next_ns = NEVER
    set_event(w, event_slots(w).vm + vm_id, next_ns)
