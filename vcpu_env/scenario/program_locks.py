"""Which locks a program holds where: what would deadlock, or could not be held, is refused before it runs."""

from collections.abc import Iterable, Mapping

from vcpu_env.scenario.program_text import Node, ProgramError

MAX_LOCKS_HELD = 4

Pairs = set[tuple[str, str]]
"""Names of locks of which the second is taken while the first is held."""


def check_locks(nodes: list[Node], kinds: Mapping[str, str]) -> Pairs:
    """Refuse a program that holds too many locks, keeps one, takes one twice, or sleeps under a spin lock.

    Args:
        kinds: of all locks, by name.

    Returns:
        Which locks it takes while it holds which.
    """
    pairs: Pairs = set()
    if held := held_after(nodes, (), kinds, pairs):
        raise ProgramError(f"lock '{held[-1]}' is not released")
    return pairs


def held_after(nodes: list[Node], held: tuple[str, ...], kinds: Mapping[str, str], pairs: Pairs) -> tuple[str, ...]:
    """The locks held after nodes that begin with `held`; adds to `pairs`."""
    for name, *rest in nodes:
        if name in ("lock", "hold"):
            _check_taking(name, rest[0], held, kinds)
            pairs |= {(outer, rest[0]) for outer in held}
        elif name in ("sleep", "put", "get", "barrier"):
            _check_sleeping(name, held, kinds)
        if name == "lock":
            if rest[2] and kinds[rest[0]] != "rwsem":
                raise ProgramError(f"lock '{rest[0]}' shared (allowed: locks of kind rwsem)")
            held = (*held, rest[0])
        elif name == "unlock":
            if not held:
                raise ProgramError("unlock without lock")
            held = held[:-1]
        elif name == "maybe":
            this, that = (held_after(way, held, kinds, pairs) for way in rest[1:])
            if this != that:
                raise ProgramError("both ways through a maybe must hold the same locks at its end")
            held = this
        elif name == "repeat" and held_after(rest[1], held, kinds, pairs) != held:
            raise ProgramError("a repeat must hold the same locks at its end as at its begin")
    return held


def _check_taking(name: str, lock: str, held: tuple[str, ...], kinds: Mapping[str, str]) -> None:
    if lock in held:
        raise ProgramError(f"{name}: lock '{lock}' is held already (allowed: one of a name at a time)")
    if len(held) == MAX_LOCKS_HELD:
        raise ProgramError(f"{name} under {MAX_LOCKS_HELD} locks (allowed: {MAX_LOCKS_HELD} in all)")
    if kinds[lock] != "spin":
        _check_sleeping(name, held, kinds)


def _check_sleeping(name: str, held: tuple[str, ...], kinds: Mapping[str, str]) -> None:
    for lock in held:
        if kinds[lock] == "spin":
            raise ProgramError(f"{name} under spin lock '{lock}' (allowed: what does not sleep)")


def in_two_orders(pairs: Iterable[tuple[str, str]]) -> str:
    """A lock that is taken, through whatever others, while it is held elsewhere; empty if there is none."""
    within: dict[str, set[str]] = {}
    for outer, inner in sorted(pairs):
        within.setdefault(outer, set()).add(inner)
    for lock in within:
        reached, new = set[str](), within[lock]
        while new:
            reached |= new
            new = set().union(*(within.get(name, set()) for name in new)) - reached
        if lock in reached:
            return lock
    return ""
