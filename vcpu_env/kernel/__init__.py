"""The host kernel: structs, EEVDF, task groups and the scheduler core of Linux v6.19.0.

Read in this order: `types` (the structs), `weights` (fixed point), `rbtree`, `entity` (one entity on one queue),
`group` (weights of group entities), `queue` (enqueue, dequeue, pick on one queue), `fair` (tasks through all levels),
`core` (schedule, wake, tick, yield_to). What many CPUs add: `pelt` (load averages), `shares` (a group's weight on each
CPU), `select_cpu` (where tasks wake and start), `runqueue` (joining and changing CPUs), `balance` (pulling tasks) and
`balance_trigger` (when that happens). Names are those of kernel/sched, so `fair.c` can lie beside them.
"""
