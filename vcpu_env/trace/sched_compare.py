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


class Found(dict[str, Mismatch]):
    """The first mismatch of every field."""

    def check(self, field: str, record: Record, want: Any, got: Any) -> None:
        """Note a mismatch unless the values are equal."""
        if want != got:
            self.setdefault(field, Mismatch(field, record["i"], record["t"], want, got))


def compare(golden: Iterable[Record], own: Iterable[Record]) -> list[Mismatch]:
    """The first mismatch of every field; empty: the traces are equal.

    Settled records are compared in order, and with them the state of all that changed in either trace; then the
    debooster's decisions, in order. Where ``zero_vruntime`` is, and the sums relative to it, is left out: V does not
    depend on it.
    """
    golden, own = list(golden), list(own)
    found = Found()
    compare_states(golden, own, found)
    compare_yields(golden, own, found)
    return list(found.values())


def compare_states(golden: list[Record], own: list[Record], found: Found) -> None:
    """Compare the settled records and the scheduler's state at each."""
    states: tuple[Record, ...] = ({}, {}, {}, {})
    wants, gots = list(settled(golden)), list(settled(own))
    for (want, *theirs), (got, *ours) in zip(wants, gots, strict=False):
        key, own_key = ((r["t"], r["ev"], r.get("task")) for r in (want, got))
        if key != own_key:
            found.check("order", want, key, own_key)
            break
        found.check("curr", want, want["curr"], got["curr"])
        if "db" in want:
            found.check("db", want, want["db"], got.get("db"))
        for state, change in zip(states, (*theirs, *ours), strict=True):
            state.update(change)
        for kind, fields in enumerate((ENTITY_FIELDS, QUEUE_FIELDS)):
            for name in theirs[kind].keys() | ours[kind].keys():
                values, mine = states[kind].get(name, {}), states[2 + kind].get(name, {})
                for field in fields:
                    if values.get(field) != mine.get(field):
                        found.check(field, want, (name, values.get(field)), (name, mine.get(field)))
    if len(wants) != len(gots):
        found["records"] = Mismatch("records", min(len(wants), len(gots)), 0, len(wants), len(gots))


def compare_yields(golden: list[Record], own: list[Record], found: Found) -> None:
    """Compare what the debooster decided at every directed yield that was tried."""
    wants, gots = ([r for r in records if r["ev"] == "yield_to" and not r.get("skip")] for records in (golden, own))
    for want, got in zip(wants, gots, strict=False):
        decision, mine = want.get("deboost", {}), got.get("deboost", {})
        found.check("deboost", want, bool(decision), bool(mine))
        for field in DEBOOST_FIELDS:
            if mine and (field in decision or field == "skip"):
                found.check(f"deboost.{field}", want, decision.get(field), mine.get(field))
    if len(wants) != len(gots):
        found["yields"] = Mismatch("yields", min(len(wants), len(gots)), 0, len(wants), len(gots))
