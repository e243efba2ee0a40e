"""HostTuner: an agent that sets the series' constants once an epoch, and what it sees of the host in between."""

from vcpu_env.base.jit import kjit
from vcpu_env.engine.state import engine
from vcpu_env.envs.compiled.observe import Feature, log_time, positions, share
from vcpu_env.envs.compiled.reward import SPIN, SWITCHES, UNFAIRNESS, USEFUL
from vcpu_env.envs.compiled.types import NR_HOST_COUNTERS, env_params, env_state, observation
from vcpu_env.guest.types import guest_vm
from vcpu_env.kernel.types import rq_totals, sched_tunables
from vcpu_env.kernel.yield_types import CAPS, RATE_LIMIT_NS, SCALE_ONE_Q16, deboost_params, yield_stats
from vcpu_env.kvm.pcpu import pcpu
from vcpu_env.kvm.types import IPI_WINDOW_NS, kvm_params, kvm_vcpu

CONSTANTS = (
    "penalty_scale", *(f"cap_up_to_{size}" for size, _, _ in CAPS), "rate_limit_ns", "ipi_window_ns", "relaxed_boost",
)  # fmt: skip
"""What the ten numbers of an action set, each -1..1; 0 is the series' own constant.

penalty_scale: (1 + a)^2 below 0, else 4^a. Caps (by queue size): 4^a times the series'. rate_limit_ns: 6 ms times 16^a.
ipi_window_ns: 50 ms times 1000^a. relaxed_boost: on from 0 up, as in the series.
"""

CAP_NUM, CAP_DEN = tuple(num for _, num, _ in CAPS), tuple(den for _, _, den in CAPS)
FACTORS = (4.0,) * (1 + len(CAPS)) + (16.0, 1000.0)
"""By how much the first nine are multiplied at 1, and divided at -1."""
SCALE, FIRST_CAP, RATE_LIMIT, IPI_WINDOW, RELAXED = 0, 1, 1 + len(CAPS), 2 + len(CAPS), 3 + len(CAPS)

(
    DECISIONS, YIELDS, SAME_RQ_YIELDS, RAN, APPLIED, LIMITED, CROSS_RQ, PAUSE_EXITS, HALT_EXITS, IRQ_EXITS, HOST_NS,
    IDLE_NS,
) = range(NR_HOST_COUNTERS)  # fmt: skip

SHARES = ("useful", "spin", "host", "idle", "unfairness")
RATES = ("decisions", "yields", "pause_exits", "halt_exits", "irq_exits", "switches")
OF_YIELDS = {
    "same_rq": "went to a vCPU on the yielder's CPU",
    "ran": "were followed by their target",
    "applied": "cost a penalty",
    "limited": "were too early for a penalty",
    "cross_rq": "used up a penalty's turn for another CPU's vCPU",
}
TUNER_FEATURES = (
    *(Feature(name, "epoch", f"{name} time of all CPUs in the epoch", "ns", "share of CPU time") for name in SHARES),
    *(Feature(name, "epoch", f"{name} in the epoch", "1 per ms and CPU", "log2(1 + 1024 n) / 24") for name in RATES),
    *(Feature(f"yields_{name}", "epoch", f"yields that {what}", "yields", "share of all")
      for name, what in OF_YIELDS.items()),
    Feature("busy", "host", "CPUs with something to run", "CPUs", "share of all"),
    Feature("load", "host", "runnable tasks a CPU", "tasks", "share of 8"),
    Feature("vcpus", "host", "vCPUs a CPU", "vCPUs", "share of 8"),
    *(Feature(f"last_{name}", "action", f"the action in force for {name}", "", "as the action", -1.0)
      for name in CONSTANTS),
)  # fmt: skip
TUNER_AT = positions(TUNER_FEATURES)


@kjit
def factor(action, i):
    """What the i-th number of an action multiplies the series' constant by."""
    return FACTORS[i] ** action[i]


@kjit
def tuned_penalty_scale(action):
    """The penalty scale: the square of 1 + a from 0 at -1 to the series' at 0, then a power of 4."""
    return (1.0 + action[SCALE]) ** 2 if action[SCALE] < 0.0 else factor(action, SCALE)


@kjit
def tune(w):
    """Set the constants that `env_state.action` says."""
    action, params = env_state(w).action, deboost_params(w)
    params.penalty_scale_q16 = int(tuned_penalty_scale(action) * SCALE_ONE_Q16 + 0.5)
    for i in range(len(CAP_NUM)):
        params.cap_num[i] = int(CAP_NUM[i] * factor(action, FIRST_CAP + i) * 1024.0 + 0.5)
        params.cap_den[i] = CAP_DEN[i] * 1024
    params.rate_limit_ns = int(RATE_LIMIT_NS * factor(action, RATE_LIMIT))
    kvm_params(w).ipi_window_ns = int(IPI_WINDOW_NS * factor(action, IPI_WINDOW))
    kvm_params(w).enable_relaxed_boost = action[RELAXED] >= 0.0


