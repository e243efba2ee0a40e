"""What a directed yield does beside the hint, in the fair class that the machine has."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.fair_class import is_v6_19
from vcpu_env.kernel.v6_19 import yield_boost as boost_v6_19
from vcpu_env.kernel.v6_19 import yield_deboost as deboost_v6_19
from vcpu_env.kernel.v6_19 import yield_forfeit as forfeit_v6_19
from vcpu_env.kernel.v7_3 import yield_boost as boost_v7_3
from vcpu_env.kernel.v7_3 import yield_deboost as deboost_v7_3
from vcpu_env.kernel.v7_3 import yield_forfeit as forfeit_v7_3


@kjit
def yield_deboost_prepare(w, cpu, p):
    """Fill in the decision record of a yield of the running task to `p`: whether a penalty is to be chosen."""
    if is_v6_19(w):
        deboost_v6_19.yield_deboost_prepare(w, cpu, p)
    else:
        deboost_v7_3.yield_deboost_prepare(w, cpu, p)


@kjit
def boost_yield(w, cpu, p):
    """Charge the penalty, or do the boost in its place."""
    if is_v6_19(w):
        boost_v6_19.boost_yield(w, cpu, p)
    else:
        boost_v7_3.boost_yield(w, cpu, p)


@kjit
def forfeit(w, cpu):
    """What the yielder gives up; returns whether it gave up anything."""
    if is_v6_19(w):
        return forfeit_v6_19.forfeit(w, cpu)
    return forfeit_v7_3.forfeit(w, cpu) != 0
