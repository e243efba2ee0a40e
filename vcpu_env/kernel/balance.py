"""Load balancing: a CPU pulls tasks from the busiest other one of a scheduling domain.

It does so when it is about to go idle (one task), while it is idle (started by a busy CPU's tick, since an idle CPU has
none), and now and then when it is busy; `kernel.find_busiest` says from where, and how much. What is refused too often
is asked for less politely (``nr_balance_failed``), and at last a task that runs is pushed.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.cfs_tasks import list_move_task
from vcpu_env.kernel.clock import sched_clock, update_rq_clock
from vcpu_env.kernel.domain_types import SD_SHARE_CPUCAPACITY, lb_env, sched_domain, sched_group, span_cpu
from vcpu_env.kernel.fair_class import ineligible_on_dst_cpu
from vcpu_env.kernel.find_busiest import (
    CPU_IDLE,
    CPU_NEWLY_IDLE,
    MIGRATE_LOAD,
    MIGRATE_TASK,
    MIGRATE_UTIL,
    sched_balance_find_src,
)
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.group_stats import cpu_allowed, idle_cpu, is_core_idle
from vcpu_env.kernel.load_avg import task_h_load
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.runqueue import attach_task, detach_task, sched_info_switch
from vcpu_env.kernel.sched_class import put_prev_task
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_features, sched_tunables, task_struct
from vcpu_env.kernel.util_est import task_util_est

SCHED_NR_MIGRATE = 32
MAX_PINNED_INTERVAL_MS = 512

OUT_BALANCED, OUT_ALL_PINNED, UNBALANCED = range(3)
"""How a search ends: nothing to pull; no task that may be pulled; tasks came or at least should have come."""


@kjit
def task_hot(w, p, src, dst, sd_id):
    """fair.c: task_hot(). Whether a task is thought to have its data in its CPU's cache still."""
    if task_has_idle_policy(w, p) or sched_domain(w, sd_id).flags & SD_SHARE_CPUCAPACITY:
        return False
    se, cost = sched_entity(w, p), sched_tunables(w).migration_cost_ns
    if sched_features(w).CACHE_HOT_BUDDY and cpu_rq(w, dst).nr_running and cfs_rq(w, se.cfs_rq).next == p:
        return True
    return cpu_rq(w, src).clock_ns - se.exec_start_ns < cost


@kjit
def remember_other_cpu(w, p):
    """fair.c: can_migrate_task(), a task that may not go to the pulling CPU: note a CPU of its group that would do."""
    env = lb_env(w)
    env.some_pinned = 1
    if env.idle == CPU_NEWLY_IDLE or env.dst_pinned or env.active:
        return
    group = sched_group(w, sched_domain(w, env.sd).group)
    best = NIL
    for i in range(group.first, group.first + group.weight):
        cpu = span_cpu(w, i).cpu
        if not cpu_rq(w, cpu).excluded and cpu_allowed(w, p, cpu) and (best == NIL or cpu < best):
            best = cpu
    if best != NIL:
        env.dst_pinned, env.new_dst_cpu = 1, best


@kjit
def can_migrate_task(w, p):
    """fair.c: can_migrate_task(). Whether a queued task may be pulled."""
    env = lb_env(w)
    dst, sd = env.dst_cpu, sched_domain(w, env.sd)
    se, task = sched_entity(w, p), task_struct(w, p)
    if se.sched_delayed and env.migration_type != MIGRATE_LOAD:
        return False
    there = task.tg * sched_tunables(w).nr_cpus + dst
    if cfs_rq(w, there).throttle_count:
        return False
    if sd.nr_balance_failed == 0 and sched_features(w).PLACE_LAG:
        if ineligible_on_dst_cpu(w, p, dst):
            return False
    if not cpu_allowed(w, p, dst):
        remember_other_cpu(w, p)
        return False
    env.all_pinned = 0
    if cpu_rq(w, env.src_cpu).curr == p:
        return False
    if env.active or sd.nr_balance_failed > sd.cache_nice_tries:
        return True
    return not task_hot(w, p, env.src_cpu, dst, env.sd)


@kjit
def imbalance_of(w, p):
    """fair.c: detach_tasks(). What moving a task counts for: its load, its utilisation, or 1."""
    kind = lb_env(w).migration_type
    if kind == MIGRATE_LOAD:
        return max(task_h_load(w, p), 1)
    if kind == MIGRATE_UTIL:
        return task_util_est(sched_entity(w, p))
    return 1


@kjit
def take_task(w, p):
    """fair.c: detach_task(). The task is on its way; the attempt keeps a list of such tasks."""
    env = lb_env(w)
    detach_task(w, p, env.dst_cpu)
    task_struct(w, p).group_next = env.detached
    env.detached = p


