"""The observation of a decision in plain Python, feature by feature by its name."""

import math
from typing import Any

import numpy as np

from vcpu_env.envs.compiled.observe import CANDIDATE_FEATURES, FEATURES


def log_time(time_ns: int) -> float:
    """log2(1 + whole 1.024 us) / 24, straight lines between the powers of two, at most 1; negative times count as 0."""
    units = max(time_ns, 0) // 1024 + 1 if time_ns >= 0 else 1
    power = units.bit_length() - 1
    return min((power + units / 2**power - 1) / 24, 1.0)


def signed(time_ns: int) -> float:
    return math.copysign(log_time(abs(time_ns)), time_ns) if time_ns else 0.0


def share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0)


def yielder(view: dict[str, Any]) -> dict[str, float]:
    penalty = view["target"] != -1
    gran = max(view["gran_ns"], 1)
    return {
        "at_decision": 1,
        "penalty_decision": penalty,
        "kernel_mode": view["kernel_mode"],
        "lag": signed(view["chain_lag_ns"]),
        "slice_left": signed(view["slice_left_ns"]),
        "spin": log_time(view["spin_ns"]),
        "since_yield": log_time(view["since_yield_ns"]),
        "ple_window": log_time(view["ple_window_ns"]),
        "pending_ipi": view["pending_ipi"],
        "ipi_age": log_time(view["ipi_age_ns"]),
        "nr_running": share(view["nr_running"], 16),
        "h_nr_queued": share(view["h_nr_queued"], 16),
        "depth": share(view["depth"], 4),
        "limiter_age": log_time(view["limiter_age_ns"]),
        "gran": log_time(view["gran_ns"]),
        "need": share(view["need_ns"], 16 * gran),
        "series_penalty": share(view["series_penalty_ns"], 16 * gran),
        "nr_vcpus": share(view["nr_vcpus"], 64),
        "waiting": share(view["nr_candidates"], view["nr_vcpus"]),
    }


def candidate(view: dict[str, Any], i: int) -> dict[str, float]:
    return {
        "present": 1,
        "good": view["good"][i],
        "preempted": view["preempted"][i],
        "in_kernel": view["in_kernel"][i],
        "target": view["candidate"][i] == view["target"],
        "ipi_receiver": view["ipi_receiver"][i],
        "ipi_sender": view["ipi_sender"][i],
        "unserved": view["unserved"][i],
        "in_spin_loop": view["in_spin_loop"][i],
        "candidate_spin": log_time(view["candidate_spin_ns"][i]),
        "since_boost": log_time(view["since_boost_ns"][i]),
        "same_rq": view["same_rq"][i],
        "candidate_lag": signed(view["candidate_chain_lag_ns"][i]),
        "waited": log_time(view["waited_ns"][i]),
        "gap": signed(view["gap_ns"][i]),
        "queue_length": share(view["queue_length"][i], 16),
    }


def observe(world: Any, nr_candidates: int, hidden: set[str] = frozenset()) -> np.ndarray:
    """What an environment in this state shows; `hidden`: groups of features that read 0."""
    record = world["yield_view"][0]
    view = {name: record[name].tolist() for name in record.dtype.names}
    state, nr_running = world["env_state"][0], world["rq"]["nr_running"]
    cpus = len(nr_running)
    always = {
        "busy": share(int((nr_running > 0).sum()), cpus),
        "load": share(int(nr_running.sum()), 8 * cpus),
        "elapsed": log_time(int(state["elapsed_ns"])),
    }
    shown = always | (yielder(view) if state["at_decision"] else {})
    values = [shown.get(f.name, 0) * (f.group not in hidden) for f in FEATURES]
    for i in range(nr_candidates):
        present = state["at_decision"] and i < view["nr_candidates"]
        shown = candidate(view, i) if present else {}
        values += [shown.get(f.name, 0) * (f.group not in hidden) for f in CANDIDATE_FEATURES]
    return np.array(values, np.float64).astype(np.float32)
