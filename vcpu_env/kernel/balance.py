"""Load balancing: a CPU pulls tasks from the busiest other one of a scheduling domain.

It does so when it is about to go idle (one task), while it is idle (started by a busy CPU's tick, since an idle CPU has
none), and now and then when it is busy; `kernel.find_busiest` says from where, and how much. What is refused too often
is asked for less politely (``nr_balance_failed``), and at last a task that runs is pushed.
"""

from vcpu_env._jit import NIL, kjit
from vcpu_env.kernel.domain_types import SD_SHARE_CPUCAPACITY, lb_env, sched_domain, sched_group, span_cpu
from vcpu_env.kernel.entity import entity_eligible, resched_curr
from vcpu_env.kernel.fair import put_prev_task_fair
from vcpu_env.kernel.find_busiest import (
    CPU_NEWLY_IDLE,
    MIGRATE_LOAD,
    MIGRATE_TASK,
    MIGRATE_UTIL,
    sched_balance_find_src,
)
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.group_stats import idle_cpu, is_core_idle
from vcpu_env.kernel.pelt import task_h_load
from vcpu_env.kernel.runqueue import migrate_task, sched_info_switch, update_rq_clock
from vcpu_env.kernel.select_cpu import cpu_allowed
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_features, sched_tunables, task_struct

REFUSED, REFUSED_BUT_ALLOWED, MOVABLE = 0, 1, 2

SCHED_NR_MIGRATE = 32


@kjit
def task_hot(w, p, src, dst, sd_id):
    """fair.c: task_hot(). Whether a task is thought to have its data in its CPU's cache still."""
    if task_has_idle_policy(w, p) or sched_domain(w, sd_id).flags & SD_SHARE_CPUCAPACITY:
        return False
    se, cost = sched_entity(w, p), sched_tunables(w, 0).migration_cost_ns
    if sched_features(w, 0).CACHE_HOT_BUDDY and cpu_rq(w, dst).nr_running and cfs_rq(w, se.cfs_rq).next == p:
        return True
    return cpu_rq(w, src).clock_ns - se.exec_start_ns < cost


@kjit
def can_migrate_task(w, p, src, dst, sd_id, by_load):
    """fair.c: can_migrate_task(). Whether a queued task may be pulled; if not, whether affinity at least allows it.

    Affinities are of one CPU or of all, so a task that may not go to `dst` has no other CPU of its group to go to.
    """
    se, task, sd = sched_entity(w, p), task_struct(w, p), sched_domain(w, sd_id)
    if se.sched_delayed and not by_load:
        return REFUSED
    there = task.tg * sched_tunables(w, 0).nr_cpus + dst
    if cfs_rq(w, there).throttle_count:
        return REFUSED
    if sd.nr_balance_failed == 0 and sched_features(w, 0).PLACE_LAG:
        # A task that is ahead of its queue gains nothing where it has to wait as well.
        if cfs_rq(w, there).nr_queued and not entity_eligible(w, se.cfs_rq, p):
            return REFUSED
    if not cpu_allowed(w, p, dst):
        lb_env(w, 0).some_pinned = 1
        return REFUSED
    if cpu_rq(w, src).curr == p:
        return REFUSED_BUT_ALLOWED
    if sd.nr_balance_failed <= sd.cache_nice_tries and task_hot(w, p, src, dst, sd_id):
        return REFUSED_BUT_ALLOWED
    return MOVABLE


@kjit
def next_queued_task(w, cpu, since_ns, after):
    """The task of a CPU that is next to be looked at after task `after`, which began to wait at `since_ns`.

    Those that have waited longest come first; running and delayed tasks, which do not wait, come before them.
    """
    best, best_since = NIL, 0
    p = cpu_rq(w, cpu).first_task
    while p != NIL:
        task = task_struct(w, p)
        since = task.last_queued_ns
        if task.on_rq and sched_entity(w, p).on_rq and (since > since_ns or (since == since_ns and p > after)):
            if best == NIL or since < best_since or (since == best_since and p < best):
                best, best_since = p, since
        p = task.cpu_next
    return best