@kjit
def count_host(w):
    """Bring the host's counters up to now; their change since the last time is `host_term`."""
    state, stats = env_state(w), yield_stats(w)
    term, total = state.host_term, state.host_total
    for k in range(NR_HOST_COUNTERS):
        term[k] = -total[k]
        total[k] = 0
    total[DECISIONS] = engine(w).decisions
    total[YIELDS], total[APPLIED] = stats.yields, stats.applied
    total[LIMITED], total[CROSS_RQ] = stats.limited, stats.cross_rq
    last = guest_vm(w, env_params(w).nr_vms - 1)
    for v in range(last.first_vcpu + last.nr_vcpus):
        vcpu = kvm_vcpu(w, v)
        total[SAME_RQ_YIELDS] += vcpu.ple_yield_same_rq
        total[RAN] += vcpu.ple_yield_ran
        total[PAUSE_EXITS] += vcpu.pause_exits
        total[HALT_EXITS] += vcpu.halt_exits
        total[IRQ_EXITS] += vcpu.irq_exits
    for cpu in range(sched_tunables(w).nr_cpus):
        total[HOST_NS] += pcpu(w, cpu).host_ns
        total[IDLE_NS] += pcpu(w, cpu).idle_ns
    for k in range(NR_HOST_COUNTERS):
        term[k] += total[k]


@kjit
def rate(count, cpu_ms):
    """A count as a logarithmic rate: one a millisecond and CPU is 0.42."""
    return log_time(int(count * 1_048_576 / max(cpu_ms, 1e-9)))


@kjit
def observe_host_tuner(w):
    """Fill in the observation of an epoch's end: `TUNER_FEATURES`."""
    state = env_state(w)
    count_host(w)
    term, nr_cpus = state.host_term, sched_tunables(w).nr_cpus
    cpu_ns = max(float(state.elapsed_ns), 1.0) * nr_cpus
    cpu_ms = cpu_ns / 1e6
    observation(w, TUNER_AT.useful).value = share(state.term[USEFUL], cpu_ns)
    observation(w, TUNER_AT.spin).value = share(state.term[SPIN], cpu_ns)
    observation(w, TUNER_AT.host).value = share(term[HOST_NS], cpu_ns)
    observation(w, TUNER_AT.idle).value = share(term[IDLE_NS], cpu_ns)
    observation(w, TUNER_AT.unfairness).value = share(abs(state.term[UNFAIRNESS]), cpu_ns)
    observation(w, TUNER_AT.decisions).value = rate(term[DECISIONS], cpu_ms)
    observation(w, TUNER_AT.yields).value = rate(term[YIELDS], cpu_ms)
    observation(w, TUNER_AT.pause_exits).value = rate(term[PAUSE_EXITS], cpu_ms)
    observation(w, TUNER_AT.halt_exits).value = rate(term[HALT_EXITS], cpu_ms)
    observation(w, TUNER_AT.irq_exits).value = rate(term[IRQ_EXITS], cpu_ms)
    observation(w, TUNER_AT.switches).value = rate(state.term[SWITCHES], cpu_ms)
    yields = max(float(term[YIELDS]), 1.0)
    observation(w, TUNER_AT.yields_same_rq).value = share(term[SAME_RQ_YIELDS], yields)
    observation(w, TUNER_AT.yields_ran).value = share(term[RAN], yields)
    observation(w, TUNER_AT.yields_applied).value = share(term[APPLIED], yields)
    observation(w, TUNER_AT.yields_limited).value = share(term[LIMITED], yields)
    observation(w, TUNER_AT.yields_cross_rq).value = share(term[CROSS_RQ], yields)
    observe_load(w)
    for i in range(len(CONSTANTS)):
        observation(w, TUNER_AT.last_penalty_scale + i).value = state.action[i]


@kjit
def observe_load(w):
    """Busy CPUs, load and vCPUs a CPU."""
    nr_cpus, totals = sched_tunables(w).nr_cpus, rq_totals(w)
    last = guest_vm(w, env_params(w).nr_vms - 1)
    observation(w, TUNER_AT.busy).value = share(totals.nr_busy_cpus, float(nr_cpus))
    observation(w, TUNER_AT.load).value = share(totals.nr_running, 8.0 * nr_cpus)
    observation(w, TUNER_AT.vcpus).value = share(last.first_vcpu + last.nr_vcpus, 8.0 * nr_cpus)
