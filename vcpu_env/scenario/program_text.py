"""The language of guest programs in workload files: an operation a line, blocks that end with ``end``.

::

    get requests
    user 120us lognormal_0.73      # time of the CPU in user mode: mean and distribution
    maybe 0.1                      # with this probability ...
      hold heap 2us
    else                           # ... or else
      sleep 1ms exponential
    end
    repeat 3
      kernel think_ns              # a name of [params] stands for its number
    end
    work

`parse_program` makes a tree of tuples of it, with all numbers in place, and refuses what a guest could not run.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vcpu_env.base.errors import nearest
from vcpu_env.scenario.bounds import MOST_FREE_STEPS
from vcpu_env.scenario.free_steps import FREE, TAKES_TIME, Stretch, after, either, repeated, stretch_of, too_many

UNITS_NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
MAX_NS = 10_000_000_000
"""Longest mean of a duration."""
MAX_ITEMS = 1_000_000

TIMED = ("user", "kernel", "sleep")
PLAIN_DISTRIBUTIONS = ("fixed", "exponential", "uniform")
SHAPED_DISTRIBUTIONS = {"lognormal": (0.01, 3.0), "gamma": (0.05, 100.0)}
"""Families with a number after ``_``, from lowest to highest: sigma of the logarithm, and shape."""
DEFAULT_DISTRIBUTION = "lognormal_0.6"

OPERATIONS = {
    "user": ("DURATION [DISTRIBUTION]", "compute in user mode"),
    "kernel": ("DURATION [DISTRIBUTION]", "compute in the guest kernel"),
    "sleep": ("DURATION [DISTRIBUTION]", "sleep until a device is done, which ends with an interrupt"),
    "lock": ("LOCK [own or random] [shared]", "take a lock: spin or sleep, as its kind does; `shared`: rwsem, to read"),
    "unlock": ("", "release the lock taken last"),
    "hold": ("LOCK [own or random] DURATION", "take a lock, compute in the kernel (lognormal_0.8), release it"),
    "put": ("QUEUE [own or random] [ITEMS]", "put items in; sleeps while there is no room; wakes who waits for them"),
    "get": ("QUEUE [own or random] [ITEMS]", "take items out; sleeps until there are enough; wakes who waits for room"),
    "barrier": ("BARRIER", "sleep until all parties have come"),
    "shootdown": (
        "[TARGETS]",
        "TLB shootdown: call siblings that run a thread and spin until all answer; 0, all of them",
    ),
    "reschedule": ("", "a RESCHEDULE IPI to a random sibling, where it wakes a kernel thread"),
    "work": ("[UNITS]", "count finished work"),
    "maybe": (
        "PROBABILITY",
        "what follows, up to `else` or `end`, runs with this probability; after `else`, otherwise",
    ),
    "else": ("", ""),
    "repeat": ("TIMES", "what follows, up to `end`, runs so many times; not within another repeat"),
    "end": ("", ""),
}
"""Operations: what is written after each, and what it does."""

NONE = "nothing, since none is defined"

Node = tuple[Any, ...]
"""Name of an operation and its arguments; ("maybe", p, nodes, nodes) and ("repeat", times, nodes) hold others."""


class ProgramError(ValueError):
    """A program that cannot be; the message begins with its line."""


@dataclass(frozen=True)
class Names:
    """What a program may name.

    Attributes:
        locks: kind of each kind of lock.
    """

    locks: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    barriers: Mapping[str, int] = field(default_factory=dict)
    distributions: frozenset[str] = frozenset()
    params: Mapping[str, float] = field(default_factory=dict)


def parse_program(text: str, names: Names) -> list[Node]:
    """The tree of a program.

    Raises:
        ProgramError: the first thing in it that is wrong.
    """
    lines = [(i, words) for i, line in enumerate(text.splitlines(), 1) if (words := line.partition("#")[0].split())]
    nodes, rest = _block(lines, names, 0)
    if rest < len(lines):
        number, words = lines[rest]
        raise ProgramError(f"line {number}: '{words[0]}' without maybe or repeat")
    if not takes_time(nodes):
        raise ProgramError("there is a way through it that takes no time (allowed: user, kernel, sleep on every way)")
    return nodes


def _block(lines: list[tuple[int, list[str]]], names: Names, at: int, repeated: bool = False) -> tuple[list[Node], int]:
    """Nodes from line `at` on, up to the ``else`` or ``end`` that is not theirs."""
    nodes: list[Node] = []
    while at < len(lines):
        number, (name, *words) = lines[at]
        if name in ("else", "end"):
            break
        if name not in OPERATIONS:
            raise ProgramError(f"line {number}: operation '{name}' ({nearest(name, OPERATIONS)})")
        reader = Words(number, name, words, names)
        at += 1
        if name == "maybe":
            probability = reader.number("probability", 0.0, 1.0)
            reader.finish()
            this, at = _block(lines, names, at, repeated)
            that: list[Node] = []
            if at < len(lines) and lines[at][1] == ["else"]:
                that, at = _block(lines, names, at + 1, repeated)
            nodes.append(("maybe", probability, this, that))
            at = _end(lines, at, number, name)
        elif name == "repeat":
            if repeated:
                raise ProgramError(f"line {number}: repeat within repeat (allowed: one level)")
            times = reader.count("times", 1)
            reader.finish()
            inner, at = _block(lines, names, at, True)
            nodes.append(("repeat", times, inner))
            if (most := stretch_of_node(nodes[-1]).most) > MOST_FREE_STEPS:
                raise ProgramError(f"line {number}: repeat: times {times} ({too_many(most)})")
            at = _end(lines, at, number, name)
        else:
            nodes.append((name, *reader.arguments()))
            reader.finish()
    return nodes, at


def _end(lines: list[tuple[int, list[str]]], at: int, number: int, name: str) -> int:
    if at == len(lines) or lines[at][1] != ["end"]:
        raise ProgramError(f"line {number}: '{name}' without end")
    return at + 1


class Words:
    """The words after an operation's name, taken one by one."""

    def __init__(self, line: int, name: str, words: list[str], names: Names):
        self.line, self.name, self.words, self.names = line, name, words, names

    def fail(self, text: str) -> ProgramError:
        """The error that says what is wrong with this line."""
        return ProgramError(f"line {self.line}: {self.name}: {text}")

    def arguments(self) -> tuple[Any, ...]:
        """The arguments of an operation that holds no others."""
        if self.name in TIMED:
            return self.duration(), self.distribution()
        if self.name == "lock":
            return self.named("lock", self.names.locks), self.pick(), self.flag("shared")
        if self.name == "hold":
            return self.named("lock", self.names.locks), self.pick(), self.duration()
        if self.name in ("put", "get"):
            queue = self.named("queue", self.names.queues)
            pick = self.pick()
            return queue, pick, self.count("items", 1, self.names.queues[queue]) if self.words else 1
        if self.name == "barrier":
            return (self.named("barrier", self.names.barriers),)
        if self.name == "shootdown":
            return (self.count("targets", 0, 63) if self.words else 0,)
        if self.name == "work":
            return (self.count("units", 1) if self.words else 1,)
        return ()

    def _take(self, what: str) -> str:
        if not self.words:
            raise self.fail(f"{what} missing (write: {self.name} {OPERATIONS[self.name][0]})")
        return self.words.pop(0)

    def finish(self) -> None:
        """Refuse words that are left."""
        if self.words:
            form = f"{self.name} {OPERATIONS[self.name][0]}".strip()
            raise self.fail(f"'{' '.join(self.words)}' is too much (write: {form})")

    def number(self, what: str, low: float, high: float) -> float:
        """A number, or the name of a parameter."""
        word = self._take(what)
        value = self.names.params.get(word)
        if value is None:
            try:
                value = float(word)
            except ValueError:
                raise self.fail(f"{what} '{word}' (allowed: a number, or of [params]: {self._params()})") from None
        if not low <= value <= high:
            raise self.fail(f"{what} {word}{self._value(word, value)} (allowed: {low:g}..{high:g})")
        return value

    def count(self, what: str, low: int, high: int = MAX_ITEMS) -> int:
        """A whole number, or the name of a parameter."""
        word = self.words[0] if self.words else ""
        value = self.number(what, low, high)
        if value != int(value):
            raise self.fail(f"{what} {word}{self._value(word, value)} (allowed: whole number {low}..{high})")
        return int(value)

    def duration(self) -> float:
        """A duration in nanoseconds: 300ns, 1.5us, 2ms, 1s, or the name of a parameter in ns."""
        word = self._take("duration")
        if word in self.names.params:
            value = self.names.params[word]
        elif match := re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)(ns|us|ms|s)", word):
            value = float(match[1]) * UNITS_NS[match[2]]
        else:
            raise self.fail(f"duration '{word}' (allowed: as 300ns, 1.5us, 2ms, or of [params]: {self._params()})")
        if not 1 <= value <= MAX_NS:
            raise self.fail(f"duration {word}{self._value(word, value)} (allowed: 1ns..10s)")
        return value

    def distribution(self) -> str:
        """The name of a distribution; none: the usual one."""
        if not self.words:
            return DEFAULT_DISTRIBUTION
        name = self.words.pop(0)
        if name in PLAIN_DISTRIBUTIONS or name in self.names.distributions:
            return name
        family, _, shape = name.partition("_")
        if family in SHAPED_DISTRIBUTIONS and re.fullmatch(r"\d+(\.\d+)?", shape):
            low, high = SHAPED_DISTRIBUTIONS[family]
            if not low <= float(shape) <= high:
                raise self.fail(f"distribution {name} (allowed: {family}_{low:g}..{family}_{high:g})")
            return name
        known = [*PLAIN_DISTRIBUTIONS, *(f"{family}_NUMBER" for family in SHAPED_DISTRIBUTIONS)]
        raise self.fail(f"distribution '{name}' ({nearest(name, [*known, *sorted(self.names.distributions)])})")

    def named(self, what: str, known: Mapping[str, Any]) -> str:
        """The name of a lock, queue or barrier."""
        name = self._take(what)
        if name not in known:
            raise self.fail(f"{what} '{name}' ({nearest(name, known or [NONE])})")
        return name

    def pick(self) -> str:
        """Which of several: the first, the thread's own, or one at random."""
        return self.words.pop(0) if self.words and self.words[0] in ("own", "random") else "first"

    def flag(self, word: str) -> bool:
        """Whether a word is there."""
        return bool(self.words) and self.words[0] == word and bool(self.words.pop(0))

    def _params(self) -> str:
        return ", ".join(self.names.params) or "none"

    def _value(self, word: str, value: float) -> str:
        return f" = {value:g}" if word in self.names.params else ""


def takes_time(nodes: list[Node]) -> bool:
    """Whether every way through the nodes computes or sleeps."""
    for name, *rest in nodes:
        if name in (*TIMED, "hold"):
            return True
        if name == "maybe" and takes_time(rest[1]) and takes_time(rest[2]):
            return True
        if name == "repeat" and takes_time(rest[1]):
            return True
    return False


def operations(nodes: list[Node]) -> Iterator[Node]:
    """All operations of a tree, without its blocks."""
    for node in nodes:
        if node[0] in ("maybe", "repeat"):
            for part in node[2:]:
                yield from operations(part)
        else:
            yield node


def stretch_of_node(node: Node) -> Stretch:
    """How many steps take no time in an operation and those that it holds."""
    name, *rest = node
    if name in TIMED:
        return TAKES_TIME
    if name == "hold":
        return stretch_of((FREE, TAKES_TIME, FREE))
    if name == "maybe":
        this, that = (stretch_of(map(stretch_of_node, way)) for way in rest[1:])
        return after(FREE, either(this, after(that, FREE)))
    return repeated(rest[0], stretch_of(map(stretch_of_node, rest[1]))) if name == "repeat" else FREE
