"""The observation of a decision: what a host kernel can see there, each feature within [-1, 1].

`FEATURES` and `CANDIDATE_FEATURES` are the table; `observe` fills the vector in that order, the candidates one after
the other. A feature is a field of the decision's view (`policy.view.YIELD_VIEW`) passed through one of four functions
made of shifts, sums and one division, so that an exported policy can do the same in C:

* flag: 0 or 1. * share: a / b, at most 1.
* time: log2(1 + t / 1.024 us) / 24, piecewise linear between powers of two: 0.42 is 1 ms, 1 is 17 s.
* signed time: the same with the sign of t.
"""

import math
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.envs.compiled.types import env_params, env_state, hidden, observation
from vcpu_env.policy.view import describe_host, yield_view

LOG2_SPAN = 24.0
QUEUE_SPAN = 16.0
DEPTH_SPAN = 4.0
LOAD_SPAN = 8.0
VCPU_SPAN = 64.0
GRAN_SPAN = 16.0


@dataclass(frozen=True)
class Feature:
    """One entry of the observation: its name, group, source in the view, unit there, how it is scaled, its range."""

    name: str
    group: str
    meaning: str
    unit: str
    scaling: str
    low: float = 0.0


FEATURES = (
    Feature("at_decision", "always", "a decision waits; 0 when the horizon has ended the episode", "", "flag"),
    Feature("penalty_decision", "always", "it is the penalty's; 0: the target's", "", "flag"),
    Feature("kernel_mode", "yielder", "only siblings preempted in kernel mode are wanted", "", "flag"),
    Feature("lag", "yielder", "smallest lag on the levels of the spinning vCPU's chain", "ns", "signed time", -1.0),
    Feature("slice_left", "yielder", "virtual time to its deadline", "ns", "signed time", -1.0),
    Feature("spin", "yielder", "since its first PAUSE exit of this spell of spinning", "ns", "time"),
    Feature("since_yield", "yielder", "since it last yielded to somebody", "ns", "time"),
    Feature("ple_window", "yielder", "its PAUSE-loop window: doubles with each exit", "ns", "time"),
    Feature("pending_ipi", "ipi", "IPI tracking: its last IPI is unanswered", "", "flag"),
    Feature("ipi_age", "ipi", "since it sent its last IPI", "ns", "time"),
    Feature("nr_running", "queue", "tasks on its CPU", "tasks", "share of 16"),
    Feature("h_nr_queued", "queue", "tasks below its queue; penalty: below the common queue", "tasks", "share of 16"),
    Feature("depth", "queue", "cgroup levels above that queue", "levels", "share of 4"),
    Feature("limiter_age", "queue", "since the debooster's limiter last let a yield pass here", "ns", "time"),
    Feature("gran", "penalty", "granularity of a penalty at the common queue; 0 at a target decision", "ns", "time"),
    Feature("need", "penalty", "the target's lead, in granularities", "gran", "share of 16"),
    Feature("series_penalty", "penalty", "the series' own penalty, in granularities", "gran", "share of 16"),
    Feature("nr_vcpus", "host", "vCPUs of its VM", "vCPUs", "share of 64"),
    Feature("busy", "host", "CPUs with something to run", "CPUs", "share of all"),
    Feature("load", "host", "runnable tasks a CPU", "tasks", "share of 8"),
    Feature("waiting", "host", "candidates", "vCPUs", "share of the VM's"),
    Feature("elapsed", "time", "simulated time since the last step", "ns", "time"),
)
CANDIDATE_FEATURES = (
    Feature("present", "always", "there is such a candidate", "", "flag"),
    Feature("good", "state", "the kernel's own filter would take it", "", "flag"),
    Feature("preempted", "state", "it lost its CPU; else it woke up and waits for one", "", "flag"),
    Feature("in_kernel", "state", "it was in kernel mode when it lost its CPU", "", "flag"),
    Feature("target", "state", "penalty decision: it is the target", "", "flag"),
    Feature("ipi_receiver", "ipi", "the spinner's last IPI went to it and is unanswered", "", "flag"),
    Feature("ipi_sender", "ipi", "the last IPI to the spinner came from it", "", "flag"),
    Feature("unserved", "ipi", "an interrupt waits for it", "", "flag"),
    Feature("in_spin_loop", "spin", "it yielded from a spin loop itself", "", "flag"),
    Feature("candidate_spin", "spin", "if so: how long it has been spinning", "ns", "time"),
    Feature("since_boost", "spin", "since somebody last yielded to it", "ns", "time"),
    Feature("same_rq", "sched", "it waits on the spinner's CPU", "", "flag"),
    Feature(
        "candidate_lag",
        "sched",
        "smallest lag on the levels of its chain, as of its CPU's last update",
        "ns",
        "signed time",
        -1.0,
    ),
    Feature("waited", "sched", "since it was queued", "ns", "time"),
    Feature("gap", "sched", "same CPU: its lead in vruntime at the common queue", "ns", "signed time", -1.0),
    Feature("queue_length", "sched", "tasks on its CPU", "tasks", "share of 16"),
)


