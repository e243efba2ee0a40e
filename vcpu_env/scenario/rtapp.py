"""rt-app's workload files (github.com/scheduler-tools/rt-app, doc/tutorial.txt) as tasks of a scenario.

docs/rt-app.md has what is supported. What is not is refused with its name, file and line, never left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vcpu_env.base.errors import nearest
from vcpu_env.scenario.errors import ScenarioError, error_lines
from vcpu_env.scenario.host_tasks import HostTask, Part, Step
from vcpu_env.scenario.rtapp_json import Object, Pairs, error_at, read_object, shown

USEC = 1000
ENDLESS = 1_000_000_000
"""Turns of a phase that never ends: more than a run has time for."""

POLICIES = {"SCHED_OTHER": "normal", "SCHED_BATCH": "batch", "SCHED_IDLE": "idle"}
GLOBALS = ("duration", "default_policy")
IGNORED_GLOBALS = (
    "calibration", "pi_enabled", "lock_pages", "logdir", "log_basename", "log_size", "ftrace", "gnuplot", "io_device",
    "mem_buffer_size", "cumulative_slack", "frag",
)  # fmt: skip
"""Settings of rt-app's logs and of its busy loop, which change nothing here. (Fair tasks inherit no priority.)"""
PHASE_KEYS = ("loop", "policy", "priority", "cpus", "taskgroup")
THREAD_KEYS = ("instance", "delay", "phases", "dl-runtime", *PHASE_KEYS)
IGNORED_KEYS = ("util_min", "util_max")
"""Clamps of utilisation choose a frequency and a CPU of enough capacity; here all CPUs run at one speed."""
EVENTS = (
    "lock", "unlock", "wait", "signal", "broad", "sync", "sleep", "runtime", "run", "timer", "suspend", "resume",
    "yield", "barrier", "sem_wait", "sem_post",
)  # fmt: skip
"""In the order in which rt-app compares: a key is the event that it begins with, so "run1" is a run."""

OLD_FORMAT = "from before rt-app 1.0: write run, timer, lock and unlock"
UNSUPPORTED = {
    "mem": "no memory traffic of tasks is simulated: write its time as a run",
    "iorun": "no devices of tasks are simulated: write its time as a run or a sleep",
    "fork": "all threads are there from the beginning: write a thread with a delay",
    "external_workload": "no code of libraries is run: write its time as a run",
    "membind_nodes": "no memory of NUMA nodes is simulated",
    "nodes_membind": "no memory of NUMA nodes is simulated",
    "dl-period": "no deadline class is simulated",
    "dl-deadline": "no deadline class is simulated",
    "dl-reclaim": "no deadline class is simulated",
    "deadline": "no deadline class is simulated",
    "period": "no deadline class is simulated; a periodic thread has a timer",
    "exec": OLD_FORMAT,
    "lock_order": OLD_FORMAT,
    "resources": OLD_FORMAT,
}
"""What rt-app has besides, and why it is refused."""


@dataclass
class RtApp:
    """What a file asks for: tasks, their cgroups (parents first), and how long it runs (None: for ever)."""

    tasks: list[HostTask] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    duration_ns: int | None = None


