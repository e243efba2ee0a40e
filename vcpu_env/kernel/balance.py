"""Load balancing among CPUs that share one last-level cache: one scheduling domain whose groups are single CPUs.

A CPU pulls tasks from the busiest other one: when it is about to go idle (one task), while it is idle (every 16 ms or
so, started by a busy CPU's tick, since an idle CPU has none), and now and then when it is busy. It counts *tasks* while
it has nothing to do itself, and *load* when all are busy; what is refused too often is asked for less politely
(``nr_balance_failed``). Every search starts at the pulling CPU and goes round; the first of equals is taken.
"""

from vcpu_env._jit import NIL, kjit
from vcpu_env.kernel.entity import entity_eligible, resched_curr
from vcpu_env.kernel.fair import put_prev_task_fair
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.pelt import task_h_load
from vcpu_env.kernel.runqueue import migrate_task, sched_info_switch, update_rq_clock
from vcpu_env.kernel.select_cpu import (
    GROUP_FULLY_BUSY,
    GROUP_HAS_SPARE,
    GROUP_OVERLOADED,
    IMBALANCE_PCT,
    SCHED_CAPACITY_SCALE,
    cpu_allowed,
    group_classify,
)
from vcpu_env.kernel.types import (
    cfs_rq,
    cpu_rq,
    sched_domain_shared,
    sched_entity,
    sched_features,
    sched_tunables,
    task_struct,
)

CPU_NOT_IDLE, CPU_IDLE, CPU_NEWLY_IDLE = 0, 1, 2
MIGRATE_LOAD, MIGRATE_TASK = 0, 1

REFUSED, REFUSED_BUT_ALLOWED, MOVABLE = 0, 1, 2

CACHE_NICE_TRIES = 1
SCHED_NR_MIGRATE = 32


@kjit
def busier(w, kind, cpu, best_kind, best):
    """fair.c: update_sd_pick_busiest(). Whether a CPU is a better one to pull from than the best so far."""
    if kind != best_kind:
        return kind > best_kind
    if kind == GROUP_OVERLOADED:
        return cfs_rq(w, cpu).load_avg > cfs_rq(w, best).load_avg
    return kind == GROUP_FULLY_BUSY or cpu_rq(w, cpu).nr_running > cpu_rq(w, best).nr_running


@kjit
def update_idle_cpu_scan(w, sum_util):
    """fair.c: update_idle_cpu_scan(). How many CPUs a wakeup may look at: the square of utilisation is against it."""
    nr_cpus = sched_tunables(w, 0).nr_cpus
    util = sum_util // nr_cpus
    busy = util * util * IMBALANCE_PCT * IMBALANCE_PCT // (10000 * SCHED_CAPACITY_SCALE)
    left = SCHED_CAPACITY_SCALE - min(busy, SCHED_CAPACITY_SCALE)
    sched_domain_shared(w, 0).nr_idle_scan = left * nr_cpus // SCHED_CAPACITY_SCALE


