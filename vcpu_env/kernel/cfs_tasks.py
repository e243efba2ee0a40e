"""The list of a CPU's queued tasks (``rq->cfs_tasks``), the one that was queued or began to run last at the head.

Balancing takes from the tail. The running task and those whose dequeue is delayed are on it, too.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import cpu_rq, task_struct


@kjit
def list_add_task(w, p):
    """list_add(&se->group_node, &rq->cfs_tasks). To the head of its CPU's list."""
    task = task_struct(w, p)
    rq = cpu_rq(w, task.cpu)
    task.group_prev, task.group_next = NIL, rq.cfs_tasks_head
    if rq.cfs_tasks_head == NIL:
        rq.cfs_tasks_tail = p
    else:
        task_struct(w, rq.cfs_tasks_head).group_prev = p
    rq.cfs_tasks_head = p


@kjit
def list_del_task(w, p):
    """list_del_init(&se->group_node). Off its CPU's list."""
    task = task_struct(w, p)
    rq = cpu_rq(w, task.cpu)
    if task.group_prev == NIL:
        rq.cfs_tasks_head = task.group_next
    else:
        task_struct(w, task.group_prev).group_next = task.group_next
    if task.group_next == NIL:
        rq.cfs_tasks_tail = task.group_prev
    else:
        task_struct(w, task.group_next).group_prev = task.group_prev
    task.group_prev = task.group_next = NIL


@kjit
def list_move_task(w, p):
    """list_move(&se->group_node, &rq->cfs_tasks). To the head of the list that it is on."""
    if task_struct(w, p).group_prev != NIL:
        list_del_task(w, p)
        list_add_task(w, p)
