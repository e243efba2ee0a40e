"""What a policy is, as text: two policies with one fingerprint do the same under one version of the simulator."""

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType
from typing import Any

import numpy as np

TEXT = "__text__"
"""Under this name a module that was made from a user's file keeps the file's text."""


def fingerprint(value: Any) -> str:
    """Text that changes with the content of a policy: its fields, arrays in full, functions by what they do."""
    if is_dataclass(value) and not isinstance(value, type):
        return fingerprint({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{fingerprint(key)}:{fingerprint(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(fingerprint, value)) + "]"
    if isinstance(value, set | frozenset):
        return "(" + ",".join(sorted(map(fingerprint, value))) + ")"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{digest(np.ascontiguousarray(value).tobytes())}"
    value = getattr(value, "py_func", value)  # compiled: its repr holds an address
    if isinstance(value, FunctionType):
        captured = [cell.cell_contents for cell in value.__closure__ or ()]
        return f"{value.__qualname__}{source_digest(value)}{fingerprint([*captured, value.__defaults__])}"
    return repr(value)


def digest(content: bytes) -> str:
    """A fingerprint of bytes."""
    return hashlib.sha256(content).hexdigest()


def source_digest(function: FunctionType) -> str:
    """A fingerprint of a user's source: that of the file, or of a script's function with those that it calls.

    The simulator's own functions have none: their names and the version say what they do.
    """
    if function.__module__.split(".")[0] == __name__.split(".")[0]:
        return ""
    if TEXT in function.__globals__:
        return digest(function.__globals__[TEXT].encode())
    return digest("\0".join(sources(function, [])).encode())


def sources(function: FunctionType, seen: list[FunctionType]) -> list[str]:
    """The source of a function and of its module's functions that it names, each once."""
    if function in seen:
        return []
    seen.append(function)
    try:
        found = [inspect.getsource(function)]
    except (OSError, TypeError):  # typed into an interpreter
        found = [repr((function.__code__.co_code, function.__code__.co_consts))]
    for name in function.__code__.co_names:
        called = getattr(function.__globals__.get(name), "py_func", function.__globals__.get(name))
        if isinstance(called, FunctionType) and called.__module__ == function.__module__:
            found += sources(called, seen)
    return found
