"""Comparison of two traces of v7.3's scheduler: the first mismatch of every field that must be equal."""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from vcpu_env.trace.replay_kvm import Mismatch
from vcpu_env.trace.sched_compare import Found, Record, settled

SOFT = frozenset(("zero_vruntime", "sum_wv", "sum_w", "rel_deadline", "custom_slice"))
"""An implementation's own choice of origin, and what shows in other fields."""
AVERAGES = frozenset(("load_avg", "runnable_avg", "contrib", "rcontrib"))
"""Load averages, which show in the weights of groups."""
OF_EVENT = ("curr", "nr_running", "ret", "skip")


def key_of(record: Record) -> tuple[Any, ...]:
    """What a record is about."""
    return record["t"], record["ev"], record.get("task"), record.get("cpu")


def compare_flat(golden: Iterable[Record], own: Iterable[Record]) -> list[Mismatch]:
    """The first mismatch of every field; empty: the traces are equal.

    Settled records are compared in order, and with them the state of all that changed in either trace. After a record
    of something else nothing is compared.
    """
    found = Found()
    states: tuple[Record, ...] = ({}, {}, {}, {})
    for want_, got_ in zip_longest(settled(golden), settled(own)):
        if want_ is None or got_ is None:
            more, less = ("none", "one more") if want_ is None else ("one more", "none")
            found["records"] = Mismatch("records", (want_ or got_)[0]["i"], (want_ or got_)[0]["t"], more, less)
            break
        (want, *theirs), (got, *ours) = want_, got_
        if key_of(want) != key_of(got):
            found.check("order", want, key_of(want), key_of(got))
            break
        for field in OF_EVENT:
            found.check(field, want, want.get(field), got.get(field))
        for state, change in zip(states, (*theirs, *ours), strict=True):
            state.update(change)
        for kind in (0, 1):
            for name in theirs[kind].keys() | ours[kind].keys():
                values, mine = states[kind].get(name, {}), states[2 + kind].get(name, {})
                for field in (values.keys() | mine.keys()) - SOFT - AVERAGES:
                    if values.get(field) != mine.get(field):
                        found.check(field, want, (name, values.get(field)), (name, mine.get(field)))
    return list(found.values())
