"""The counters behind the reward: host-wide totals whose change in a step are the reward's terms.

* work: completed work units of every VM, each worth the time that the configured rule needed for one in the warm-up;
  the mean over VMs. The rule itself so earns about 1 ms per ms.
* useful: guest time that was neither spinning, nor interrupts, nor lost to cold caches.
* spin: guest time spent spinning. * unfairness: CPU time that is with the wrong VM, measured by the VMs' weights.
* switches: context switches. * ipi_latency: time from acceptance to handling of all IPIs that were taken.

Times count what is under way up to now, so that totals agree with `Machine.counters()` at any moment.
"""

from vcpu_env._jit import NIL, kjit
from vcpu_env.envs.types import NR_TERMS, env_params, env_state, vm_account
from vcpu_env.guest.run import COLD_LOSS_TENTHS
from vcpu_env.guest.types import SEG_COMPUTE, SEG_SPIN, guest_vcpu, guest_vm
from vcpu_env.kernel.timeline import machine_clock
from vcpu_env.kernel.types import cpu_rq, sched_tunables
from vcpu_env.kvm.lapic import lapic

WORK, USEFUL, SPIN, UNFAIRNESS, SWITCHES, IPI_LATENCY = range(NR_TERMS)


@kjit
def vm_run_ns(w, vm, now_ns):
    """CPU time that a VM's vCPUs have had in guest mode."""
    guest = guest_vm(w, vm)
    run_ns = 0
    for v in range(guest.first_vcpu, guest.first_vcpu + guest.nr_vcpus):
        g = guest_vcpu(w, v)
        run_ns += g.run_ns
        if g.cpu != NIL:
            run_ns += max(now_ns - g.segment_start_ns, 0)
    return run_ns


@kjit
def add_vcpu(w, v, now_ns):
    """Add a vCPU's useful and spinning time and its IPIs' latency to the totals."""
    g, total = guest_vcpu(w, v), env_state(w, 0).total
    useful = g.user_ns + g.kernel_ns - g.spin_ns - g.irq_ns - g.cold_lost_ns
    spin = g.spin_ns
    if g.cpu != NIL:
        past = max(now_ns - g.segment_start_ns, 0)
        if g.segment == SEG_SPIN:
            spin += past
        elif g.segment == SEG_COMPUTE:
            useful += past - min(past * COLD_LOSS_TENTHS // 10, g.cold_ns)
    total[USEFUL] += useful
    total[SPIN] += spin
    total[IPI_LATENCY] += lapic(w, v).ipi_latency_ns


@kjit
def unfairness(w, now_ns):
    """Half the sum over VMs of |CPU time since the episode began - the share of all that its weight is worth|."""
    run_ns, weights = 0, 0
    for vm in range(env_params(w, 0).nr_vms):
        run_ns += vm_run_ns(w, vm, now_ns) - vm_account(w, vm).run_start_ns
        weights += vm_account(w, vm).weight
    wrong = 0
    for vm in range(env_params(w, 0).nr_vms):
        account = vm_account(w, vm)
        wrong += abs(vm_run_ns(w, vm, now_ns) - account.run_start_ns - run_ns * account.weight // weights)
    return wrong // 2


@kjit
def count_totals(w):
    """Bring `env_state.total` up to now."""
    now_ns = machine_clock(w, 0).now_ns
    total = env_state(w, 0).total
    for k in range(NR_TERMS):
        total[k] = 0
    for vm in range(env_params(w, 0).nr_vms):
        guest = guest_vm(w, vm)
        total[WORK] += guest.work * vm_account(w, vm).unit_ns
        for v in range(guest.first_vcpu, guest.first_vcpu + guest.nr_vcpus):
            add_vcpu(w, v, now_ns)
    for cpu in range(sched_tunables(w, 0).nr_cpus):
        total[SWITCHES] += cpu_rq(w, cpu).nr_switches
    total[UNFAIRNESS] = unfairness(w, now_ns)


@kjit
def begin_account(w):
    """An episode begins: nothing has been earned yet."""
    now_ns = machine_clock(w, 0).now_ns
    for vm in range(env_params(w, 0).nr_vms):
        vm_account(w, vm).run_start_ns = vm_run_ns(w, vm, now_ns)
    count_totals(w)
    state = env_state(w, 0)
    for k in range(NR_TERMS):
        state.first[k] = state.total[k]
        state.term[k] = 0
    state.reward = 0.0


@kjit
def settle_step(w):
    """The terms and the reward of the step that ends now."""
    state, params = env_state(w, 0), env_params(w, 0)
    for k in range(NR_TERMS):
        state.term[k] = state.total[k]
    count_totals(w)
    reward = 0.0
    for k in range(NR_TERMS):
        state.term[k] = state.total[k] - state.term[k]
        reward += params.reward_scale[k] * state.term[k]
    state.reward = reward
