"""The counters behind the reward: host-wide totals whose change in a step are the reward's terms.

* work: completed work units of every VM, each worth the time that the configured rule needed for one in the warm-up;
  the mean over VMs. The rule itself so earns about 1 ms per ms.
* useful: guest time that was neither spinning, nor interrupts, nor lost to cold caches.
* spin: guest time spent spinning. * unfairness: CPU time that is with the wrong VM, measured by the VMs' weights.
* switches: context switches. * ipi_latency: time from acceptance to handling of all IPIs that were taken.

Times count what is under way up to now, so that totals agree with `Machine.counters()` at any moment.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.base.timeline import machine_clock
from vcpu_env.envs.compiled.types import (
    NR_CURVE_POINTS,
    NR_TERMS,
    env_params,
    env_state,
    rule_curve,
    vm_account,
)
from vcpu_env.guest.types import SEG_SPIN, guest_totals, guest_vcpu, guest_vm
from vcpu_env.guest.useful import unbooked_useful_ns
from vcpu_env.kernel.types import rq_totals, sched_tunables
from vcpu_env.kvm.lapic import ipi_totals
from vcpu_env.kvm.pcpu import GUEST, pcpu

WORK, USEFUL, SPIN, UNFAIRNESS, SWITCHES, IPI_LATENCY = range(NR_TERMS)


@kjit
def add_running(w, cpu, now_ns):
    """Add what the vCPU in guest mode on this CPU has done since its time was last booked."""
    pc = pcpu(w, cpu)
    if pc.mode != GUEST:
        return
    g, total = guest_vcpu(w, pc.vcpu), env_state(w).total
    past = max(now_ns - g.segment_start_ns, 0)
    vm_account(w, g.vm).run_ns += past
    if g.segment == SEG_SPIN:
        total[SPIN] += past
    else:
        total[USEFUL] += unbooked_useful_ns(w, pc.vcpu, now_ns)


@kjit
def unfairness(w):
    """Half the sum over VMs of |CPU time since the episode began - the share of all that its weight is worth|."""
    run_ns, weights = 0, 0
    for vm_id in range(env_params(w).nr_vms):
        account = vm_account(w, vm_id)
        run_ns += account.run_ns - account.run_start_ns
        weights += account.weight
    wrong = 0
    for vm_id in range(env_params(w).nr_vms):
        account = vm_account(w, vm_id)
        # in two parts: their product would overflow after minutes
        entitled = run_ns // weights * account.weight + run_ns % weights * account.weight // weights
        wrong += abs(account.run_ns - account.run_start_ns - entitled)
    return wrong // 2


@kjit
def count_totals(w):
    """Bring `env_state.total` up to now."""
    now_ns = machine_clock(w).now_ns
    total, guests = env_state(w).total, guest_totals(w)
    total[USEFUL], total[SPIN] = guests.useful_ns, guests.spin_ns
    total[SWITCHES], total[IPI_LATENCY] = rq_totals(w).nr_switches, ipi_totals(w).latency_ns
    total[WORK] = 0
    for vm_id in range(env_params(w).nr_vms):
        guest, account = guest_vm(w, vm_id), vm_account(w, vm_id)
        account.run_ns = guest.run_ns
        total[WORK] += guest.work * account.unit_ns
    for cpu in range(sched_tunables(w).nr_cpus):
        add_running(w, cpu, now_ns)
    total[UNFAIRNESS] = unfairness(w)


@kjit
def tell(w):
    """What the last step and the episode so far have come to, as `info` shows it."""
    state, unit = env_state(w), env_params(w).unit
    for k in range(NR_TERMS):
        state.told[k] = state.term[k] * unit[k]
        state.told[NR_TERMS + k] = (state.total[k] - state.first[k]) * unit[k]


@kjit
def begin_account(w):
    """An episode begins: nothing has been earned yet."""
    count_totals(w)
    for vm_id in range(env_params(w).nr_vms):
        vm_account(w, vm_id).run_start_ns = vm_account(w, vm_id).run_ns
    env_state(w).total[UNFAIRNESS] = 0
    state = env_state(w)
    for k in range(NR_TERMS):
        state.first[k] = state.total[k]
        state.term[k] = 0
    state.reward = state.rule_earned = 0.0
    tell(w)


@kjit
def earned(w):
    """The reward that all time so far comes to."""
    count_totals(w)
    total, scale = env_state(w).total, env_params(w).reward_scale
    reward = 0.0
    for k in range(NR_TERMS):
        reward += scale[k] * total[k]
    return reward


@kjit
def rule_earned(w):
    """What the rule has earned by now in this episode."""
    state = env_state(w)
    span_ns = max(state.end_ns - state.start_ns, 1)
    parts = min(max(machine_clock(w).now_ns - state.start_ns, 0), span_ns) * float(NR_CURVE_POINTS) / span_ns
    k = min(int(parts), NR_CURVE_POINTS - 1)
    before = rule_curve(w, k).earned
    return before + (parts - k) * (rule_curve(w, k + 1).earned - before)


@kjit
def settle_step(w):
    """The terms and the reward of the step that ends now."""
    state, params = env_state(w), env_params(w)
    for k in range(NR_TERMS):
        state.term[k] = state.total[k]
    count_totals(w)
    reward = 0.0
    for k in range(NR_TERMS):
        state.term[k] = state.total[k] - state.term[k]
        reward += params.reward_scale[k] * state.term[k]
    if params.over_rule:
        by_now = rule_earned(w)
        reward -= by_now - state.rule_earned
        state.rule_earned = by_now
    state.reward = reward
    tell(w)