class Reader:
    """One file."""

    def __init__(self, path: Path):
        self.path = path
        self.timers: dict[str, int] = {}
        self.held: set[str] = set()
        self.shared_timers: dict[str, str] = {}

    def refuse(self, line: int, what: str, allowed: str) -> ScenarioError:
        """What one place in the file says, and what it may say."""
        return self.error(line, f"{what} (allowed: {allowed})")

    def error(self, line: int, text: str) -> ScenarioError:
        """An error of one place in the file."""
        return error_at(self.path, line, text)

    def typed(self, line: int, key: str, value: Any, kind: type, least: int | None = None) -> Any:
        """`value`, if it is of that kind (a bool is no integer) and not too small."""
        words = {int: "integer", str: "string", list: "list", Object: "object"}[kind]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or (least is not None and int(value) < least):
            raise self.refuse(line, f"{key}: value {shown(value)}", words + ("" if least is None else f" >= {least}"))
        return value

    def read(self) -> RtApp:
        """The whole file."""
        found, policy = RtApp(), "normal"
        sections = read_object(self.path)
        for key, line, value in sections:
            if key not in ("tasks", "global", "resources"):
                raise self.refuse(line, f"'{key}'", "tasks, global, resources")
            if key == "global":
                found.duration_ns, policy = self.settings(self.typed(line, key, value, Object))
        for section, at, threads in sections:
            for name, line, value in self.typed(at, section, threads, Object) if section == "tasks" else ():
                if task := self.thread(found, name, line, self.typed(line, name, value, Object), policy):
                    found.tasks.append(task)
        if not found.tasks:
            raise self.refuse(1, "tasks: none given", "at least one")
        return found

    def settings(self, entries: Pairs) -> tuple[int | None, str]:
        """The global object: duration and default policy."""
        duration_ns, policy = None, "normal"
        for key, line, value in entries:
            if key == "duration":
                seconds = self.typed(line, key, value, int, -1)
                duration_ns = seconds * 1_000_000_000 if seconds > 0 else None
            elif key == "default_policy":
                policy = self.policy(line, key, value)
            elif key not in IGNORED_GLOBALS:
                raise self.refuse(line, f"global '{key}'", ", ".join((*GLOBALS, *IGNORED_GLOBALS)))
        return duration_ns, policy

    def policy(self, line: int, key: str, value: Any) -> str:
        """A scheduling policy of the fair class."""
        if not isinstance(value, str) or value not in POLICIES:
            raise self.refuse(line, f"{key}: value {shown(value)}", ", ".join(POLICIES))
        return POLICIES[value]

    def thread(self, found: RtApp, name: str, line: int, entries: Pairs, policy: str) -> HostTask | None:
        """One thread object; None if it has no instance."""
        self.timers, self.held = {}, set()
        fields: dict[str, Any] = {"name": name, "policy": policy}
        count, loop, phases = 1, -1, None
        for key, at, value in entries:
            if key == "instance":
                count = self.typed(at, key, value, int, 0)
            elif key == "loop":
                loop = self.loop(at, key, value)
            elif key == "phases":
                phases = self.typed(at, key, value, Object)
            elif key in THREAD_KEYS:
                fields |= self.property(found, at, key, value)
        fields["count"] = max(count, 1)
        if fields.get("group") == "/":
            del fields["group"]
        own = Object(entry for entry in entries if entry[0] not in (*THREAD_KEYS, *IGNORED_KEYS))
        if phases is not None and own:
            raise self.refuse(own[0][1], f"'{own[0][0]}' beside phases", "events in the phases, or no phases")
        steps = self.events(own, name, count)
        parts = [(at, self.typed(at, phase, value, Object)) for phase, at, value in phases or ()]
        moves = any(key == "cpus" for _, part in parts for key, _, _ in part)
        for at, part in parts:
            if moves and all(key != "cpus" for key, _, _ in part):
                steps.append(self.checked(at, Step, cpus=fields.get("cpus", ())))
            steps += self.phase(found, at, part, name, count)
        if count == 0:
            return None
        if loop > 0:
            once = steps if loop == 1 else [self.checked(line, Step, repeat=loop, steps=tuple(steps))]
            steps = [*once, Step(exit=True)]
        return self.checked(line, HostTask, **fields, program=tuple(steps))

    def property(self, found: RtApp, line: int, key: str, value: Any) -> dict[str, Any]:
        """A thread's scheduling property as fields of a task."""
        if key == "delay":
            return {"start_ns": self.typed(line, key, value, int, 0) * USEC}
        if key == "policy":
            return {"policy": self.policy(line, key, value)}
        if key == "priority":
            return {"nice": self.typed(line, key, value, int)}
        if key == "dl-runtime":
            return {"slice_ns": self.typed(line, key, value, int, 0) * USEC}
        if key == "cpus":
            cpus = self.typed(line, key, value, list)
            if not cpus:
                raise self.refuse(line, "cpus: none given", "at least one CPU")
            return {"cpus": tuple(self.typed(line, key, cpu, int, 0) for cpu in cpus)}
        parts = [part for part in self.typed(line, key, value, str).split("/") if part]
        for i in range(len(parts)):
            if (group := ".".join(parts[: i + 1])) not in found.groups:
                found.groups.append(group)
        return {"group": ".".join(parts) or "/"} if value else {}

    def loop(self, line: int, key: str, value: Any) -> int:
        """A number of turns, -1 for ever."""
        return self.typed(line, key, value, int, -1) or self.typed(line, key, value, int, 1)

    def phase(self, found: RtApp, line: int, entries: Pairs, thread: str, count: int) -> list[Step]:
        """One phase: its changes of the thread, then its events, `loop` times."""
        loop = 1
        changes: dict[str, Any] = {}
        for key, at, value in entries:
            if key == "loop":
                loop = self.loop(at, key, value)
            elif key in PHASE_KEYS:
                changed = self.property(found, at, key, value)
                changes |= {name: self.checked(at, Step, **{name: value}) for name, value in changed.items()}
            elif key in THREAD_KEYS:
                raise self.refuse(at, f"'{key}' in a phase", "in the thread, outside its phases")
        if "policy" in changes and changes["policy"].policy != "idle":
            changes.setdefault("nice", Step(nice=0))
        steps = self.events([e for e in entries if e[0] not in (*PHASE_KEYS, *IGNORED_KEYS)], thread, count)
        if loop != 1:
            steps = [self.checked(line, Step, repeat=ENDLESS if loop == -1 else loop, steps=tuple(steps))]
        return [*changes.values(), *steps]

    def events(self, entries: Pairs, thread: str, count: int) -> list[Step]:
        """A sequence of events as steps."""
        return [step for entry in entries for step in self.event(*entry, thread, count)]

    def event(self, key: str, line: int, value: Any, thread: str, count: int) -> Iterator[Step]:
        """One event as steps."""
        kind = next((event for event in EVENTS if key.startswith(event)), None)
        if kind is None:
            known = [*EVENTS, *THREAD_KEYS]
            if name := max((name for name in UNSUPPORTED if key.startswith(name)), key=len, default=None):
                raise self.refuse(line, f"'{key}', but {UNSUPPORTED[name]}", ", ".join(known))
            raise self.error(line, f"'{key}' ({nearest(key, known)})")
        if kind in ("run", "runtime", "sleep"):
            nsec = self.typed(line, key, value, int, 0) * USEC
            if nsec:
                yield self.checked(line, Step, **{"sleep_ns" if kind == "sleep" else "run_ns": nsec})
        elif kind == "timer":
            yield self.timer(line, self.typed(line, key, value, Object), thread, count)
        elif kind == "yield":
            yield Step(sched_yield=True)
        elif kind in ("wait", "sync"):
            yield from self.condition(kind, line, self.typed(line, key, value, Object))
        else:
            name = self.typed(line, key, value, str) or thread
            if kind in ("lock", "unlock"):
                self.hold(kind, line, name)
            if kind in ("suspend", "resume"):
                yield from self.suspension(kind, line, name)
            else:
                yield self.checked(line, Step, **self.named(kind, name))

    def hold(self, kind: str, line: int, mutex: str) -> None:
        """Follow what the thread has locked."""
        if (mutex in self.held) == (kind == "lock"):
            state, allowed = ("locked", "one that is not") if kind == "lock" else ("not locked", "one that is")
            raise self.refuse(line, f"{kind} '{mutex}', which is {state}", allowed)
        self.held ^= {mutex}

    @staticmethod
    def named(kind: str, name: str) -> dict[str, Any]:
        """An event whose value is a name, as fields of a step."""
        if kind in ("sem_post", "sem_wait"):
            return {"signal" if kind == "sem_post" else "wait": f"sem.{name}"}
        if kind in ("signal", "broad"):
            return {"signal": name, "lossy": True, "to_all": kind == "broad"}
        return {kind: name}

    def suspension(self, kind: str, line: int, name: str) -> Iterator[Step]:
        """suspend, resume: a condition variable, which signal and wait may name too, and a mutex of the same name."""
        if name in self.held:
            raise self.refuse(line, f"{kind} '{name}', whose mutex is locked", "one that is not")
        yield self.checked(line, Step, lock=name)
        if kind == "suspend":
            yield self.checked(line, Step, wait=name, mutex=name)
        else:
            yield self.checked(line, Step, signal=name, lossy=True, to_all=True)
        yield self.checked(line, Step, unlock=name)

    def parts(self, line: int, entries: Pairs, kinds: dict[str, type]) -> dict[str, Any]:
        """The members of an event's object."""
        found = {}
        for key, at, value in entries:
            if key not in kinds:
                raise self.refuse(at, f"'{key}'", ", ".join(kinds))
            found[key] = self.typed(at, key, value, kinds[key])
        for key in ("ref", "mutex", "period"):
            if key in kinds and key not in found:
                raise self.refuse(line, f"no {key}", ", ".join(kinds))
        return found

    def condition(self, kind: str, line: int, entries: Pairs) -> Iterator[Step]:
        """pthread_cond_wait(), for which the thread has the mutex; sync signals first, and takes it if need be."""
        parts = self.parts(line, entries, {"ref": str, "mutex": str})
        name, mutex = parts["ref"], parts["mutex"]
        held = mutex in self.held
        if kind == "wait" and not held:
            raise self.refuse(line, f"mutex '{mutex}', which is not locked", "one that is")
        if not held:
            yield self.checked(line, Step, lock=mutex)
        if kind == "sync":
            yield self.checked(line, Step, signal=name, lossy=True)
        yield self.checked(line, Step, wait=name, mutex=mutex)
        if not held:
            yield Step(unlock=mutex)

    def timer(self, line: int, entries: Pairs, thread: str, count: int) -> Step:
        """A periodic timer of the thread's own. rt-app shares one whose name does not begin with "unique"."""
        parts = self.parts(line, entries, {"ref": str, "period": int, "mode": str})
        ref, mode = parts["ref"], parts.get("mode", "relative")
        if mode not in ("relative", "absolute"):
            raise self.refuse(line, f"mode: value {shown(mode)}", "relative, absolute")
        if not ref.startswith("unique") and (count > 1 or self.shared_timers.setdefault(ref, thread) != thread):
            raise self.refuse(
                line, f"ref: value {shown(ref)}, a timer of several threads", "a name that begins with unique"
            )
        number = self.timers.setdefault(ref, len(self.timers))
        relative = mode == "relative"
        return self.checked(line, Step, timer_ns=parts["period"] * USEC, timer=number, relative=relative)

    def checked(self, line: int, part: type[Part], **fields: Any) -> Any:
        """A part of a scenario; if it can't be, the error says where."""
        try:
            return part(**fields)
        except ValidationError as error:
            lines = "; ".join(text.lstrip(".") for text in error_lines(part, error))
            raise self.error(line, lines) from None


