"""Compiling the machine before it is needed, once after each change of the sources, and saying so."""

import sys

from vcpu_env._jit import JIT, cache_dir

MARKER = "complete"
"""File in the directory of compiled code that says that everything a simulation needs is there."""


def ensure_compiled() -> None:
    """Compile what every simulation needs, unless that has been done since the sources changed.

    Call it before worker processes start: each of them would compile everything for itself.
    """
    marker = cache_dir() / MARKER
    if not JIT or marker.exists():
        return
    print("compiling the simulator (about a minute, once after each change)", file=sys.stderr, flush=True)
    from vcpu_env.machine import Machine
    from vcpu_env.scenario import load_scenario

    machine = Machine(load_scenario("dbench-1vm-2vcpu"), "series-v2", 0)
    machine.run_until(1_000_000)
    machine.counters()
    marker.touch()
