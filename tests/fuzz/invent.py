"""Data made after the fields of a pydantic model: mostly what is allowed, at the bounds, and now and then nonsense."""

import types
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

NAMES = ("a", "b", "vm", "dedup", "dbench", "vips", "threads", "g", "launched", "one_per_cpu")
"""Few, so that what refers to another often finds it."""
NONSENSE: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 2**62, 2**63, 2**64, -(2**63), 10**30, 0.5, 1e308, float("nan"), float("inf")]),
    st.sampled_from(["", "a", "x" * 300, "../x", "a\nb", "\x00", "é", "<b>", "=1", "1", "series-v2", "nobody"]),
    st.sampled_from([[], {}, (), [1], ["a"], {"a": 1}, {1: 2}, [[]], b"x", object, 1j, range(3)]),
    st.sampled_from([np.int64(3), np.float32(0.5), np.zeros(2), np.zeros((2, 2), np.int8), np.array("a"), np.bool_(1)]),
)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "topology": st.sampled_from(["4c", "2c2t", "2s4c", "2s2l2c2t"]),
    "rule": st.sampled_from(["stock", "series-v2", "strict-borrow"]),
    "scenarios": st.lists(st.sampled_from(["dedup-2vm", "vips-3vm", "dbench-2vm-8cpu"]), min_size=1, max_size=2),
    "policies": st.lists(st.sampled_from(["ipi", "series-v2", "debooster"]), min_size=1, max_size=2),
    "quantiles": st.sampled_from([[[0, 0.5], [0.5, 1], [1, 3]], [[0, 1], [1, 1]]]),
    "program": st.sampled_from(["user 10us", "user a\nwork", "repeat 3\nuser 1us\nend", "hold a 2us\nuser 5us"]),
    "reward": st.sampled_from([{"useful": 1.0}, {"useful": 0.5, "unfairness": -1.0}]),
    "observe": st.sampled_from([["yielder"], ["yielder", "queue", "host"]]),
    "penalty_levels": st.sampled_from([[1.0], [0.0, 1.0, 4.0]]),
    "decision_filter": st.sampled_from(["same_rq", "rule_acts", "every_nth:3", "sampled:0.5", "period_ns:1000"]),
    "horizon_ns": st.integers(1_000, 2_000_000),
    "set": st.lists(st.sampled_from(["host.hz=250", "vms.*.lock=fifo"]), max_size=1),
}
"""What is allowed in text that a field's type does not tell of."""
ODDS = 30
"""One value in so many is nonsense."""
MOST_ENTRIES = 3
DEEPEST = 5


def numbers(kind: type, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Numbers of a kind within a field's bounds: at the ends, small, anywhere."""
    low = max([m.ge for m in metadata if isinstance(m, Ge)] + [m.gt for m in metadata if isinstance(m, Gt)], default=0)
    high = min([m.le for m in metadata if isinstance(m, Le)] + [m.lt for m in metadata if isinstance(m, Lt)], default=0)
    if high <= low:
        high = max(low, 1) * 1_000_000
    if kind is float:
        return st.one_of(st.sampled_from([float(low), float(high), 0.5, 1.0, 2.0]), st.floats(low, high))
    near = [low, low + 1, low + 2, min(high, low + 8), high, high + 1, low - 1]
    return st.one_of(st.sampled_from(near), st.integers(low, min(high, low + 100)), st.integers(low, high))


def of_annotation(annotation: Any, metadata: list[Any], depth: int) -> st.SearchStrategy[Any]:
    """Values of a type expression."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return st.sampled_from(args)
    if hasattr(annotation, "__metadata__"):
        return of_annotation(args[0], list(annotation.__metadata__), depth)
    if origin in (Union, types.UnionType):
        return st.one_of(*(of_annotation(arg, metadata, depth) for arg in args))
    if origin in (tuple, list):
        several = st.lists(of_annotation(args[0], [], depth + 1), max_size=MOST_ENTRIES)
        return (
            several
            if origin is list or args[-1] is Ellipsis
            else st.tuples(*(of_annotation(arg, [], depth + 1) for arg in args))
        )
    if origin is dict:
        values = of_annotation(args[1], [], depth + 1)
        return st.dictionaries(st.sampled_from(NAMES), values, max_size=MOST_ENTRIES)
    if annotation in (int, float):
        return numbers(annotation, metadata)
    if annotation is bool:
        return st.booleans()
    if annotation is str:
        return st.sampled_from(NAMES)
    if annotation is type(None):
        return st.none()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return data_of(annotation, depth + 1) if depth < DEEPEST else st.just({})
    return NONSENSE


def of_field(name: str, field: FieldInfo, depth: int) -> st.SearchStrategy[Any]:
    """Values of a field."""
    by_type = of_annotation(field.annotation, list(field.metadata), depth)
    good = st.one_of(GOOD[name], by_type) if name in GOOD else by_type
    return st.integers(0, ODDS).flatmap(lambda odd: NONSENSE if odd == ODDS else good)


@st.composite
def data_of(draw: Any, model: type[BaseModel], depth: int = 0, share: float = 0.4) -> dict[str, Any]:
    """Data for a model: all fields that it needs, and some of the others."""
    data = {}
    for name, field in model.model_fields.items():
        if field.is_required() or draw(st.floats(0, 1)) < share:
            data[name] = draw(of_field(name, field, depth))
    if draw(st.integers(0, ODDS)) == ODDS:
        data[draw(st.sampled_from(["colour", "", "a.b", *model.model_fields]))] = draw(NONSENSE)
    return data
