"""Fixed-point weights: the kernel's roundings, against worked values and exact arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcpu_env.base.jit import kjit
from vcpu_env.base.world import World
from vcpu_env.kernel.build import Task, build_kernel, set_load
from vcpu_env.kernel.features import scaled_base_slice_ns
from vcpu_env.kernel.types import kernel_arrays, sched_entity
from vcpu_env.kernel.weights import calc_delta_fair, div_trunc, scale_load_down, sched_weight_from_cgroup


@kjit
def delta_fair(w, delta):
    return calc_delta_fair(delta, sched_entity(w, 0))


@pytest.fixture(scope="module")
def world():
    world = World(kernel_arrays(1, 1, 0))
    build_kernel(world, 1, [Task()])
    return world


def reference(delta: int, weight: int, inverse: int) -> int:
    """__calc_delta() with Python's integers."""
    fact, shift = 1024, 32
    fact *= inverse
    while fact >> 32:
        fact >>= 1
        shift -= 1
    return delta if weight == 1 << 20 else (delta * fact) >> shift


@pytest.mark.core
@pytest.mark.parametrize(
    ("delta", "weight", "virtual"),
    [
        (1_000_000, 2048, 499_999),
        (1_000_000, 1024, 1_000_000),
        (1_000_000, 1023, 1_000_977),
        (1_000_000, 512, 1_999_999),
        (1_000_000, 335, 3_056_716),
        (1_000_000, 64, 15_999_999),
        (1_000_000, 10, 102_399_999),
        (1_000_000, 102_400, 9_999),
        (2_800_000, 100, 28_671_999),
        (2_800_000, 2, 1_433_599_999),
    ],
)
def test_calc_delta_fair(world, delta, weight, virtual):
    set_load(world.handle, 0, weight << 10, 0)
    assert delta_fair(world.handle, delta) == virtual


@pytest.mark.core
def test_calc_delta_fair_truncates_the_scaled_weight(world):
    set_load(world.handle, 0, 43_690, 0)
    assert delta_fair(world.handle, 1_000_000) == 24_380_952


@pytest.mark.core
@pytest.mark.parametrize(("nice", "virtual"), [(-5, 918_679), (1, 3_496_585), (5, 8_558_806), (19, 191_146_666)])
def test_nice_levels_use_the_table(nice, virtual):
    world = World(kernel_arrays(1, 1, 0))
    build_kernel(world, 1, [Task(nice=nice)])
    assert delta_fair(world.handle, 2_800_000) == virtual


@given(delta=st.integers(0, 2**62), weight=st.integers(2, 2**18))
def test_calc_delta_fair_is_the_kernels_128_bit_product(delta, weight):
    world = World(kernel_arrays(1, 1, 0))
    set_load(world.handle, 0, weight << 10, 0)
    exact = reference(delta, weight << 10, (2**32 - 1) // weight)
    assert int(delta_fair(world.handle, delta)) & (2**64 - 1) == exact & (2**64 - 1)


@given(a=st.integers(-(2**62), 2**62), b=st.integers(1, 2**31))
def test_division_truncates(a, b):
    assert div_trunc(np.int64(a), np.int64(b)) == (abs(a) // b) * (1 if a >= 0 else -1)


def test_scale_load_down():
    assert [scale_load_down(weight) for weight in (0, 1, 2048, 3072, 1 << 20)] == [0, 2, 2, 3, 1024]


@pytest.mark.parametrize(
    ("weight", "shares"),
    [(1, 10), (10, 102), (33, 338), (50, 512), (79, 809), (100, 1024), (200, 2048), (10_000, 102_400)],
)
def test_cpu_weight(weight, shares):
    assert sched_weight_from_cgroup(weight) == shares


@pytest.mark.parametrize(
    ("cpus", "slice_ns"),
    [(1, 700_000), (2, 1_400_000), (3, 1_400_000), (4, 2_100_000), (8, 2_800_000), (64, 2_800_000)],
)
def test_base_slice_scales_with_cpus(cpus, slice_ns):
    assert scaled_base_slice_ns(cpus, 700_000) == slice_ns
