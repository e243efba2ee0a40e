"""The deadline server of a CPU's fair tasks: what v6.19 has in place of RT throttling (deadline.c: dl_server).

It has 50 ms in every second, and defers: as long as fair tasks get that much behind the real-time tasks' back, its
period begins anew and it does nothing. Where they starve, its timer goes off 50 ms before the deadline (zero laxity);
from then on it runs before real-time tasks until its run time is used up, again at each new period, and does not defer
any more until fair tasks have had a whole run time by themselves. Fair tasks are charged when the CPU switches, ticks,
or gets a fair task, idle time when it ends.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import NEVER, set_event
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt_types import fair_server, rt_task
from vcpu_env.kernel.types import cpu_rq

DL_SERVER_MIN_RES_NS = 1_000_000
"""A timer that comes this much too early is taken for due [source]."""


@kjit
def set_dl_timer(server, w, when_ns):
    """Let the server's timer go off then; NEVER: not at all."""
    if server.timer != NIL:
        set_event(w, server.timer, when_ns)


@kjit
def start_dl_timer(w, cpu):
    """deadline.c: start_dl_timer(). At zero laxity, or when the next period begins; returns whether that is to come."""
    server = fair_server(w, cpu)
    when_ns = server.deadline_ns
    if server.dl_defer_armed:
        when_ns -= server.runtime_ns
    if when_ns <= cpu_rq(w, cpu).clock_ns:
        return False
    set_dl_timer(server, w, when_ns)
    return True


@kjit
def replenish_dl_new_period(w, cpu):
    """deadline.c: replenish_dl_new_period(). A period begins now; the server waits unless it has stopped deferring."""
    server = fair_server(w, cpu)
    server.deadline_ns = cpu_rq(w, cpu).clock_ns + server.dl_period_ns
    server.runtime_ns = server.dl_runtime_ns
    if server.dl_defer_running == 0:
        server.dl_throttled = server.dl_defer_armed = 1


@kjit
def replenish_dl_entity(w, cpu):
    """deadline.c: replenish_dl_entity(). The next period's run time is there."""
    server = fair_server(w, cpu)
    while server.runtime_ns <= 0:
        server.deadline_ns += server.dl_period_ns
        server.runtime_ns += server.dl_runtime_ns
    if server.deadline_ns < cpu_rq(w, cpu).clock_ns:
        replenish_dl_new_period(w, cpu)
    server.dl_throttled = server.dl_defer_armed = 0


@kjit
def dl_entity_overflow(w, cpu):
    """deadline.c: dl_entity_overflow(). Whether what is left is more than its share of the time to the deadline."""
    server = fair_server(w, cpu)
    left_ns = server.deadline_ns - cpu_rq(w, cpu).clock_ns
    return (server.runtime_ns >> 10) * (server.dl_period_ns >> 10) > (left_ns >> 10) * (server.dl_runtime_ns >> 10)


@kjit
def update_dl_entity(w, cpu):
    """deadline.c: update_dl_entity(). What is left of the old period when the server starts again."""
    server, now_ns = fair_server(w, cpu), cpu_rq(w, cpu).clock_ns
    if server.deadline_ns < now_ns or dl_entity_overflow(w, cpu):
        if server.dl_defer_running and server.deadline_ns >= now_ns:  # update_dl_revised_wakeup(): a part of it
            left_ns = server.deadline_ns - now_ns
            server.runtime_ns = (left_ns >> 10) * (server.dl_runtime_ns >> 10) // (server.dl_period_ns >> 10) << 10
            return
        server.dl_defer_running = 0
        replenish_dl_new_period(w, cpu)
    elif server.dl_defer_running == 0:
        server.dl_throttled = server.dl_defer_armed = 1


@kjit
def enqueue_dl_entity(w, cpu):
    """deadline.c: enqueue_dl_entity(), its end. The server waits for its timer, or its fair tasks come first."""
    server = fair_server(w, cpu)
    if server.dl_throttled and start_dl_timer(w, cpu):
        return
    if server.dl_throttled:
        set_dl_timer(server, w, NEVER)
        server.dl_throttled = server.dl_defer_armed = 0
    server.on_dl_rq = 1
    if cpu_rq(w, cpu).curr != NIL:
        resched_curr(w, cpu)


@kjit
def dl_server_start(w, cpu):
    """deadline.c: dl_server_start(). The first fair task of a CPU has come."""
    server = fair_server(w, cpu)
    server.dl_defer_idle = 0
    if server.dl_runtime_ns == 0 or server.dl_server_active:
        return
    server.dl_server_active = 1
    update_dl_entity(w, cpu)
    enqueue_dl_entity(w, cpu)


@kjit
def dl_server_stop(w, cpu):
    """deadline.c: dl_server_stop(). There is nothing to serve."""
    server = fair_server(w, cpu)
    set_dl_timer(server, w, NEVER)
    server.on_dl_rq = server.dl_throttled = server.dl_defer_armed = 0
    server.dl_defer_idle = server.dl_server_active = 0


@kjit
def use_up(w, cpu, idle):
    """deadline.c: update_curr_dl_se(), run time that is used up: by fair tasks by themselves, by an idle CPU, or by
    fair tasks that the server ran.
    """
    server = fair_server(w, cpu)
    if server.dl_throttled:
        if idle and server.dl_defer_idle:
            return
        server.dl_defer_running = 0
        replenish_dl_new_period(w, cpu)
        if idle:
            server.dl_defer_idle = 1
        start_dl_timer(w, cpu)
        return
    server.dl_throttled, server.on_dl_rq = 1, 0
    if not start_dl_timer(w, cpu):
        replenish_dl_entity(w, cpu)
        server.on_dl_rq = 1
    resched_curr(w, cpu)


@kjit
def dl_server_update(w, cpu):
    """deadline.c: dl_server_update(), dl_server_update_idle(). Charge the server for what ran on a CPU since the last
    time; the CPU's clock must be current.
    """
    server, rq = fair_server(w, cpu), cpu_rq(w, cpu)
    delta_ns = rq.clock_ns - server.charged_ns
    server.charged_ns = rq.clock_ns
    idle = rq.curr == NIL
    if server.dl_server_active == 0 or delta_ns <= 0 or (not idle and rt_task(w, rq.curr)):
        return
    if not idle:
        server.dl_defer_idle = 0
    server.runtime_ns -= delta_ns
    if server.runtime_ns <= 0:
        use_up(w, cpu, idle)


@kjit
def dl_server_timer(w, cpu):
    """deadline.c: dl_server_timer(). The server's timer goes off; the CPU's clock must be current."""
    server, now_ns = fair_server(w, cpu), cpu_rq(w, cpu).clock_ns
    set_dl_timer(server, w, NEVER)
    dl_server_update(w, cpu)
    if server.dl_throttled == 0:
        return
    if server.dl_defer_idle:
        dl_server_stop(w, cpu)
        return
    if server.dl_defer_armed:
        zero_laxity_ns = server.deadline_ns - server.runtime_ns
        if now_ns < zero_laxity_ns - DL_SERVER_MIN_RES_NS:
            set_dl_timer(server, w, zero_laxity_ns)
            return
        server.dl_defer_running = 1
    replenish_dl_entity(w, cpu)
    enqueue_dl_entity(w, cpu)
