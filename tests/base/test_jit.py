"""The same source compiled and uncompiled: the same machine, word by word."""

import pytest

from tests.helpers.run_hash import run_hash_elsewhere

MSEC = 1_000_000


RUNS = [
    *(("dbench-1vm-2vcpu", "stock"), ("dedup-2vm", "series-v2"), ("vips-2vm", "debooster")),
    *(("host-tasks", "stock"), ("host-noise", "series-v2"), ("host-io", "stock")),
]


@pytest.mark.parametrize("run", RUNS)
def test_compiled_and_uncompiled_runs_are_equal(run):
    compiled = run_hash_elsewhere(*run, 3, 3 * MSEC, NUMBA_DISABLE_JIT="0")
    assert run_hash_elsewhere(*run, 3, 3 * MSEC, NUMBA_DISABLE_JIT="1") == compiled


@pytest.mark.slow
def test_longer_run_is_equal():
    run = ("dbench-2vm", "series-v2", 5, 30 * MSEC)
    assert run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="1") == run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="0")