def positions(features: Sequence[Feature]) -> Any:
    """Where each feature stands, by name: `positions(FEATURES).lag`. Compiled code takes it as a constant."""
    return namedtuple("Positions", [feature.name for feature in features])(*range(len(features)))


AT, CANDIDATE_AT = positions(FEATURES), positions(CANDIDATE_FEATURES)
HOST_AT = next(i for i, feature in enumerate(FEATURES) if feature.group == "host")
"""Entries before this one describe a decision; from here on the host, which is there at the end of an episode too."""
NR_FEATURES, NR_CANDIDATE_FEATURES = len(FEATURES), len(CANDIDATE_FEATURES)
GROUPS = tuple(dict.fromkeys(f.group for f in FEATURES + CANDIDATE_FEATURES if f.group != "always"))
"""Names of the groups that can be hidden."""


def feature_names(nr_candidates: int) -> list[str]:
    """The names of all entries of the vector: candidates' as ``name[i]``."""
    return [f.name for f in FEATURES] + [f"{f.name}[{i}]" for i in range(nr_candidates) for f in CANDIDATE_FEATURES]


def hidden_features(groups: frozenset[str], nr_candidates: int) -> list[int]:
    """Indices of the entries whose group is not among `groups`."""
    everything = list(FEATURES) + list(CANDIDATE_FEATURES) * nr_candidates
    return [i for i, f in enumerate(everything) if f.group != "always" and f.group not in groups]


