"""Masks of CPUs as a task holds them, 64 CPUs a word, written before the machine runs (later: `kernel.affinity`)."""

from collections.abc import Sequence

from vcpu_env.base.world import World


def cpu_words(cpus: Sequence[int]) -> tuple[int, int, int, int]:
    """The mask of some CPUs, 0 .. 255, as int64 bit patterns."""
    masks = [sum(1 << cpu % 64 for cpu in set(cpus) if cpu // 64 == word) for word in range(4)]
    a, b, c, d = (mask - (1 << 64 if mask >> 63 else 0) for mask in masks)
    return a, b, c, d


def allow(world: World, p: int, cpus: Sequence[int]) -> None:
    """sched_setaffinity() of a task before it has run."""
    world["task_struct"]["cpus_allowed"][p] = cpu_words(cpus)