@kjit
def amount_moved(w, p, migration_type):
    """fair.c: detach_tasks(). What moving a task counts for: its load, its part of its CPU's utilisation, or 1."""
    if migration_type == MIGRATE_LOAD:
        return max(task_h_load(w, p), 1)
    if migration_type == MIGRATE_UTIL:
        cpu = task_struct(w, p).cpu
        return cpu_rq(w, cpu).util_avg // max(cfs_rq(w, cpu).h_nr_runnable, 1)
    return 1


@kjit
def detach_tasks(w):
    """fair.c: detach_tasks(), attach_tasks(). Move up to the imbalance; those that wait longest come first.

    Returns how many have been moved; ``env.all_pinned`` says whether affinity was what kept all of them.
    """
    env = lb_env(w, 0)
    src, dst, kind = env.src_cpu, env.dst_cpu, env.migration_type
    failed = min(sched_domain(w, env.sd).nr_balance_failed, 62)
    moved = 0
    p, since_ns = NIL, NIL
    for _ in range(min(SCHED_NR_MIGRATE, cpu_rq(w, src).nr_running)):
        p = next_queued_task(w, src, since_ns, p)
        if p == NIL or (env.idle and cpu_rq(w, src).nr_running <= 1):
            break
        since_ns = task_struct(w, p).last_queued_ns
        verdict = can_migrate_task(w, p, src, dst, env.sd, kind == MIGRATE_LOAD)
        if verdict != REFUSED:
            env.all_pinned = 0
        if verdict == MOVABLE:
            amount = amount_moved(w, p, kind)
            if kind == MIGRATE_TASK or amount >> failed <= env.imbalance:
                migrate_task(w, p, dst, env.idle != CPU_NEWLY_IDLE)
                env.imbalance -= amount
                moved += 1
                if env.imbalance <= 0 or env.idle == CPU_NEWLY_IDLE:
                    break
    return moved


@kjit
def need_active_balance(w):
    """fair.c: need_active_balance(). Ask the source to push its running task, after much else has failed."""
    env = lb_env(w, 0)
    sd, rq = sched_domain(w, env.sd), cpu_rq(w, env.src_cpu)
    if env.migration_type != MIGRATE_TASK or sd.nr_balance_failed <= sd.cache_nice_tries + 2:
        return
    if rq.active_balance == 0 and rq.curr != NIL and cpu_allowed(w, rq.curr, env.dst_cpu):
        rq.active_balance, rq.push_cpu = 1, env.dst_cpu
        resched_curr(w, env.src_cpu)


@kjit
def common_domain(w, cpu, other):
    """The lowest domain of `cpu` that spans `other` as well."""
    sd = cpu_rq(w, cpu).sd
    if cpu_rq(w, cpu).sibling == other:
        return sd
    position = cpu_rq(w, other).position
    while True:
        domain = sched_domain(w, sd)
        if not domain.flags & SD_SHARE_CPUCAPACITY and domain.first <= position < domain.first + domain.span_weight:
            return sd
        sd = domain.parent


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
    if rq.nr_running == 0:
        return
    sd = common_domain(w, dst, cpu)
    p, since_ns = NIL, NIL
    while True:
        p = next_queued_task(w, cpu, since_ns, p)
        if p == NIL:
            return
        since_ns = task_struct(w, p).last_queued_ns
        # Nobody runs here now and "cache hot" does not count, so only a delayed, ineligible or pinned task is refused.
        if can_migrate_task(w, p, cpu, dst, sd, False) != REFUSED:
            migrate_task(w, p, dst, True)
            sched_domain(w, sd).nr_balance_failed = 0
            return