def bounds(nr_candidates: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value of every entry (float32)."""
    low = [f.low for f in FEATURES] + [f.low for f in CANDIDATE_FEATURES] * nr_candidates
    return np.array(low, np.float32), np.ones(len(low), np.float32)


@kjit
def log_time(time_ns):
    """A time from 0 ns on, scaled logarithmically to 0..1."""
    if time_ns < 0:
        return 0.0
    mantissa, exponent = math.frexp(float((time_ns >> 10) + 1))
    return min((exponent - 2 + 2.0 * mantissa) / LOG2_SPAN, 1.0)


@kjit
def signed_log_time(time_ns):
    """A time of either sign, scaled logarithmically to -1..1."""
    return -log_time(-time_ns) if time_ns < 0 else log_time(time_ns)


@kjit
def share(part, whole):
    """part / whole within 0..1."""
    return min(max(float(part), 0.0) / whole, 1.0)


@kjit
def observe(w):
    """Fill in the observation of the decision that the machine has stopped at, or of the end of the episode."""
    view, params, state = yield_view(w), env_params(w), env_state(w)
    if not state.at_decision:
        describe_host(w)  # the view is that of the last decision
    observe_host(w)
    if state.at_decision:
        observe_yielder(w)
        for i in range(min(view.nr_candidates, params.nr_candidates)):
            observe_candidate(w, i, NR_FEATURES + i * NR_CANDIDATE_FEATURES)
        first_absent = min(view.nr_candidates, params.nr_candidates)
    else:
        for i in range(HOST_AT):
            observation(w, i).value = 0.0
        first_absent = 0
    for i in range(
        NR_FEATURES + first_absent * NR_CANDIDATE_FEATURES, NR_FEATURES + params.nr_candidates * NR_CANDIDATE_FEATURES
    ):
        observation(w, i).value = 0.0
    for i in range(params.nr_hidden):
        observation(w, hidden(w, i).index).value = 0.0


@kjit
def observe_yielder(w):
    """The spinning vCPU, its CPU and the penalty."""
    view = yield_view(w)
    observation(w, AT.at_decision).value = 1.0
    observation(w, AT.penalty_decision).value = 0.0 if view.target == NIL else 1.0
    observation(w, AT.kernel_mode).value = float(view.kernel_mode)
    observation(w, AT.lag).value = signed_log_time(view.chain_lag_ns)
    observation(w, AT.slice_left).value = signed_log_time(view.slice_left_ns)
    observation(w, AT.spin).value = log_time(view.spin_ns)
    observation(w, AT.since_yield).value = log_time(view.since_yield_ns)
    observation(w, AT.ple_window).value = log_time(view.ple_window_ns)
    observation(w, AT.pending_ipi).value = float(view.pending_ipi)
    observation(w, AT.ipi_age).value = log_time(view.ipi_age_ns)
    observation(w, AT.nr_running).value = share(view.nr_running, QUEUE_SPAN)
    observation(w, AT.h_nr_queued).value = share(view.h_nr_queued, QUEUE_SPAN)
    observation(w, AT.depth).value = share(view.depth, DEPTH_SPAN)
    observation(w, AT.limiter_age).value = log_time(view.limiter_age_ns)
    observation(w, AT.gran).value = log_time(view.gran_ns)
    gran = max(float(view.gran_ns), 1.0)
    observation(w, AT.need).value = share(view.need_ns, gran * GRAN_SPAN)
    observation(w, AT.series_penalty).value = share(view.series_penalty_ns, gran * GRAN_SPAN)


@kjit
def observe_host(w):
    """The VM, the host and the time."""
    view, state = yield_view(w), env_state(w)
    at_decision = float(state.at_decision)
    observation(w, AT.nr_vcpus).value = at_decision * share(view.nr_vcpus, VCPU_SPAN)
    observation(w, AT.busy).value = share(view.nr_busy_cpus, max(float(view.nr_cpus), 1.0))
    observation(w, AT.load).value = share(view.nr_runnable, LOAD_SPAN * max(float(view.nr_cpus), 1.0))
    observation(w, AT.waiting).value = (
        share(view.nr_candidates, max(float(view.nr_vcpus), 1.0)) if state.at_decision else 0.0
    )
    observation(w, AT.elapsed).value = log_time(state.elapsed_ns)


@kjit
def observe_candidate(w, i, at):
    """The i-th candidate of the view, from entry `at` on."""
    view = yield_view(w)
    observation(w, at + CANDIDATE_AT.present).value = 1.0
    observation(w, at + CANDIDATE_AT.good).value = float(view.good[i])
    observation(w, at + CANDIDATE_AT.preempted).value = float(view.preempted[i])
    observation(w, at + CANDIDATE_AT.in_kernel).value = float(view.in_kernel[i])
    observation(w, at + CANDIDATE_AT.target).value = 1.0 if view.candidate[i] == view.target else 0.0
    observation(w, at + CANDIDATE_AT.ipi_receiver).value = float(view.ipi_receiver[i])
    observation(w, at + CANDIDATE_AT.ipi_sender).value = float(view.ipi_sender[i])
    observation(w, at + CANDIDATE_AT.unserved).value = float(view.unserved[i])
    observation(w, at + CANDIDATE_AT.in_spin_loop).value = float(view.in_spin_loop[i])
    observation(w, at + CANDIDATE_AT.candidate_spin).value = log_time(view.candidate_spin_ns[i])
    observation(w, at + CANDIDATE_AT.since_boost).value = log_time(view.since_boost_ns[i])
    observation(w, at + CANDIDATE_AT.same_rq).value = float(view.same_rq[i])
    observation(w, at + CANDIDATE_AT.candidate_lag).value = signed_log_time(view.candidate_chain_lag_ns[i])
    observation(w, at + CANDIDATE_AT.waited).value = log_time(view.waited_ns[i])
    observation(w, at + CANDIDATE_AT.gap).value = signed_log_time(view.gap_ns[i])
    observation(w, at + CANDIDATE_AT.queue_length).value = share(view.queue_length[i], QUEUE_SPAN)
