"""Give a running guest the random streams of another seed: the same state, another future."""

from vcpu_env._jit import kjit
from vcpu_env.guest.random import LOCK_ENTITY, NR_PURPOSES, PURPOSE_PICK, stream_key
from vcpu_env.guest.types import guest_lock, guest_thread


@kjit
def reseed(w, seed, nr_threads, nr_locks):
    """Key all streams of threads and locks by `seed`, as `plan.place_guest` does when a world is built."""
    for t in range(nr_threads):
        for purpose in range(NR_PURPOSES):
            guest_thread(w, t).key[purpose] = stream_key(seed, t, purpose)
    for i in range(nr_locks):
        guest_lock(w, i).key = stream_key(seed, LOCK_ENTITY + i, PURPOSE_PICK)