@kjit
def should_we_balance(w):
    """fair.c: should_we_balance(). One CPU of a group balances for it: the first idle one, on an idle core if there is.

    A CPU that is about to go idle always balances for itself.
    """
    env = lb_env(w, 0)
    sd = sched_domain(w, env.sd)
    group = sched_group(w, sd.group)
    if env.idle == CPU_NEWLY_IDLE or group.weight == 1:
        return True
    idle_smt = NIL
    for i in range(group.first, group.first + group.weight):
        cpu = span_cpu(w, i).cpu
        if idle_cpu(w, cpu):
            if sd.flags & SD_SHARE_CPUCAPACITY or is_core_idle(w, cpu):
                return cpu == env.dst_cpu
            if idle_smt == NIL:
                idle_smt = cpu
    if idle_smt != NIL:
        return idle_smt == env.dst_cpu
    return span_cpu(w, group.first).cpu == env.dst_cpu


@kjit
def forget_pinned(w, sd_id):
    """All CPUs of a domain may be looked at again."""
    sd = sched_domain(w, sd_id)
    for i in range(sd.first, sd.first + sd.span_weight):
        cpu_rq(w, span_cpu(w, i).cpu).all_pinned = 0


@kjit
def set_group_imbalance(w, imbalance):
    """fair.c: sched_balance_rq(). Tell the next larger domain whether affinity keeps this one from being balanced."""
    parent = sched_domain(w, lb_env(w, 0).sd).parent
    if parent != NIL:
        sched_group(w, sched_domain(w, parent).group).imbalance = imbalance


@kjit
def pull_tasks(w):
    """fair.c: sched_balance_rq(), the search and the pull, again without a CPU all of whose tasks are pinned.

    Returns how many tasks came; ``env.src_cpu`` is NIL if there was nothing to balance.
    """
    env = lb_env(w, 0)
    passed_over = False
    moved = 0
    while True:
        src = sched_balance_find_src(w)
        env.src_cpu, env.all_pinned = src, 0
        if src == NIL or cpu_rq(w, src).nr_running <= 1:
            break
        update_rq_clock(w, src, cpu_rq(w, env.dst_cpu).clock_ns)
        env.all_pinned = 1
        moved = detach_tasks(w)
        if env.some_pinned and env.imbalance > 0:
            set_group_imbalance(w, 1)
        if not env.all_pinned:
            break
        cpu_rq(w, src).all_pinned = 1
        passed_over = True
    if passed_over:
        forget_pinned(w, env.sd)
        env.all_pinned = 1
    return moved


@kjit
def balanced(sd, idle):
    """fair.c: sched_balance_rq(), out_balanced. Nothing to do: the domain is looked at less often."""
    sd.nr_balance_failed = 0
    if idle != CPU_NEWLY_IDLE and sd.balance_interval_ms < sd.max_interval_ms:
        sd.balance_interval_ms *= 2


@kjit
def sched_balance_rq(w, cpu, sd_id, idle):
    """fair.c: sched_balance_rq(). One attempt of a CPU to pull tasks within a domain; returns how many came."""
    env, sd = lb_env(w, 0), sched_domain(w, sd_id)
    env.sd, env.dst_cpu, env.src_cpu, env.idle = sd_id, cpu, NIL, idle
    env.some_pinned, env.all_pinned = 0, 0
    moved = 0
    env.continue_balancing = 1 if should_we_balance(w) else 0
    if env.continue_balancing:
        moved = pull_tasks(w)
    if moved:
        sd.nr_balance_failed = 0
        sd.balance_interval_ms = sd.min_interval_ms
    elif env.src_cpu != NIL:
        if idle != CPU_NEWLY_IDLE:
            sd.nr_balance_failed += 1
        need_active_balance(w)
        sd.balance_interval_ms = sd.min_interval_ms
    else:
        if not env.all_pinned:
            set_group_imbalance(w, 0)
        balanced(sd, idle)
    return moved
