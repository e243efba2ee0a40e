"""What a queue tells its group of its load: 7.3 keeps one more sum than v6.19."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.types import KERNEL_6_19, sched_tunables
from vcpu_env.kernel.v6_19 import shares as v6_19
from vcpu_env.kernel.v7_3 import tg_load_avg as v7_3


@kjit
def update_tg_load_avg(w, q):
    """fair.c: update_tg_load_avg()."""
    if sched_tunables(w).kernel == KERNEL_6_19:
        v6_19.update_tg_load_avg(w, q)
    else:
        v7_3.update_tg_load_avg(w, q)