def read_rtapp(path: Path) -> RtApp:
    """Read a workload file.

    Raises:
        ScenarioError: the file can't be read, or has what is not supported.
    """
    return Reader(path).read()


def rtapp_fields(path: Path) -> dict[str, Any]:
    """A workload file as fields of a scenario: its tasks on the host, their cgroups, and how long it runs."""
    found = read_rtapp(path)
    groups = [{"name": name, "parent": name.rpartition(".")[0] or None} for name in found.groups]
    fields: dict[str, Any] = {"host_tasks": tuple(found.tasks), "groups": groups}
    if found.duration_ns is not None:
        fields["run"] = {"warmup_ns": 0, "duration_ns": found.duration_ns}
    return fields


def rtapp_threads(path: Path) -> list[dict[str, Any]]:
    """A workload file as threads of a VM."""
    threads = []
    for task in read_rtapp(path).tasks:
        extra = sorted(task.model_fields_set - {"name", "count", "program", "policy"})
        if extra or task.policy != "normal":
            name = {"nice": "priority", "start_ns": "delay", "group": "taskgroup", "slice_ns": "dl-runtime"}
            what = name.get(extra[0], extra[0]) if extra else "policy"
            raise ScenarioError(
                f"{path}: {what} of {task.name} (allowed in a guest: instance, loop, phases and events)"
            )
        threads.append({"name": task.name, "count": task.count, "program": task.program})
    return threads
