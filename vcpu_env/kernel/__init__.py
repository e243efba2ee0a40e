"""The host kernel: structs, EEVDF, task groups and the scheduler core of Linux, and the series' own functions.

There are two fair classes, `v6_19` (of v6.19.0) and `v7_3`, a folder each, and one interface to them: `fair_class`,
`yield_class` and `tg_load_avg`. All else is v6.19.0's and serves both.

Read in this order: `features` and `types` (what there is), `weights` (fixed point), `rbtree`, one of the classes,
`fair_class`, `sched_class` (real-time tasks first), `core` (schedule, wake, tick, yield_to), `yield_class`.

Real-time tasks: `rt_types`, `rt`, `rt_select`, `rt_balance`, `rt_load`, and `fair_server`, which keeps some time for
the rest.

What a yield does for its target: `yield_types` (the series' constants, the record of a decision), `yield_penalty` (the
series' formula), and in each class `yield_deboost` (who is penalised where), `yield_boost` (other boosts),
`yield_forfeit` (what the yielder gives up).

What many CPUs add: `pelt` and `load_avg` (load averages), `tg_load_avg` (a group's), `select_cpu` and
`select_idlest` (where tasks wake and start), `ttwu` (wake-ups that the other CPU completes), `runqueue` (joining and
changing CPUs), `topology` and `domain_types` (scheduling domains), `group_stats` and `find_busiest` (whom to pull
from), `balance` (pulling), `balance_trigger` and `nohz` (when that happens).

What limits a group: `bandwidth` (quotas), `throttle` (tasks that leave), `group_weight` and `cgroup` (writes to its
files, timers).
What changes a task: `sched_change`, `affinity`, `exit`. Layers above call through `entry_points`.

Names are those of kernel/sched, so that ``fair.c`` can lie beside them.
"""
