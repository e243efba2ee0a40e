"""The guest as the host runs it, compiled once, reached by symbol."""

from vcpu_env.base.jit import entry_point
from vcpu_env.guest import run


@entry_point
def guest_run(w, v, now_ns):
    """`run.guest_run`."""
    return run.guest_run(w, v, now_ns)
