"""Decision records: what a kernel has at hand when a vCPU spins, as integers, and what a policy answered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcpu_env.base.interrupts import INTERRUPTED, run_interruptibly
from vcpu_env.base.jit import kjit
from vcpu_env.engine.loop import cut_short
from vcpu_env.engine.state import engine
from vcpu_env.envs.compiled.step import advance, look, take_action
from vcpu_env.envs.compiled.types import env_state
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.play import PolicyMachine, choose
from vcpu_env.nets.rollout import put_action
from vcpu_env.policy.view import yield_view
from vcpu_env.scenario import Scenario

SPINNER = (
    "kernel_mode", "chain_lag_ns", "slice_left_ns", "spin_ns", "since_yield_ns", "ple_window_ns", "pending_ipi",
    "ipi_age_ns", "nr_running", "h_nr_queued", "depth", "limiter_age_ns", "nr_vcpus", "nr_busy_cpus", "nr_runnable",
    "nr_candidates",
)  # fmt: skip
"""Fields of the view (`policy.view`) that say something about the spinning vCPU, its CPU, its VM and the host."""

SIBLING = (
    "good", "preempted", "in_kernel", "ipi_receiver", "ipi_sender", "unserved", "in_spin_loop", "candidate_spin_ns",
    "since_boost_ns", "same_rq", "candidate_chain_lag_ns", "waited_ns", "gap_ns", "queue_length",
)  # fmt: skip
"""Its lists: fields of one candidate."""


@dataclass(frozen=True)
class Records:
    """N decisions.

    Attributes:
        spinners: `SPINNER`, (N, fields), int64.
        siblings: `SIBLING` of the candidates in scan order, (N, K, fields); 0 where there is none.
        counts: how many candidates there are, at most K.
        actions: what the policy answered, (N, dimensions).
    """

    spinners: np.ndarray
    siblings: np.ndarray
    counts: np.ndarray
    actions: np.ndarray


@kjit
def write_down(w, spinner, siblings):
    """Copy a decision's integers. Returns how many candidates there are."""
    view = yield_view(w)
    spinner[0], spinner[1], spinner[2] = view.kernel_mode, view.chain_lag_ns, view.slice_left_ns
    spinner[3], spinner[4], spinner[5] = view.spin_ns, view.since_yield_ns, view.ple_window_ns
    spinner[6], spinner[7], spinner[8] = view.pending_ipi, view.ipi_age_ns, view.nr_running
    spinner[9], spinner[10], spinner[11] = view.h_nr_queued, view.depth, view.limiter_age_ns
    spinner[12], spinner[13], spinner[14] = view.nr_vcpus, view.nr_busy_cpus, view.nr_runnable
    spinner[15] = view.nr_candidates
    count = min(view.nr_candidates, len(siblings))
    for i in range(count):
        row = siblings[i]
        row[0], row[1], row[2] = view.good[i], view.preempted[i], view.in_kernel[i]
        row[3], row[4], row[5] = view.ipi_receiver[i], view.ipi_sender[i], view.unserved[i]
        row[6], row[7], row[8] = view.in_spin_loop[i], view.candidate_spin_ns[i], view.since_boost_ns[i]
        row[9], row[10], row[11] = view.same_rq[i], view.candidate_chain_lag_ns[i], view.waited_ns[i]
        row[12], row[13] = view.gap_ns[i], view.queue_length[i]
    return count


@kjit
def record(w, end_ns, every, progress, layout, weights, key, continuous, deterministic, observed, new, mask, scratch,
           action, spinners, siblings, counts, actions):  # fmt: skip
    """As `nets.play.follow_until`, and every n-th decision is written down.

    `progress` is how many decisions have been seen, and how many written down.
    """
    state, seen, kept = env_state(w), progress[0], progress[1]
    advance(w, end_ns)
    while state.at_decision and kept < len(counts):
        look(w)
        choose(w, layout, weights, key, seen, deterministic, observed, new, mask, scratch, action)
        if seen % every == 0:
            counts[kept] = write_down(w, spinners[kept], siblings[kept])
            for j in range(len(action)):
                actions[kept, j] = int(action[j])
            kept += 1
        seen += 1
        put_action(w, action, continuous)
        take_action(w)
        advance(w, end_ns)
    progress[0], progress[1] = seen, kept
    return INTERRUPTED if cut_short(w, end_ns) else engine(w).status


class RecordingMachine(PolicyMachine):
    """A machine under a learned policy whose decisions are written down."""

    def record(self, end_ns: int, most: int, every: int, candidates: int) -> Records:
        """Run to `end_ns`, or until `most` decisions have been written down, every n-th of all."""
        self.run_until(min(end_ns, self.scenario.policy_from_ns))  # until then stock decides
        spinners, counts = np.zeros((most, len(SPINNER)), np.int64), np.zeros(most, np.int64)
        siblings = np.zeros((most, candidates, len(SIBLING)), np.int64)
        actions = np.zeros((most, len(self._memory[-1])), np.int64)
        progress = np.zeros(2, np.int64)
        with np.errstate(over="ignore"):
            run_interruptibly(
                lambda: record(
                    self.world.handle, end_ns, every, progress, *self._network, *self._how, *self._memory, spinners,
                    siblings, counts, actions,
                )
            )  # fmt: skip
        self.check()
        kept = int(progress[1])
        return Records(spinners[:kept], siblings[:kept], counts[:kept], actions[:kept])


def decisions_of(policy: LearnedPolicy, scenarios: Sequence[Scenario], most: int, every: int, seed: int = 0) -> Records:
    """Decisions of a policy, about as many of each scenario as there are to be had."""
    share = -(-most // len(scenarios))
    parts = [
        RecordingMachine(scenario, policy, seed).record(
            scenario.run.warmup_ns + scenario.run.duration_ns, share, every, policy.about.config.nr_candidates
        )
        for scenario in scenarios
    ]
    return Records(*(np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True)))
