"""What is said to a user whose scenario is wrong: one short line per field, naming value and what is allowed."""

from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from vcpu_env.base.errors import InputError, nearest, shown

NAME_RULE = "name of letters, digits, '_', '.', '-'"


class ScenarioError(InputError):
    """A scenario that cannot be. The message has a line ``field: value 'x' (allowed: ...)`` for every wrong field."""


def error_lines(model: type[BaseModel], error: ValidationError) -> list[str]:
    """One line for every wrong field of a failed validation of `model`."""
    lines: dict[str, None] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] != "default_factory_not_called":
            lines[_line(model, detail)] = None
    return list(lines)


def _line(model: type[BaseModel], detail: Any) -> str:
    loc = [part for part in detail["loc"] if part not in ("int", "float", "[key]")]
    where = ".".join(map(str, loc))
    if detail["type"] == "value_error":
        return where + str(detail["ctx"]["error"])
    if not loc:
        allowed = "JSON" if detail["type"] == "json_invalid" else "a table"
        return f"value {shown(detail['input'])} (allowed: {allowed}; {detail['msg']})"
    owner, field = _find(model, loc)
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown field ({nearest(str(loc[-1]), owner.model_fields)})"
    inner = isinstance(loc[-1], int) or loc[-1] not in owner.model_fields
    allowed = allowed_text(field, inner) if field else detail["msg"]
    if detail["loc"][-1] == "[key]":
        allowed = NAME_RULE
    if detail["type"] == "missing":
        return f"{where}: missing (allowed: {allowed})"
    return f"{where}: value {shown(detail['input'])} (allowed: {allowed})"


def _find(model: type[BaseModel], loc: list[Any]) -> tuple[type[BaseModel], FieldInfo | None]:
    """The model that owns the last field on a path, and that field."""
    field = None
    for part in loc:
        if isinstance(part, int):
            continue
        if part not in model.model_fields:
            if field is not None and get_origin(field.annotation) is dict:
                continue  # a key
            return model, field
        field = model.model_fields[part]
        model = next((kind for kind in _leaves(field.annotation) if issubclass(kind, BaseModel)), model)
    return model, field


def _leaves(annotation: Any) -> list[type]:
    """The plain classes in a type expression."""
    if get_origin(annotation) is Literal:
        return [type(value) for value in get_args(annotation)]
    args = get_args(annotation)
    if not args:
        return [annotation] if isinstance(annotation, type) else []
    return [leaf for arg in args for leaf in _leaves(arg)]


def allowed_text(field: FieldInfo, inner: bool) -> str:
    """What a field takes, in words; `inner`: what each entry of a table or list field takes."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            return ", ".join(map(str, get_args(kind)))
    limits = {key: getattr(rule, key) for rule in field.metadata for key in ("gt", "ge", "le") if hasattr(rule, key)}
    leaves = [leaf for leaf in _leaves(field.annotation) if leaf is not NoneType]
    if issubclass(leaves[-1], BaseModel):
        return "a table, or a list of tables" if "[" in str(field.annotation) else "a table"
    if get_origin(field.annotation) is dict and get_args(field.annotation)[1] is Any:
        return "value" if inner else "table of names, each with a value"
    named = "pattern=" in repr((field.annotation, field.metadata))
    names = {int: "integer", float: "number", bool: "true or false", str: NAME_RULE if named else "text"}
    text = names[leaves[-1]]
    if get_origin(field.annotation) is dict and not inner:
        return f"table of names, each with a value: {text}"
    if "tuple[" in str(field.annotation) and not inner:
        return f"list of {'integers' if leaves[0] is int else 'numbers' if leaves[0] is float else 'strings'}"
    if "ge" in limits and "le" in limits:
        return f"{text} {limits['ge']}..{limits['le']}"
    if "gt" in limits:
        return f"{text} above {limits['gt']}" + (f", up to {limits['le']}" if "le" in limits else "")
    return f"{text} >= {limits['ge']}" if "ge" in limits else text
