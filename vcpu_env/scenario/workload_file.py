"""Workloads as data: a TOML file, or a table ``[workloads.NAME]`` of a scenario, that describes a guest program.

::

    summary = "a reader feeds four workers"
    unit = "blocks"
    params = { block_ns = 120_000 }
    queues = { blocks = { capacity = 8 } }
    locks = { heap = { kind = "spin" } }

    [[threads]]
    name = "reader"
    program = '''
      user 20us
      put blocks
    '''

    [[threads]]
    name = "worker"
    count = 4
    program = '''
      get blocks
      user block_ns exponential
      hold heap 2us
      work
    '''

A VM names the file: ``workload = "mine.toml"``, relative to the scenario's own file. What is in it becomes part of the
scenario, so that a scenario stays complete without its files.
"""

import tomllib
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from vcpu_env.base.errors import nearest
from vcpu_env.scenario.errors import ScenarioError, error_lines
from vcpu_env.scenario.host import Part
from vcpu_env.scenario.program_locks import check_locks, in_two_orders
from vcpu_env.scenario.program_text import NONE, Names, Node, ProgramError, operations, parse_program
from vcpu_env.scenario.toml_text import read_toml

MAX_THREADS = 1024
UNLIMITED = 1 << 30
HIGHEST_PROBABILITY = 1 - 1 / 2048
"""Where a table of a shape (`guest.shapes`) has its last quantile."""

Word = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=32)]


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f": value {value!r} (allowed: text)")
    return value


