"""Where two traces part: settled records compared in order, and every directed yield's decision."""

from collections.abc import Iterable, Iterator

ENTITY = ["on_rq", "delayed", "vruntime", "deadline", "eligible", "weight", "slice", "exec", "vlag", "vprot"]
QUEUE = ["avg_vruntime", "nr_queued", "h_nr_queued", "h_nr_runnable", "curr", "next", "load"]
DECISION = ["skip", "applied", "lca_y", "lca_t", "n", "gran", "need", "penalty", "y_v1", "y_d1", "forfeit"]


def facts(records: Iterable[dict]) -> Iterator[tuple[tuple, dict]]:
    """One (key, values) for every settled record and for every yield that was decided."""
    entities: dict[str, dict] = {}
    queues: dict[str, dict] = {}
    for record in records:
        entities.update(record["e"])
        queues.update(record["q"])
        key = (record["t"], record["ev"], record.get("task"))
        if "deboost" in record:
            yield (*key, "decision"), {field: record["deboost"].get(field) for field in DECISION}
        if record["settled"]:
            values = {"curr": record["curr"], "ret": record.get("ret"), "db": record.get("db")}
            for state, fields in ((entities, ENTITY), (queues, QUEUE)):
                values |= {(name, f): values_[f] for name, values_ in state.items() for f in fields if f in values_}
            yield key, values


def first_difference(want: Iterable[dict], got: Iterable[dict]) -> str | None:
    """The first fact in which two traces differ, in words; None if they are equal."""
    wants, gots = list(facts(want)), list(facts(got))
    for (key, values), (other_key, other) in zip(wants, gots, strict=True):
        if key != other_key:
            return f"order: {key} against {other_key}"
        if values != other:
            fields = [field for field in values.keys() | other.keys() if values.get(field) != other.get(field)]
            return f"{key}: " + ", ".join(
                f"{f} {values.get(f)} against {other.get(f)}" for f in sorted(fields, key=str)
            )
    return None if len(wants) == len(gots) else f"{len(wants)} facts against {len(gots)}"
