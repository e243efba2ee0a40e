"""Compiled code is never stale: an edit of any module of the package is seen by all that call it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import vcpu_env

AVERAGE = """
from vcpu_env.kernel.v6_19.entity import avg_vruntime
from vcpu_env.kernel.types import kernel_arrays
from vcpu_env.base.world import World

world = World(kernel_arrays(1, 1, 0))
world["sched_entity"]["weight"], world["sched_entity"]["on_rq"] = 1 << 20, 1
world["cfs_rq"]["avg_load"], world["cfs_rq"]["avg_vruntime"] = 1024, 1 << 20
print(avg_vruntime(world.handle, 0))
"""
"""V of a queue with one waiting and one running entity of equal weight; the weight comes from another module."""


def average(root: Path) -> tuple[int, int]:
    """V as a fresh process computes it with the package under `root`, and how many source states have been cached."""
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "VCPU_ENV_CACHE_DIR": str(root / "cache"),
        "NUMBA_DISABLE_JIT": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", AVERAGE]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout), len(list((root / "cache").iterdir()))


def test_edit_of_a_callee_is_never_missed(tmp_path):
    shutil.copytree(Path(vcpu_env.__file__).parent, tmp_path / "vcpu_env", ignore=shutil.ignore_patterns("__pycache__"))
    weights = tmp_path / "vcpu_env" / "kernel" / "weights.py"
    original, stat = weights.read_text(), weights.stat()
    assert average(tmp_path) == ((1 << 20) // 2048, 1)
    weights.write_text(original.replace("weight >> 10", "weight >> 9"))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert average(tmp_path) == ((1 << 20) // 3072, 2)
    weights.write_text(original)
    assert average(tmp_path) == ((1 << 20) // 2048, 2)