@kjit
def sched_balance_find_src(w, cpu, idle):
    """fair.c: update_sd_lb_stats(), sched_balance_find_src_group(), calculate_imbalance(), sched_balance_find_src_rq().

    Returns the CPU to pull from (NIL if all is well), whether to count load or tasks, and how much of it to pull.
    """
    nr_cpus = sched_tunables(w, 0).nr_cpus
    busiest, busiest_kind = NIL, GROUP_HAS_SPARE
    total_load = sum_util = 0
    other = cpu
    for _ in range(nr_cpus):
        rq, cfs = cpu_rq(w, other), cfs_rq(w, other)
        if not rq.all_pinned:
            total_load += cfs.load_avg
            sum_util += rq.util_avg
            if other != cpu and cfs.h_nr_runnable:
                kind = group_classify(w, other)
                if busiest == NIL or busier(w, kind, other, busiest_kind, busiest):
                    busiest, busiest_kind = other, kind
        other = other + 1 if other + 1 < nr_cpus else 0
    if idle != CPU_NEWLY_IDLE and sched_features(w, 0).SIS_UTIL:
        update_idle_cpu_scan(w, sum_util)
    local_kind = group_classify(w, cpu)
    if busiest == NIL or local_kind > busiest_kind:
        return NIL, MIGRATE_TASK, 0
    waiting = cfs_rq(w, busiest).h_nr_runnable
    if busiest_kind != GROUP_OVERLOADED and (idle == CPU_NOT_IDLE or waiting == 1):
        return NIL, MIGRATE_TASK, 0
    if local_kind == GROUP_HAS_SPARE:
        excess = (cpu_rq(w, busiest).nr_running - cpu_rq(w, cpu).nr_running) >> 1
        if idle == CPU_NOT_IDLE or excess <= 0:
            return NIL, MIGRATE_TASK, 0
        return busiest, MIGRATE_TASK, excess
    load, busiest_load, mean = cfs_rq(w, cpu).load_avg, cfs_rq(w, busiest).load_avg, total_load // nr_cpus
    if local_kind == GROUP_OVERLOADED and 100 * busiest_load <= IMBALANCE_PCT * load:
        return NIL, MIGRATE_LOAD, 0
    excess = min(busiest_load - mean, mean - load)
    if busiest_load <= load or excess <= 0 or (waiting == 1 and busiest_load > excess):
        return NIL, MIGRATE_LOAD, 0
    return busiest, MIGRATE_LOAD, excess


@kjit
def task_hot(w, p, src, dst):
    """fair.c: task_hot(). Whether a task is thought to have its data in its CPU's cache still."""
    if task_has_idle_policy(w, p):
        return False
    se, cost = sched_entity(w, p), sched_tunables(w, 0).migration_cost_ns
    if sched_features(w, 0).CACHE_HOT_BUDDY and cpu_rq(w, dst).nr_running and cfs_rq(w, se.cfs_rq).next == p:
        return True
    return cpu_rq(w, src).clock_ns - se.exec_start_ns < cost


@kjit
def can_migrate_task(w, p, src, dst, by_load, nr_balance_failed):
    """fair.c: can_migrate_task(). Whether a queued task may be pulled; if not, whether affinity at least allows it."""
    se, task = sched_entity(w, p), task_struct(w, p)
    if se.sched_delayed and not by_load:
        return REFUSED
    there = task.tg * sched_tunables(w, 0).nr_cpus + dst
    if cfs_rq(w, there).throttle_count:
        return REFUSED
    if nr_balance_failed == 0 and sched_features(w, 0).PLACE_LAG:
        # A task that is ahead of its queue gains nothing where it has to wait as well.
        if cfs_rq(w, there).nr_queued and not entity_eligible(w, se.cfs_rq, p):
            return REFUSED
    if not cpu_allowed(w, p, dst):
        return REFUSED
    if cpu_rq(w, src).curr == p:
        return REFUSED_BUT_ALLOWED
    if nr_balance_failed <= CACHE_NICE_TRIES and task_hot(w, p, src, dst):
        return REFUSED_BUT_ALLOWED
    return MOVABLE


@kjit
def next_queued_task(w, cpu, since_ns, after):
    """The task of a CPU that is next to be looked at after task `after`, which began to wait at `since_ns`.

    Those that have waited longest come first; running and delayed tasks, which do not wait, come before them.
    """
    best, best_since = NIL, 0
    for p in range(sched_tunables(w, 0).nr_tasks):
        task = task_struct(w, p)
        if task.cpu != cpu or sched_entity(w, p).on_rq == 0:
            continue
        since = task.last_queued_ns
        if since > since_ns or (since == since_ns and p > after):
            if best == NIL or since < best_since:
                best, best_since = p, since
    return best


