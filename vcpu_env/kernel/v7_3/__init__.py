"""The fair class of Linux v7.3: one tree of tasks for each CPU; groups only say how much a task weighs in it.

Read in this order: `group` (the weight of a group on a CPU, and of a task among all tasks), `entity` (EEVDF among
these), `level` (what each level of the hierarchy keeps count of), `fair` (tasks join, leave, are picked), `preempt`
(wake-ups), `hrtick` (the timer that ends a slice), `bandwidth` (quotas), `tg_load_avg` (a group's load).

Names are those of kernel/sched/fair.c of v7.3-rc7. Two fields differ: ``cfs_rq.curr`` is 7.3's ``h_curr`` on every
level, and ``curr_task`` of the root queue is its ``curr``.
"""
