"""Direct calls of the debooster's functions, recomputed: lines ``{"fn": "penalty" | "debounce" | "rate", ...}``."""

from functools import cache
from typing import Any

import numpy as np

from vcpu_env.base.jit import kjit
from vcpu_env.base.world import World
from vcpu_env.kernel.build import Task, Tunables, build_kernel, set_load
from vcpu_env.kernel.types import cpu_rq, kernel_arrays, sched_entity, sched_tunables
from vcpu_env.kernel.weights import calc_delta_fair
from vcpu_env.kernel.yield_penalty import (
    choose_penalty,
    yield_deboost_debounce,
    yield_deboost_need,
    yield_deboost_rate_limit,
)
from vcpu_env.kernel.yield_types import DEBOOST_V2, deboost_params, init_yield, yield_arrays, yield_decision

U64 = (1 << 64) - 1


def signed(value: int) -> np.int64:
    """The int64 with the bits of an unsigned value."""
    return np.int64(value - (1 << 64) if value >> 63 else value)


@cache
def one_cpu() -> World:
    """A world to call the functions in."""
    world = World([*kernel_arrays(1, 1, 0), *yield_arrays()])
    build_kernel(world, 1, [Task()], (), Tunables(base_slice_ns=2_800_000))
    init_yield(world, DEBOOST_V2)
    return world


@kjit
def penalty(w, gran, need, n):
    """The penalty of a decision; its `debounced` was set before."""
    decision = yield_decision(w)
    decision.gran_ns, decision.need_ns, decision.n = gran, need, n
    choose_penalty(w)
    return decision.penalty_ns


@kjit
def gran_and_need(w, y_vruntime, t_vruntime):
    """What the penalty is computed from."""
    gran = calc_delta_fair(sched_tunables(w).base_slice_ns, sched_entity(w, 0))
    return gran, yield_deboost_need(y_vruntime, t_vruntime)


@kjit
def debounce(w, src, dst, now):
    """Whether a pair is debounced."""
    return yield_deboost_debounce(cpu_rq(w, 0), src, dst, now, deboost_params(w).debounce_ns)


@kjit
def rate_limit(w, now, restamp):
    """Whether a yield is limited."""
    return yield_deboost_rate_limit(cpu_rq(w, 0), now, deboost_params(w).rate_limit_ns, restamp)


def penalty_line(line: dict[str, Any]) -> dict[str, Any]:
    """``penalty``: granularity and penalty of one yield."""
    world = one_cpu()
    world["sched_tunables"]["base_slice_ns"] = line["base_slice"]
    world["yield_decision"]["debounced"] = 0
    set_load(world.handle, 0, line["weight"] << 10, 0)
    gran, need = gran_and_need(world.handle, signed(line["y_vruntime"]), signed(line["t_vruntime"]))
    return {"gran": int(gran) & U64, "penalty": int(penalty(world.handle, gran, need, line["h_nr_queued"])) & U64}


def debounce_line(line: dict[str, Any]) -> dict[str, Any]:
    """``debounce``: the penalty of one yield after another, and the pair that is remembered."""
    world = one_cpu()
    rq, pair = world["rq"], [f"yield_deboost_last_{name}" for name in ("src_pid", "dst_pid", "pair_time_ns")]
    for field, value in zip(pair, line["state"], strict=True):
        rq[field] = value
    world["yield_decision"]["debounced"] = debounce(world.handle, line["src"], line["dst"], line["now"])
    charged = int(penalty(world.handle, line["gran"], signed(line["need"]), line["h_nr_queued"])) & U64
    return {"penalty": charged, "state_after": [int(rq[field][0]) for field in pair]}


def rate_line(line: dict[str, Any]) -> dict[str, Any]:
    """``rate``: both versions' limiter."""
    world = one_cpu()
    outputs = {}
    for version, restamp in (("v2", False), ("v1", True)):
        world["rq"]["yield_deboost_last_time_ns"] = line["last"]
        outputs[f"{version}_skip"] = int(rate_limit(world.handle, line["now"], restamp))
        outputs[f"{version}_last"] = int(world["rq"]["yield_deboost_last_time_ns"][0])
    return outputs


FUNCTIONS = {"penalty": penalty_line, "debounce": debounce_line, "rate": rate_line}


def check_function_line(line: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Recompute the outputs of one line; returns those that differ as name -> (recorded, own).

    Raises:
        ValueError: the function is not known.
    """
    if line.get("fn") not in FUNCTIONS:
        raise ValueError(f"fn: value {line.get('fn')!r} (allowed: {', '.join(FUNCTIONS)})")
    own = FUNCTIONS[line["fn"]](line)
    return {name: (line[name], value) for name, value in own.items() if line[name] != value}