@kjit
def detach_tasks(w):
    """fair.c: detach_tasks(). Take tasks up to the imbalance, from the one on that has not run for longest.

    Returns how many. A task that stays goes to the head of the list, so that the next attempt begins with others.
    """
    env = lb_env(w)
    rq = cpu_rq(w, env.src_cpu)
    failed = min(sched_domain(w, env.sd).nr_balance_failed, 63)
    detached = 0
    if rq.nr_running <= 1:
        env.all_pinned = 0
        return 0
    while env.imbalance > 0 and rq.cfs_tasks_tail != NIL:
        if env.idle and rq.nr_running <= 1:
            break
        env.loop += 1
        if env.loop > env.loop_max:
            break
        p = rq.cfs_tasks_tail
        if can_migrate_task(w, p):
            amount = imbalance_of(w, p)
            if env.migration_type == MIGRATE_TASK or amount >> failed <= env.imbalance:
                env.imbalance -= amount
                take_task(w, p)
                detached += 1
                if env.idle == CPU_NEWLY_IDLE:
                    break
                continue
        list_move_task(w, p)
    return detached


@kjit
def attach_tasks(w):
    """fair.c: attach_tasks(). What was detached arrives, the last first."""
    env = lb_env(w)
    update_rq_clock(w, env.dst_cpu, sched_clock(w))
    while env.detached != NIL:
        p = env.detached
        env.detached = task_struct(w, p).group_next
        task_struct(w, p).group_next = NIL
        attach_task(w, p)


@kjit
def need_active_balance(w):
    """fair.c: need_active_balance(). Whether, after much else has failed, a running task has to be pushed."""
    env = lb_env(w)
    sd = sched_domain(w, env.sd)
    return env.migration_type == MIGRATE_TASK and sd.nr_balance_failed > sd.cache_nice_tries + 2


@kjit
def ask_for_push(w, cpu):
    """fair.c: sched_balance_rq(). Let the source's stopper thread push what runs there to `cpu`, if that is allowed."""
    env = lb_env(w)
    rq = cpu_rq(w, env.src_cpu)
    if rq.curr == NIL or not cpu_allowed(w, rq.curr, cpu):
        return False
    env.all_pinned = 0
    if rq.active_balance == 0:
        rq.active_balance, rq.push_cpu = 1, cpu
        resched_curr(w, env.src_cpu)
    return True


@kjit
def common_domain(w, cpu, other):
    """The lowest domain of `cpu` that spans `other` as well."""
    sd_id = cpu_rq(w, cpu).sd
    if cpu_rq(w, cpu).sibling == other:
        return sd_id
    position = cpu_rq(w, other).position
    while True:
        domain = sched_domain(w, sd_id)
        if not domain.flags & SD_SHARE_CPUCAPACITY and domain.first <= position < domain.first + domain.span_weight:
            return sd_id
        sd_id = domain.parent


@kjit
def active_load_balance(w, cpu):
    """fair.c: active_load_balance_cpu_stop(). The stopper thread interrupts a CPU and pushes a task to `push_cpu`.

    The CPU is left without a current task, as after any other switch to the stopper; the caller picks.
    """
    rq, env = cpu_rq(w, cpu), lb_env(w)
    prev = rq.curr
    if prev != NIL:
        put_prev_task(w, prev)
        sched_info_switch(w, cpu, prev, NIL)
        rq.curr = NIL
    rq.active_balance = 0
    if rq.nr_running == 0:
        return
    env.sd, env.src_cpu, env.dst_cpu = common_domain(w, rq.push_cpu, cpu), cpu, rq.push_cpu
    env.idle, env.migration_type, env.active, env.detached = CPU_IDLE, MIGRATE_LOAD, 1, NIL
    p = rq.cfs_tasks_tail
    while p != NIL and not can_migrate_task(w, p):
        p = task_struct(w, p).group_prev
    if p != NIL:
        take_task(w, p)
        sched_domain(w, env.sd).nr_balance_failed = 0
        attach_tasks(w)


@kjit
def should_we_balance(w):
    """fair.c: should_we_balance(). One CPU of a group balances for it: the first idle one, on an idle core if there is.

    A CPU that is about to go idle balances for itself, unless a task has come meanwhile.
    """
    env = lb_env(w)
    sd = sched_domain(w, env.sd)
    group = sched_group(w, sd.group)
    dst = cpu_rq(w, env.dst_cpu)
    if dst.excluded:
        return False
    if env.idle == CPU_NEWLY_IDLE:
        return dst.nr_running == 0 and dst.ttwu_pending == 0
    idle_smt = NIL
    for i in range(group.first, group.first + group.weight):
        cpu = span_cpu(w, i).cpu
        if idle_cpu(w, cpu) and not cpu_rq(w, cpu).excluded:
            if sd.flags & SD_SHARE_CPUCAPACITY or is_core_idle(w, cpu):
                return cpu == env.dst_cpu
            if idle_smt == NIL:
                idle_smt = cpu
    if idle_smt != NIL:
        return idle_smt == env.dst_cpu
    return span_cpu(w, group.first).cpu == env.dst_cpu


