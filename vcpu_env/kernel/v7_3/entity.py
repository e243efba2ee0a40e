"""EEVDF among the tasks of a CPU: virtual time, lag, eligibility, and what running costs a task.

The root queue keeps sums over the *waiting* tasks relative to ``zero_vruntime``, with their ``h_load`` in full
precision; the running task (``curr_task``) is not in the tree and is added on the fly. V is the weighted average
vruntime of all of them. Of the groups nothing is needed here but what has gone into ``h_load``.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.rbtree import rb_add, rb_erase, rb_next
from vcpu_env.kernel.resched import resched_curr_lazy
from vcpu_env.kernel.types import ENQUEUE_INITIAL, cfs_rq, cpu_rq, sched_entity, sched_features, sched_tunables
from vcpu_env.kernel.v7_3.bandwidth import account_cfs_rq_runtime
from vcpu_env.kernel.weights import INT64_MAX, NICE_0_LOAD, div_trunc


@kjit
def calc_delta_fair(delta, se):
    """fair.c: calc_delta_fair(). Service time to virtual time of a task."""
    if se.h_load == NICE_0_LOAD:
        return delta
    return (delta << 20) // se.h_load


@kjit
def running_task(w, cpu):
    """The running task as far as it counts: NIL if there is none, or it has left its queue."""
    curr = cfs_rq(w, cpu).curr_task
    return curr if curr != NIL and sched_entity(w, curr).on_rq else NIL


@kjit
def virtual_time(w, cpu):
    """V of a CPU, rounded down so that V itself is always eligible."""
    root, curr = cfs_rq(w, cpu), running_task(w, cpu)
    runtime, weight = root.avg_vruntime, root.avg_load
    if curr != NIL:
        se = sched_entity(w, curr)
        if weight == 0:
            return se.vruntime
        runtime += (se.vruntime - root.zero_vruntime) * se.h_load
        weight += se.h_load
    return root.zero_vruntime + runtime // weight if weight else root.zero_vruntime


@kjit
def avg_vruntime(w, cpu):
    """fair.c: avg_vruntime(). V of a CPU; the point that the sums are relative to moves there."""
    root, vruntime = cfs_rq(w, cpu), virtual_time(w, cpu)
    root.avg_vruntime -= root.avg_load * (vruntime - root.zero_vruntime)
    root.zero_vruntime = vruntime
    return vruntime


@kjit
def ineligible_vruntime(w, cpu):
    """fair.c: ineligible_vruntime(). Where the running task, at the earliest, is ahead of all others."""
    root = cfs_rq(w, cpu)
    return root.zero_vruntime + (root.avg_vruntime // root.avg_load if root.avg_load else 0) + 1


@kjit
def entity_eligible(w, cpu, p):
    """fair.c: entity_eligible(). Whether a task is not ahead of V.

    The kernel compares products of 128 bits with nothing divided; V, rounded down, decides alike.
    """
    return sched_entity(w, p).vruntime - virtual_time(w, cpu) <= 0


@kjit
def entity_before(w, a, b):
    """fair.c: entity_before(). Earlier virtual deadline."""
    return sched_entity(w, a).deadline - sched_entity(w, b).deadline < 0


@kjit
def __enqueue_entity(w, cpu, p):
    """fair.c: __enqueue_entity(). Put a waiting task into the tree."""
    root, se = cfs_rq(w, cpu), sched_entity(w, p)
    root.avg_vruntime += (se.vruntime - root.zero_vruntime) * se.h_load
    root.avg_load += se.h_load
    se.min_vruntime, se.min_slice_ns = se.vruntime, se.slice_ns
    rb_add(w, cpu, p)


@kjit
def __dequeue_entity(w, cpu, p):
    """fair.c: __dequeue_entity(). Take a task out of the tree."""
    root, se = cfs_rq(w, cpu), sched_entity(w, p)
    rb_erase(w, cpu, p)
    root.avg_vruntime -= (se.vruntime - root.zero_vruntime) * se.h_load
    root.avg_load -= se.h_load


@kjit
def cfs_rq_min_slice(w, cpu):
    """fair.c: cfs_rq_min_slice(). Shortest slice of the tasks of a CPU."""
    root, curr = cfs_rq(w, cpu), running_task(w, cpu)
    min_slice = INT64_MAX if curr == NIL else sched_entity(w, curr).slice_ns
    if root.rb_root != NIL:
        min_slice = min(min_slice, sched_entity(w, root.rb_root).min_slice_ns)
    return min_slice


@kjit
def cfs_rq_max_slice(w, cpu):
    """fair.c: cfs_rq_max_slice(). Longest slice of the tasks of a CPU."""
    curr = running_task(w, cpu)
    max_slice = 0 if curr == NIL else sched_entity(w, curr).slice_ns
    p = cfs_rq(w, cpu).rb_leftmost
    while p != NIL:
        max_slice = max(max_slice, sched_entity(w, p).slice_ns)
        p = rb_next(w, p)
    return max_slice


@kjit
def clear_buddies(w, cpu, p):
    """fair.c: clear_buddies(). Forget the next buddy if it is `p`."""
    root = cfs_rq(w, cpu)
    if root.next == p:
        root.next = NIL


@kjit
def update_deadline(w, cpu, p):
    """fair.c: update_deadline(). Once a request is served, issue the next one; returns whether it was."""
    se = sched_entity(w, p)
    if se.vruntime - se.deadline < 0:
        return False
    if se.custom_slice == 0:
        se.slice_ns = sched_tunables(w).base_slice_ns
    se.deadline = se.vruntime + calc_delta_fair(se.slice_ns, se)
    avg_vruntime(w, cpu)
    return True


@kjit
def update_curr(w, q):
    """fair.c: update_curr(). Charge what runs on one level; if that is the task, its virtual time goes on."""
    cfs = cfs_rq(w, q)
    if cfs.curr == NIL:
        return
    cpu, se = cfs.cpu, sched_entity(w, cfs.curr)
    now = cpu_rq(w, cpu).clock_ns
    delta = now - se.exec_start_ns
    if delta <= 0:
        return
    se.exec_start_ns = now
    se.sum_exec_runtime_ns += delta
    if cfs.runtime_enabled:
        account_cfs_rq_runtime(w, q, delta)
    if se.my_q != NIL:
        return
    se.vruntime += calc_delta_fair(delta, se)
    expired = update_deadline(w, cpu, cfs.curr)
    if cfs_rq(w, cpu).h_nr_queued == 1:
        return
    if expired or not protect_slice(se):
        resched_curr_lazy(w, cpu)
        clear_buddies(w, cpu, cfs.curr)


@kjit
def update_curr_eevdf(w, cpu):
    """fair.c: update_curr_eevdf(). Charge the running task."""
    curr = cfs_rq(w, cpu).curr_task
    if curr != NIL:
        update_curr(w, sched_entity(w, curr).cfs_rq)


@kjit
def update_curr_fair(w, cpu):
    """fair.c: update_curr_fair(). Charge the running task and its groups."""
    se_id = cpu_rq(w, cpu).curr
    while se_id != NIL:
        se = sched_entity(w, se_id)
        update_curr(w, se.cfs_rq)
        se_id = se.parent


@kjit
def entity_lag(w, cpu, p, vruntime):
    """fair.c: entity_lag(). How far a task is behind (+) or ahead of (-) V, at most the longest slice and a tick."""
    se, tick_ns = sched_entity(w, p), sched_tunables(w).tick_ns
    lag = vruntime - se.vruntime
    if abs(lag) <= calc_delta_fair(se.slice_ns + tick_ns, se):
        return lag
    limit = calc_delta_fair(max(cfs_rq_max_slice(w, cpu), se.slice_ns) + tick_ns, se)
    return min(max(lag, -limit), limit)


@kjit
def update_entity_lag(w, cpu, p):
    """fair.c: update_entity_lag(). Note a task's lag; returns whether that is not where the task is now.

    The debt of a task that sleeps without having left may only shrink, and no credit grows of it.
    """
    se = sched_entity(w, p)
    vruntime = avg_vruntime(w, cpu)
    lag = entity_lag(w, cpu, p, vruntime)
    if se.sched_delayed:
        lag = max(lag, se.vlag)
        if sched_features(w).DELAY_ZERO:
            lag = min(lag, 0)
    se.vlag = lag
    return vruntime - lag != se.vruntime


@kjit
def place_entity(w, cpu, p, nr_others, flags):
    """fair.c: place_entity(). Give a task that joins a CPU its vruntime (V less its lag) and its deadline.

    `nr_others` are the tasks that the CPU has beside it.
    """
    root, se, feat = cfs_rq(w, cpu), sched_entity(w, p), sched_features(w)
    vruntime = avg_vruntime(w, cpu)
    if se.custom_slice == 0:
        se.slice_ns = sched_tunables(w).base_slice_ns
    if feat.PLACE_LAG and nr_others and se.vlag:
        # Joining moves V towards the task, so the lag is blown up to come out right afterwards.
        curr, load = running_task(w, cpu), root.avg_load
        if curr != NIL:
            load += sched_entity(w, curr).h_load
        vruntime -= div_trunc(se.vlag * (load + se.h_load), max(load, 1))
    se.vruntime = vruntime
    if feat.PLACE_REL_DEADLINE and se.rel_deadline:
        se.deadline += vruntime
        se.rel_deadline = 0
        return
    vslice = calc_delta_fair(se.slice_ns, se)
    if feat.PLACE_DEADLINE_INITIAL and flags & ENQUEUE_INITIAL:
        vslice >>= 1
    se.deadline = vruntime + vslice


@kjit
def protect_slice(se):
    """fair.c: protect_slice(). Whether a running task has not yet reached the end of its protection."""
    return se.vruntime - se.vprot < 0


@kjit
def cancel_protect_slice(se):
    """fair.c: cancel_protect_slice()."""
    if protect_slice(se):
        se.vprot = se.vruntime


@kjit
def set_protect_slice(w, cpu, p):
    """fair.c: set_protect_slice(). Protect a task that starts to run: for its slice, or, where a shorter one waits,
    until it is ahead of all others.
    """
    se, feat, tun = sched_entity(w, p), sched_features(w), sched_tunables(w)
    slice_ns = cfs_rq_min_slice(w, cpu) if feat.RUN_TO_PARITY else tun.normalized_base_slice_ns
    se.vprot = se.deadline
    if slice_ns < se.slice_ns:
        vprot = ineligible_vruntime(w, cpu) if feat.PREEMPT_SHORT else se.vruntime + calc_delta_fair(slice_ns, se)
        if vprot - se.vprot < 0:
            se.vprot = vprot


@kjit
def update_protect_slice(w, cpu, p):
    """fair.c: update_protect_slice(). Shorten the protection after a task that does not preempt has joined."""
    se = sched_entity(w, p)
    vruntime = avg_vruntime(w, cpu)
    if se.vruntime - vruntime < 0:
        vruntime = se.vruntime
    limit = vruntime + calc_delta_fair(cfs_rq_min_slice(w, cpu), se)
    if limit - se.vprot < 0:
        se.vprot = limit


@kjit
def reweight_queued(w, cpu, p, weight):
    """fair.c: reweight_eevdf(), of the running task. Lag, deadline and protection are scaled about V, which stays."""
    se = sched_entity(w, p)
    old = se.h_load
    if old == weight:
        return
    vruntime = avg_vruntime(w, cpu)
    lag, protected = entity_lag(w, cpu, p, vruntime), protect_slice(se)
    se.vlag = div_trunc(lag * old, weight)
    se.deadline = vruntime + div_trunc((se.deadline - vruntime) * old, weight)
    if protected:
        se.vprot = vruntime + div_trunc((se.vprot - vruntime) * old, weight)
    se.vruntime = vruntime - se.vlag
    se.h_load = weight


@kjit
def reweight_joining(se, weight):
    """fair.c: reweight_eevdf(), of a task that is about to be placed. Scale its lag and its relative deadline."""
    old = se.h_load
    if old == weight:
        return
    se.vlag = div_trunc(se.vlag * old, weight)
    if se.rel_deadline:
        se.deadline = div_trunc(se.deadline * old, weight)
    se.h_load = weight
