"""The guest's fair class on one vCPU: EEVDF among the few threads of its run queue, all of nice 0.

With equal weights V is the mean of the threads' vruntimes, and a vruntime is run time. An eligible thread is not ahead
of V; the eligible one with the earliest deadline runs, protected to the end of its request (RUN_TO_PARITY). `vlag` is
the lag of a thread that does not run and, while it runs, the vruntime up to which it is protected. Time is that of the
guest: stolen time is charged to nobody.

Delayed dequeue has no place on the queue: a sleeper that was ahead of V keeps its vruntime, and is owed nothing if V
has passed it by the time it wakes up. Its weight does not slow V meanwhile.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.thread_queue import append, remove
from vcpu_env.guest.types import RUNNABLE, RUNNING, guest_thread, guest_vcpu, guest_vm


@kjit
def slice_of(w, v):
    """The base slice of the vCPU's guest (ns)."""
    return guest_vm(w, guest_vcpu(w, v).vm).slice_ns


@kjit
def update_curr(w, v, now_ns):
    """fair.c: update_curr(). Charge the current thread for its guest time; whether it has served its request."""
    g = guest_vcpu(w, v)
    th = guest_thread(w, g.current)
    ran_ns = g.user_ns + g.kernel_ns
    if g.cpu != NIL:
        ran_ns += now_ns - g.segment_start_ns
    th.vruntime += ran_ns - g.charged_ns
    g.charged_ns = ran_ns
    if th.vruntime < th.deadline:
        return False
    th.deadline = th.vruntime + slice_of(w, v)
    return True


@kjit
def sum_vruntime(w, v):
    """fair.c: cfs_rq::avg_vruntime. Sum of the vruntimes of all that are runnable, the current thread included."""
    g = guest_vcpu(w, v)
    return g.queued_vruntime + (guest_thread(w, g.current).vruntime if g.current != NIL else 0)


@kjit
def nr_runnable(w, v):
    """Threads that wait for the vCPU or have it."""
    g = guest_vcpu(w, v)
    return g.nr_queued + (g.current != NIL)


@kjit
def avg_vruntime(w, v):
    """fair.c: avg_vruntime(). V; of a vCPU with nothing to run, where it stood last."""
    runnable = nr_runnable(w, v)
    return sum_vruntime(w, v) // runnable if runnable else guest_vcpu(w, v).idle_vruntime


@kjit
def update_entity_lag(w, v, t):
    """fair.c: update_entity_lag(). Note how far a thread that leaves is behind (+) or ahead of (-) V, within limits."""
    th = guest_thread(w, t)
    limit = slice_of(w, v) + guest_vm(w, th.vm).tick_ns
    vruntime = avg_vruntime(w, v)
    guest_vcpu(w, v).idle_vruntime = vruntime
    th.vlag = min(max(vruntime - th.vruntime, -limit), limit)


@kjit
def place_entity(w, v, t):
    """fair.c: place_entity(). A thread joins the vCPU's queue at V less its lag, which joining must not change."""
    th = guest_thread(w, t)
    runnable = nr_runnable(w, v)
    lag = th.vlag * (runnable + 1) // runnable if runnable else 0
    th.vruntime = avg_vruntime(w, v) - lag
    th.deadline = th.vruntime + slice_of(w, v)


@kjit
def enqueue_thread(w, t, v):
    """Put a placed thread on the vCPU's run queue."""
    g, th = guest_vcpu(w, v), guest_thread(w, t)
    th.vcpu = v
    th.state = RUNNABLE
    append(w, g.run_queue, t)
    g.nr_queued += 1
    g.queued_vruntime += th.vruntime


@kjit
def dequeue_thread(w, t, v):
    """Take a thread off the vCPU's run queue."""
    g = guest_vcpu(w, v)
    remove(w, g.run_queue, t)
    g.nr_queued -= 1
    g.queued_vruntime -= guest_thread(w, t).vruntime


@kjit
def is_delayed(w, t):
    """Whether a sleeper is still ahead of its vCPU's V, so that it would not have left the run queue yet."""
    th = guest_thread(w, t)
    return th.vlag < 0 and nr_runnable(w, th.vcpu) > 0 and th.vruntime > avg_vruntime(w, th.vcpu)


@kjit
def place_sleeper(w, v, t):
    """fair.c: enqueue_entity(), requeue_delayed_entity(), DELAY_ZERO. A thread that wakes up joins the vCPU's queue."""
    th = guest_thread(w, t)
    if th.vcpu != v or not is_delayed(w, t):
        th.vlag = max(th.vlag, 0)
        place_entity(w, v, t)
    enqueue_thread(w, t, v)


@kjit
def migrate_thread(w, t, source, v):
    """fair.c: detach_task(), attach_task(). Move a waiting thread with its lag and what is left of its request."""
    th = guest_thread(w, t)
    update_entity_lag(w, source, t)
    left = th.deadline - th.vruntime
    dequeue_thread(w, t, source)
    place_entity(w, v, t)
    th.deadline = th.vruntime + left
    enqueue_thread(w, t, v)


@kjit
def pick_eevdf(w, v):
    """fair.c: __pick_eevdf(). The thread to run next, maybe the current one, which is charged up to now; or NIL."""
    g = guest_vcpu(w, v)
    best, total, runnable = g.current, sum_vruntime(w, v), nr_runnable(w, v)
    if g.nr_queued == 0:
        return best
    if best != NIL:
        th = guest_thread(w, best)
        if th.vruntime * runnable > total:
            best = NIL
        elif th.vruntime < th.vlag:
            return best
    first, t = NIL, g.run_queue.head
    while t != NIL:
        th = guest_thread(w, t)
        if th.vruntime * runnable <= total and (first == NIL or th.deadline < guest_thread(w, first).deadline):
            first = t
        t = th.next
    if first == NIL or (best != NIL and guest_thread(w, best).deadline < guest_thread(w, first).deadline):
        return best
    return first


@kjit
def set_next_thread(w, v, t):
    """fair.c: set_next_entity(), set_protect_slice(). A waiting thread gets the vCPU, protected for its request."""
    g, th = guest_vcpu(w, v), guest_thread(w, t)
    dequeue_thread(w, t, v)
    th.state = RUNNING
    th.vlag = th.deadline
    g.current = t
    g.charged_ns = g.user_ns + g.kernel_ns


@kjit
def put_prev_thread(w, v):
    """fair.c: put_prev_entity(). The current thread, charged up to now, goes back to the queue."""
    g = guest_vcpu(w, v)
    t = g.current
    g.current = NIL
    enqueue_thread(w, t, v)


@kjit
def put_prev_sleeper(w, v, now_ns):
    """fair.c: dequeue_entity(). The current thread leaves to sleep, and keeps its lag."""
    update_curr(w, v, now_ns)
    update_entity_lag(w, v, guest_vcpu(w, v).current)
    guest_vcpu(w, v).current = NIL


@kjit
def entity_tick(w, v, now_ns):
    """fair.c: entity_tick(). Whether another thread of the vCPU should be picked."""
    g = guest_vcpu(w, v)
    served = update_curr(w, v, now_ns)
    th = guest_thread(w, g.current)
    return g.nr_queued > 0 and (served or th.vruntime >= th.vlag)