@kjit
def detach_tasks(w, src, dst, idle, by_load, imbalance):
    """fair.c: detach_tasks(), attach_tasks(). Move up to `imbalance` load or tasks; those that wait longest come first.

    Returns how many have been moved, and whether affinity was what kept all others.
    """
    failed = cpu_rq(w, dst).nr_balance_failed
    moved, all_pinned = 0, True
    p, since_ns = NIL, NIL
    for _ in range(min(SCHED_NR_MIGRATE, cpu_rq(w, src).nr_running)):
        p = next_queued_task(w, src, since_ns, p)
        if p == NIL or (idle and cpu_rq(w, src).nr_running <= 1):
            break
        since_ns = task_struct(w, p).last_queued_ns
        verdict = can_migrate_task(w, p, src, dst, by_load, failed)
        if verdict != REFUSED:
            all_pinned = False
        if verdict == MOVABLE:
            amount = max(task_h_load(w, p), 1) if by_load else 1
            if not by_load or amount >> min(failed, 62) <= imbalance:
                migrate_task(w, p, dst, idle != CPU_NEWLY_IDLE)
                imbalance -= amount
                moved += 1
                if imbalance <= 0 or idle == CPU_NEWLY_IDLE:
                    break
    return moved, all_pinned


@kjit
def need_active_balance(w, src, dst):
    """fair.c: need_active_balance(). Ask `src` to push its running task, after nothing else could be had for long."""
    rq = cpu_rq(w, src)
    if cpu_rq(w, dst).nr_balance_failed <= CACHE_NICE_TRIES + 2 or rq.active_balance or rq.curr == NIL:
        return
    if cpu_allowed(w, rq.curr, dst):
        rq.active_balance, rq.push_cpu = 1, dst
        resched_curr(w, src)


@kjit
def active_load_balance(w, cpu):
    """fair.c: active_load_balance_cpu_stop(). The stopper thread interrupts a CPU and pushes a task to `push_cpu`.

    The CPU is left without a current task, as after any other switch to the stopper; the caller picks.
    """
    rq = cpu_rq(w, cpu)
    dst = rq.push_cpu
    rq.active_balance = 0
    prev = rq.curr
    if prev != NIL:
        put_prev_task_fair(w, prev)
        sched_info_switch(w, cpu, prev, NIL)
        rq.curr = NIL
    if rq.nr_running <= 1:
        return
    p, since_ns = NIL, NIL
    while True:
        p = next_queued_task(w, cpu, since_ns, p)
        if p == NIL:
            return
        since_ns = task_struct(w, p).last_queued_ns
        # Nobody runs here now and "cache hot" does not count, so only a delayed, ineligible or pinned task is refused.
        if can_migrate_task(w, p, cpu, dst, False, cpu_rq(w, dst).nr_balance_failed) != REFUSED:
            migrate_task(w, p, dst, True)
            cpu_rq(w, dst).nr_balance_failed = 0
            return


@kjit
def sched_balance_rq(w, cpu, idle):
    """fair.c: sched_balance_rq(). One attempt of a CPU to pull tasks; returns how many came."""
    rq, nr_cpus = cpu_rq(w, cpu), sched_tunables(w, 0).nr_cpus
    for other in range(nr_cpus):
        cpu_rq(w, other).all_pinned = 0
    while True:
        src, kind, imbalance = sched_balance_find_src(w, cpu, idle)
        moved, all_pinned = 0, False
        if src != NIL and cpu_rq(w, src).nr_running > 1:
            update_rq_clock(w, src, rq.clock_ns)
            moved, all_pinned = detach_tasks(w, src, cpu, idle, kind == MIGRATE_LOAD, imbalance)
        if not all_pinned:
            break
        cpu_rq(w, src).all_pinned = 1
    if moved:
        rq.nr_balance_failed = 0
        rq.balance_interval_ms = nr_cpus
    elif src != NIL:
        if idle != CPU_NEWLY_IDLE:
            rq.nr_balance_failed += 1
        if kind == MIGRATE_TASK:
            need_active_balance(w, src, cpu)
        rq.balance_interval_ms = nr_cpus
    else:
        rq.nr_balance_failed = 0
        if idle != CPU_NEWLY_IDLE and rq.balance_interval_ms < 2 * nr_cpus:
            rq.balance_interval_ms *= 2
    return moved
