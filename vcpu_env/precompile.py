"""Compiling the machine before it is needed, once after each change of the sources, and saying so."""

import contextlib
import os
import shutil
import subprocess
import sys

from vcpu_env.base.jit import JIT, cache_dir

MARKER = "complete"
"""File in the directory of compiled code that says that everything a simulation needs is there; touched at each use."""
KEPT = 4


def ensure_compiled() -> None:
    """Compile what every simulation needs, unless that has been done since the sources changed.

    Call it before worker processes start: each of them would compile everything for itself. A second process compiles
    what lies above the host scheduler while this one compiles the scheduler.
    """
    marker = cache_dir() / MARKER
    if not JIT:
        return
    if marker.exists():
        with contextlib.suppress(OSError):  # a cache that may only be read
            marker.touch()
        return
    print("compiling the simulator (about a minute, once after each change)", file=sys.stderr, flush=True)
    environment = os.environ | {"VCPU_ENV_DECLARE_ONLY": "vcpu_env.kernel"}
    upper = subprocess.Popen([sys.executable, "-m", "vcpu_env.precompile"], env=environment)
    try:
        import vcpu_env.kernel.entry_points  # noqa: F401  (compiles on import)

        upper.wait()
    finally:
        upper.kill()
    from vcpu_env.machine import Machine
    from vcpu_env.scenario import load_scenario

    machine = Machine(load_scenario("dbench-1vm-2vcpu"), "series-v2", 0)
    machine.run_until(1_000_000)
    machine.counters()
    marker.touch()
    forget_old_sources()


def forget_old_sources() -> None:
    """Delete the compiled code of all but the `KEPT` sources used last; each is about 20 MB."""
    markers = cache_dir().parent.glob(f"*/{MARKER}")
    for marker in sorted(markers, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(marker.parent, ignore_errors=True)


def compile_upper_half() -> None:
    """Compile guests, KVM and the engine against a scheduler that is only declared; nothing may be run."""
    from numba import types

    from vcpu_env.engine.loop import settle, start_tasks  # run_until is compiled on import

    settle.compile((types.int64, types.int64))
    start_tasks.compile((types.int64,))


if __name__ == "__main__":
    compile_upper_half()