def _is_pair(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and all(isinstance(x, int | float) for x in value)
    return numbers and len(value) == 2


def _quantiles(value: Any) -> Any:
    """Pairs of a probability and a value, from 0 to 1, both rising."""
    if isinstance(value, list | tuple) and len(value) >= 2 and all(map(_is_pair, value)):
        pairs = tuple((float(p), float(x)) for p, x in value)
        ends = pairs[0][0] == 0 and pairs[-1][0] == 1 and pairs[0][1] >= 0 and 0 < pairs[-1][1] < 1e12
        rising = all(p < q and x <= y for (p, x), (q, y) in pairwise(pairs))
        if ends and rising and (pairs[-2][1] > 0 or pairs[-2][0] < HIGHEST_PROBABILITY):
            return pairs
    raise ValueError(": no such list (allowed: pairs [probability, value], both rising, from probability 0 to 1)")


Text = Annotated[str, BeforeValidator(_text)]


class Distribution(Part):
    """A shape of durations; where it is used, a mean is given."""

    quantiles: Annotated[tuple[tuple[float, float], ...], BeforeValidator(_quantiles)] = Field(
        description="pairs [probability, value], both rising, linear in between; values in any unit"
    )


class Lock(Part):
    """Locks of one kind."""

    kind: Literal["spin", "futex", "rwsem"] = Field(
        description="spin lock of the kernel, of the kind that the VM has; mutex of user space; rwsem of the kernel"
    )
    count: int = Field(default=1, ge=1, le=100_000, description="how many of them")


class Queue(Part):
    """Queues with room for a number of items."""

    capacity: int = Field(default=UNLIMITED, ge=1, le=UNLIMITED, description="room; the default is without limit")
    count: int = Field(default=1, ge=1, le=100_000, description="how many of them")


class Barrier(Part):
    """A point where threads wait for each other."""

    parties: int = Field(ge=1, le=MAX_THREADS, description="threads that meet")


class Threads(Part):
    """Threads with one program, which each of them runs for ever."""

    name: Word = Field(description="name in messages")
    count: int = Field(default=1, ge=1, le=MAX_THREADS, description="how many threads")
    program: Text = Field(description="operations, one a line")


class WorkloadFile(Part):
    """A guest program: threads and what they share."""

    summary: Text = Field(default="", description="what it stands for")
    unit: Text = Field(default="units", description="what a unit of work is")
    params: dict[Word, float] = Field(
        default_factory=dict, description="numbers that programs name; a VM's params replace them"
    )
    locks: dict[Word, Lock] = Field(default_factory=dict, description="locks by name")
    queues: dict[Word, Queue] = Field(default_factory=dict, description="queues by name")
    barriers: dict[Word, Barrier] = Field(default_factory=dict, description="barriers by name")
    distributions: dict[Word, Distribution] = Field(default_factory=dict, description="shapes of durations by name")
    threads: Annotated[tuple[Threads, ...], Field(strict=False)] = Field(description="the threads, at least one")

    @model_validator(mode="after")
    def check(self) -> "WorkloadFile":
        """Refuse programs that could not run."""
        if not self.threads:
            raise ValueError(".threads: none given (allowed: at least one)")
        self.programs({})
        return self

    def programs(self, params: dict[str, float]) -> list[tuple[int, list[Node]]]:
        """Number of threads and tree of each program, with a VM's parameters in place.

        Raises:
            ValueError: a parameter that there is not, or a value with which a program could not run.
        """
        for name in params:
            if name not in self.params:
                raise ValueError(f".params.{name}: unknown parameter ({nearest(name, self.params or [NONE])})")
        names = Names(
            {name: lock.kind for name, lock in self.locks.items()},
            {name: queue.capacity for name, queue in self.queues.items()},
            {name: barrier.parties for name, barrier in self.barriers.items()},
            frozenset(self.distributions),
            self.params | params,
        )
        found, pairs = [], set()
        for i, threads in enumerate(self.threads):
            try:
                found.append((threads.count, parse_program(threads.program, names)))
                pairs |= check_locks(found[-1][1], names.locks)
            except ProgramError as error:
                where = "params: " if params else ""
                raise ValueError(f".{where}threads.{i}.program ({threads.name}): {error}") from None
        if lock := in_two_orders(pairs):
            raise ValueError(
                f".locks.{lock}: taken within a lock that is taken within it (allowed: one order of locks)"
            )
        self._check_meetings(found)
        return found

    def _check_meetings(self, programs: list[tuple[int, list[Node]]]) -> None:
        """Refuse queues and barriers at which a thread would wait for ever."""
        users: Counter[tuple[str, str]] = Counter()
        for count, nodes in programs:
            for key in {(op[0], op[1]) for op in operations(nodes) if op[0] in ("put", "get", "barrier")}:
                users[key] += count
        for name, barrier in self.barriers.items():
            if 0 < users["barrier", name] < barrier.parties:
                allowed = f"up to {users['barrier', name]}, the threads there"
                raise ValueError(f".barriers.{name}.parties: value {barrier.parties} (allowed: {allowed})")
        for name, queue in self.queues.items():
            if users["get", name] and not users["put", name]:
                raise ValueError(f".queues.{name}: nobody puts (allowed: queues with threads on both sides)")
            if users["put", name] and not users["get", name] and queue.capacity < UNLIMITED:
                raise ValueError(f".queues.{name}: nobody gets (allowed: queues with threads on both sides)")


def load_workload(path: Path) -> WorkloadFile:
    """Load a workload from a TOML file.

    Raises:
        ScenarioError: it cannot be read, or is wrong.
    """
    try:
        return parse_workload(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise ScenarioError(f"workload: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"workload: value '{path}' (allowed: a TOML file in UTF-8)") from None


def parse_workload(toml: str, name: str) -> WorkloadFile:
    """Make a workload from the text of a TOML file; `name` is what messages call it.

    Raises:
        ScenarioError: it is wrong.
    """
    try:
        return WorkloadFile(**read_toml(toml))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"workload: value '{name}' (allowed: a TOML file; {error})") from None
    except ValidationError as error:
        lines = error_lines(WorkloadFile, error)
        raise ScenarioError([f"{name}: {line.removeprefix('.')}" for line in lines]) from None


def with_workload_files(data: dict[str, Any], directory: Path) -> dict[str, Any]:
    """A scenario's fields in which every VM that names a file names a workload of the scenario instead.

    Raises:
        ScenarioError: a file is wrong, or two of them have one name.
    """
    vms = data.get("vms")
    if not isinstance(vms, list | tuple):
        return data
    if not isinstance(known := data.get("workloads") or {}, dict):
        return data
    vms, known = list(vms), dict(known)
    for i, vm in enumerate(vms):
        name = vm.get("workload") if isinstance(vm, dict) else None
        if not isinstance(name, str) or not name.endswith(".toml"):
            continue
        path = directory / name
        workload = load_workload(path).model_dump(exclude_unset=True)
        if known.setdefault(path.stem, workload) != workload:
            raise ScenarioError(f"vms.{i}.workload: '{path.stem}' is another workload already (allowed: one of a name)")
        vms[i] = vm | {"workload": path.stem}
    return data | {"vms": vms} | ({"workloads": known} if known else {})
