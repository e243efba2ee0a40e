"""The host kernel: structs, EEVDF, task groups and the scheduler core of Linux v6.19.0.

Read in this order: `types` (the structs), `weights` (fixed point), `rbtree`, `entity` (one entity on one queue),
`group` (weights of group entities), `queue` (enqueue, dequeue, pick on one queue), `fair` (tasks through all levels),
`core` (schedule, wake, tick, yield_to). Names are those of kernel/sched, so `fair.c` can lie beside them.
"""
