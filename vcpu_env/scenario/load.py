"""Scenarios from files and names, and the ``KEY=VALUE`` changes of a command line."""

import os
import re
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from vcpu_env.base.errors import nearest, shown
from vcpu_env.scenario.errors import ScenarioError
from vcpu_env.scenario.model import THREADS, Scenario
from vcpu_env.scenario.rtapp import rtapp_fields, rtapp_threads
from vcpu_env.scenario.toml_text import read_toml
from vcpu_env.scenario.workload_file import with_workload_files

HERE = Path()
SHIPPED = resources.files("vcpu_env.scenario") / "shipped"


def list_scenarios() -> list[str]:
    """Names of the scenarios that come with the package."""
    return sorted(entry.name[:-5] for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Load a shipped scenario by name, or any scenario from a TOML file.

    Raises:
        ScenarioError: if there is no such scenario, or it is wrong.
    """
    text = str(name_or_path)
    if text in list_scenarios():
        return parse_scenario((SHIPPED / f"{text}.toml").read_text("utf-8"), text)
    path = Path(text)
    if isinstance(name_or_path, str) and path.suffix != ".toml" and not os.path.exists(path):
        raise ScenarioError(
            f"scenario: value {shown(text)} (a .toml file or a shipped name; {nearest(text, list_scenarios())})"
        )
    try:
        return parse_scenario(path.read_text("utf-8"), path.stem, path.parent)
    except OSError as error:
        raise ScenarioError(
            f"scenario: value {shown(text)} (allowed: a file that can be read; {error.strerror})"
        ) from None
    except UnicodeDecodeError:
        raise ScenarioError(f"scenario: value '{text}' (allowed: a TOML file in UTF-8)") from None


def parse_scenario(toml: str, default_name: str, folder: Path = HERE) -> Scenario:
    """Make a scenario from the text of a TOML file; `default_name` names it if the text does not.

    A VM's workload may be a file in `folder`: a described workload, ``NAME.toml``, or an rt-app file, ``NAME.json``.
    """
    try:
        data = read_toml(toml)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"scenario: value '{default_name}' (allowed: a TOML file; {error})") from None
    vms = data.get("vms")
    for vm in vms if isinstance(vms, list) else ():
        if isinstance(vm, dict) and str(vm.get("workload")).endswith(".json"):
            vm |= {"threads": rtapp_threads(folder / vm["workload"]), "workload": THREADS}
    return Scenario(**with_workload_files({"name": default_name} | data, folder))


def load_rtapp(path: Path) -> Scenario:
    """Make a scenario from an rt-app file: its threads on a host without VMs.

    Raises:
        ScenarioError: if the file has what is not supported (docs/rt-app.md).
    """
    return Scenario(name=path.stem, **rtapp_fields(path))


def apply_overrides(scenario: Scenario, overrides: Iterable[str]) -> Scenario:
    """Change fields of a scenario: ``["host.hz=250", "vms.0.lock=fifo", "vms.*.lock=fifo"]``.

    Values are written as in TOML; a bare word is a string. Defaults that depend on a changed field follow it.

    Raises:
        ScenarioError: if a key does not exist or a value is not allowed.

    Example:
        >>> from vcpu_env import apply_overrides, load_scenario
        >>> scenario = apply_overrides(load_scenario("dedup-2vm"), ["host.hz=250", "vms.*.lock=fifo"])
        >>> scenario.host.hz, {vm.lock for vm in scenario.vms}
        (250, {'fifo'})
    """
    data = scenario.model_dump(exclude_unset=True)
    known = scenario.model_dump()
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ScenarioError(f"set: value '{override}' (allowed: KEY=VALUE, as host.hz=250)")
        _assign(data, known, key.strip().split("."), [], parse_value(key.strip(), value.strip()))
    return Scenario(**with_workload_files(data, Path()))


def parse_value(key: str, text: str) -> Any:
    """The value that `text` is in TOML, or the bare word itself."""
    try:
        parsed = read_toml(f"value = {text}")
        if parsed.keys() == {"value"}:
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
            return text
    raise ScenarioError(f"{key}: value '{text}' (allowed: a TOML value, as 5, 0.5, true, fifo, \"a b\", [0, 1])")


def _assign(data: Any, known: Any, path: list[str], done: list[str], value: Any) -> None:
    """Set `path` in `data` (only what was given) after the example of `known` (everything there is)."""
    part, rest = path[0], path[1:]
    where = ".".join([*done, part])
    many = isinstance(known, list | tuple)
    same_kind = isinstance(data, list | tuple) if many else isinstance(data, dict)
    if not same_kind or (many and len(data) != len(known)):
        raise ScenarioError(f"{where}: set twice (allowed: a whole table, or fields in it)")
    if many:
        wanted = range(len(known)) if part == "*" else [int(part)] if part.isascii() and part.isdigit() else []
        if not wanted or wanted[-1] >= len(known) or not rest:
            allowed = f"*.FIELD or 0..{len(known) - 1}.FIELD" if known else "nothing, since none is defined"
            raise ScenarioError(f"{where}: unknown field (allowed: {allowed})")
        for i in wanted:
            _assign(data[i], known[i], rest, [*done, str(i)], value)
        return
    if part not in known and done[-1:] not in (["params"], ["features"]):
        raise ScenarioError(f"{where}: unknown field ({nearest(part, known)})")
    if not rest:
        data[part] = value
    elif isinstance(known.get(part), dict) or part in ("vms", "groups", "changes", "host_tasks"):
        inner = data.setdefault(part, {} if isinstance(known[part], dict) else ())
        if isinstance(inner, tuple):
            inner = data[part] = list(inner)
        _assign(inner, known[part], rest, [*done, part], value)
    else:
        raise ScenarioError(f"{where}.{rest[0]}: unknown field ({where} is a single value)")
