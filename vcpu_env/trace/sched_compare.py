"""Comparison of two scheduler traces: the first mismatch of every field that an exact implementation must match."""

from collections.abc import Iterable, Iterator
from typing import Any

from vcpu_env.trace.replay_kvm import Mismatch

ENTITY_FIELDS = ("on_rq", "delayed", "vruntime", "deadline", "eligible", "weight", "slice", "exec", "vlag", "vprot")
QUEUE_FIELDS = ("avg_vruntime", "nr_queued", "h_nr_queued", "h_nr_runnable", "curr", "next", "load")
DEBOOST_FIELDS = (
    *("skip", "applied", "lca_y", "lca_t", "n", "gran", "need"),
    *("penalty", "y_v1", "y_d1", "forfeit"),
)

Record = dict[str, Any]


def settled(records: Iterable[Record]) -> Iterator[tuple[Record, Record, Record]]:
    """Every settled record with the entities and queues that have changed since the last settled one."""
    entities: Record = {}
    queues: Record = {}
    for record in records:
        entities |= record["e"]
        queues |= record["q"]
        if record["settled"]:
            yield record, entities, queues
            entities, queues = {}, {}


def compare(golden: Iterable[Record], own: Iterable[Record]) -> list[Mismatch]:
    """The first mismatch of every field; empty: the traces are equal.

    Settled records are compared in order, and with them the state of all that changed in either trace; then the
    debooster's decisions, in order. The position of ``zero_vruntime`` and the sums relative to it are left out: V does not depend on them.
    """
    golden, own = list(golden), list(own)
    found: dict[str, Mismatch] = {}

    def check(field: str, record: Record, want: Any, got: Any) -> None:
        if want != got:
            found.setdefault(field, Mismatch(field, record["i"], record["t"], want, got))

    states: tuple[Record, Record, Record, Record] = ({}, {}, {}, {})
    pairs = list(zip(settled(golden), settled(own), strict=False))
    for (want, *theirs), (got, *ours) in pairs:
        key, own_key = ((r["t"], r["ev"], r.get("task")) for r in (want, got))
        if key != own_key:
            check("order", want, key, own_key)
            break
        check("curr", want, want["curr"], got["curr"])
        if "db" in want:
            check("db", want, want["db"], got.get("db"))
        for state, change in zip(states, (*theirs, *ours), strict=True):
            state.update(change)
        for kind, fields in enumerate((ENTITY_FIELDS, QUEUE_FIELDS)):
            for name in theirs[kind].keys() | ours[kind].keys():
                values, mine = states[kind].get(name, {}), states[2 + kind].get(name, {})
                for field in fields:
                    if values.get(field) != mine.get(field):
                        check(field, want, (name, values.get(field)), (name, mine.get(field)))
    nr_want, nr_got = (sum(1 for r in records if r["settled"]) for records in (golden, own))
    if nr_want != nr_got:
        found["records"] = Mismatch("records", len(pairs), 0, nr_want, nr_got)
    for want, got in zip(yields(golden), yields(own), strict=False):
        theirs_, ours_ = want.get("deboost"), got.get("deboost")
        check("deboost", want, theirs_ is not None, ours_ is not None)
        for field in DEBOOST_FIELDS if theirs_ and ours_ else ():
            if field in theirs_ or field == "skip":
                check(f"deboost.{field}", want, theirs_.get(field), ours_.get(field))
    return list(found.values())


def yields(records: list[Record]) -> Iterator[Record]:
    """The directed yields that were tried."""
    return (record for record in records if record["ev"] == "yield_to" and not record.get("skip"))