@kjit
def include_all(w, sd_id):
    """All CPUs of a domain may be looked at again."""
    sd = sched_domain(w, sd_id)
    for i in range(sd.first, sd.first + sd.span_weight):
        cpu_rq(w, span_cpu(w, i).cpu).excluded = 0


@kjit
def any_left_outside(w):
    """fair.c: sched_balance_rq(), cpumask_subset(). Whether there is a CPU left to pull from, outside the own group."""
    sd = sched_domain(w, lb_env(w).sd)
    left = 0
    for i in range(sd.first, sd.first + sd.span_weight):
        left += 1 - cpu_rq(w, span_cpu(w, i).cpu).excluded
    group = sched_group(w, sd.group)
    for i in range(group.first, group.first + group.weight):
        left -= 1 - cpu_rq(w, span_cpu(w, i).cpu).excluded
    return left > 0


@kjit
def set_group_imbalance(w, imbalance):
    """fair.c: sched_balance_rq(). Tell the next larger domain whether affinity keeps this one from being balanced."""
    parent = sched_domain(w, lb_env(w).sd).parent
    if parent != NIL:
        sched_group(w, sched_domain(w, parent).group).imbalance = imbalance


@kjit
def pull_from_source(w):
    """fair.c: sched_balance_rq(), more_balance. Pull from the source, if need be to other CPUs of the group as well."""
    env = lb_env(w)
    moved = 0
    while True:
        update_rq_clock(w, env.src_cpu, sched_clock(w))
        detached = detach_tasks(w)
        if detached:
            attach_tasks(w)
            moved += detached
        if not (env.dst_pinned and env.imbalance > 0):
            return moved
        cpu_rq(w, env.dst_cpu).excluded = 1
        env.dst_cpu, env.dst_pinned, env.loop = env.new_dst_cpu, 0, 0


@kjit
def search_and_pull(w):
    """fair.c: sched_balance_rq(), redo. Search and pull, again without a CPU all of whose tasks are pinned.

    Returns how it ended; ``env.moved`` is how many tasks came.
    """
    env = lb_env(w)
    while True:
        if not should_we_balance(w):
            env.continue_balancing = 0
            return OUT_BALANCED
        src = sched_balance_find_src(w)
        if src == NIL:
            return OUT_BALANCED
        env.src_cpu, env.all_pinned, env.moved = src, 1, 0
        if cpu_rq(w, src).nr_running <= 1:
            return UNBALANCED
        env.loop_max = min(SCHED_NR_MIGRATE, cpu_rq(w, src).nr_running)
        env.moved = pull_from_source(w)
        if env.some_pinned and env.imbalance > 0:
            set_group_imbalance(w, 1)
        if not env.all_pinned:
            return UNBALANCED
        cpu_rq(w, src).excluded = 1
        if not any_left_outside(w):
            return OUT_ALL_PINNED
        env.loop = 0


@kjit
def look_less_often(w, sd):
    """fair.c: sched_balance_rq(), out_one_pinned. The interval of a domain doubles, further if all is pinned."""
    env = lb_env(w)
    if env.idle == CPU_NEWLY_IDLE:
        return
    interval = sd.balance_interval_ms
    if interval < sd.max_interval_ms or (env.all_pinned and interval < MAX_PINNED_INTERVAL_MS):
        sd.balance_interval_ms = 2 * interval


@kjit
def sched_balance_rq(w, cpu, sd_id, idle):
    """fair.c: sched_balance_rq(). One attempt of a CPU to pull tasks within a domain; returns how many came."""
    env, sd = lb_env(w), sched_domain(w, sd_id)
    env.sd, env.dst_cpu, env.src_cpu, env.idle = sd_id, cpu, NIL, idle
    env.some_pinned = env.all_pinned = env.dst_pinned = env.active = env.loop = env.moved = 0
    env.detached, env.continue_balancing = NIL, 1
    end = search_and_pull(w)
    include_all(w, sd_id)
    if end == UNBALANCED:
        if env.moved:
            sd.nr_balance_failed = 0
        else:
            if idle != CPU_NEWLY_IDLE:
                sd.nr_balance_failed += 1
            if need_active_balance(w) and not ask_for_push(w, cpu):
                look_less_often(w, sd)
                return 0
        sd.balance_interval_ms = sd.min_interval_ms
        return env.moved
    if end == OUT_BALANCED and not env.all_pinned:
        set_group_imbalance(w, 0)
    sd.nr_balance_failed = 0
    look_less_often(w, sd)
    return 0
