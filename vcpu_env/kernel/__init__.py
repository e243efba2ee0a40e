"""The host kernel: structs, EEVDF, task groups and the scheduler core of Linux v6.19.0, and the series' own functions.

Read in this order: `features` and `types` (what there is), `weights` (fixed point), `rbtree`, `entity` (one entity on
one queue), `group` (weights of group entities), `queue` (enqueue, dequeue, pick on one queue), `fair` (tasks through
all levels), `core` (schedule, wake, tick, yield_to).

What a yield does for its target: `yield_types` (the series' constants, the record of a decision), `yield_deboost` (its
penalty), `yield_boost` (other boosts), `yield_forfeit` (what the yielder gives up).

What many CPUs add: `pelt` and `load_avg` (load averages), `shares` (a group's weight on each CPU), `select_cpu` and
`select_idlest` (where tasks wake and start), `ttwu` (wake-ups that the other CPU completes), `runqueue` (joining and
changing CPUs), `topology` and `domain_types` (scheduling domains), `group_stats` and `find_busiest` (whom to pull
from), `balance` (pulling), `balance_trigger` and `nohz` (when that happens).

What limits a group: `bandwidth` (quotas), `throttle` (tasks that leave), `cgroup` (timers, and writes to its files).
What changes a task: `sched_change`, `affinity`, `exit`. Layers above call through `entry_points`.

Names are those of kernel/sched, so that ``fair.c`` can lie beside them.
"""
