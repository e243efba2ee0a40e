"""The fair class of Linux v6.19: a tree of entities for each group and CPU, and what the series does to it.

Read in this order: `entity` (one entity on one queue), `queue` (enqueue, dequeue, pick on one queue), `fair` (tasks
through all levels); `shares` (a group's weight on each CPU); `yield_deboost` (the series' penalty), `yield_boost`
(other boosts), `yield_forfeit` (what the yielder gives up).
"""
