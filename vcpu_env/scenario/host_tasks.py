"""Threads of the host that are no vCPUs, in a scenario: their programs, those of VMs' emulators, and host noise."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vcpu_env.scenario.bounds import LONGEST_NS, MOST_FREE_STEPS
from vcpu_env.scenario.free_steps import FREE, TAKES_TIME, Stretch, repeated, stretch_of, too_many
from vcpu_env.scenario.host import Costs, Name, Part

CpuList = Annotated[tuple[int, ...], Field(strict=False)]
GroupName = Annotated[str, Field(pattern=r"^(/|[A-Za-z0-9][A-Za-z0-9_.-]*)$", max_length=64)]
"""A cgroup that a task moves to: a name, or the root."""
Policy = Literal["normal", "batch", "idle"]
Scheduler = Literal["normal", "batch", "idle", "fifo", "rr"]
RT = ("fifo", "rr")
"""The policies of the real-time class."""
PRIORITY = "real-time priority, with fifo and rr: the highest goes first"
Distribution = Literal["fixed", "exponential", "lognormal_0.6", "lognormal_0.8", "uniform"]

MAX_HOST_TASKS = 1024
"""Most host tasks of a scenario."""

ACTIONS = (
    "run_ns", "sleep_ns", "timer_ns", "sched_yield", "wait", "signal", "barrier", "lock", "unlock", "serve_ns",
    "repeat", "cpus", "group", "nice", "policy", "create_vcpu", "exit",
)  # fmt: skip
"""Each step of a program does one of these."""
OPTIONS = {
    "dist": ("run_ns", "sleep_ns", "serve_ns"),
    "timer": ("timer_ns",),
    "relative": ("timer_ns",),
    "sync": ("signal",),
    "to_all": ("signal",),
    "lossy": ("signal",),
    "steps": ("repeat",),
    "mutex": ("wait",),
}
"""What else a step may have, and with which actions."""


class Step(Part):
    """One step of a program: exactly one action, and its options."""

    run_ns: int | None = Field(default=None, ge=1, le=LONGEST_NS, description="compute; mean of `dist`")
    sleep_ns: int | None = Field(default=None, ge=1, le=LONGEST_NS, description="sleep; mean of `dist`")
    timer_ns: int | None = Field(
        default=None, ge=1000, le=LONGEST_NS, description="sleep until this long after the timer's last activation"
    )
    sched_yield: bool | None = Field(default=None, description="sched_yield(); true")
    wait: Name | None = Field(default=None, description="sleep until a signal of this name comes")
    signal: Name | None = Field(default=None, description="wake who waits; kept for the next one if nobody does")
    barrier: Name | None = Field(default=None, description="sleep until every task that has this barrier has come")
    lock: Name | None = Field(default=None, description="take a mutex of this name; sleep while another task has it")
    unlock: Name | None = Field(default=None, description="let the mutex go")
    serve_ns: int | None = Field(
        default=None,
        ge=1,
        le=LONGEST_NS,
        description="wait for a device request of the VM and compute this long for it",
    )
    repeat: int | None = Field(default=None, ge=1, le=1_000_000_000, description="do `steps` this many times")
    cpus: CpuList | None = Field(
        default=None, description="sched_setaffinity(): CPUs that it may use from now on; an empty list: all"
    )
    group: GroupName | None = Field(default=None, description="move to this cgroup, one of `groups`; '/': the root")
    nice: int | None = Field(default=None, ge=-20, le=19, description="setpriority(): nice value from now on")
    policy: Policy | None = Field(default=None, description="sched_setscheduler(): policy from now on")
    create_vcpu: bool | None = Field(default=None, description="create the VM's next vCPU thread (of VMMs); true")
    exit: bool | None = Field(default=None, description="end the task; true")
    dist: Distribution = Field(default="fixed", description="distribution of run_ns, sleep_ns, serve_ns")
    timer: int = Field(default=0, ge=0, le=3, description="which of the task's four timers")
    relative: bool = Field(default=False, description="a missed activation of the timer moves those to come")
    sync: bool = Field(default=False, description="the signal's sender promises to sleep soon, as a pipe's writer")
    to_all: bool = Field(default=False, description="the signal wakes all that wait, not one")
    lossy: bool = Field(default=False, description="a signal that nobody waits for is lost, as a condition variable's")
    mutex: Name | None = Field(default=None, description="mutex that is let go while the task waits, and taken again")
    steps: Annotated[tuple["Step", ...], Field(strict=False)] = Field(default=(), description="what `repeat` repeats")

    @property
    def action(self) -> str:
        """Which of ACTIONS it does."""
        return next(name for name in ACTIONS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def check_action(self) -> "Step":
        """Refuse a step that does nothing, two things, or has an option of another."""
        given = [name for name in ACTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f": {' and '.join(given) or 'no action'} given (allowed: one of {', '.join(ACTIONS)})")
        for name, actions in OPTIONS.items():
            if getattr(self, name) != type(self).model_fields[name].default and given[0] not in actions:
                raise ValueError(f".{name}: given with {given[0]} (allowed: with {', '.join(actions)})")
        for name in ("sched_yield", "create_vcpu", "exit"):
            if getattr(self, name) is False:
                raise ValueError(f".{name}: value False (allowed: true)")
        if given == ["repeat"] and not self.steps:
            raise ValueError(".steps: none given (allowed: at least one step to repeat)")
        return self


HOG = (Step(run_ns=1_000_000_000),)
"""A program that only computes."""


class Thread(Part):
    """A thread with a program, or several equal ones."""

    name: Name = Field(description="name; copies are called name-1, name-2, ...")
    count: int = Field(default=1, ge=1, le=MAX_HOST_TASKS, description="number of equal threads")
    program: Annotated[tuple[Step, ...], Field(strict=False)] = Field(
        default=HOG, description="what it does, for ever; default: it computes"
    )

    @model_validator(mode="after")
    def check_program(self) -> "Thread":
        """Refuse programs that never take time, and loops in loops in loops."""
        actions = {step.action for step in all_steps(self.program)}
        if not {"run_ns", "sleep_ns", "timer_ns", "serve_ns"} & actions:
            raise ValueError(".program: takes no time (allowed: at least one run_ns, sleep_ns, timer_ns or serve_ns)")
        if nesting(self.program) > 4:
            raise ValueError(f".program: repeat nested {nesting(self.program)} deep (allowed: up to 4)")
        return self


def check_priority(where: str, policy: str, priority: int | None) -> None:
    """Refuse a priority of a fair thread, and a real-time one without."""
    if policy in RT and priority is None:
        raise ValueError(f"{where}: value '{policy}' (allowed: with priority, 1..99)")
    if policy not in RT and priority is not None:
        raise ValueError(f".priority: value {priority} (allowed: only with {' or '.join(RT)})")


class Sched(Part):
    """Scheduling class of a VM's threads, as libvirt sets it."""

    scheduler: Scheduler = Field(description="fair: normal, batch or idle; real-time: fifo or rr")
    priority: int | None = Field(default=None, ge=1, le=99, description=PRIORITY)

    @model_validator(mode="after")
    def check_sched(self) -> "Sched":
        """Refuse a priority without a real-time scheduler, and the reverse."""
        check_priority(".scheduler", self.scheduler, self.priority)
        return self


class HostTask(Thread):
    """A thread of the host, or several equal ones."""

    group: Name | None = Field(default=None, description="cgroup, one of `groups`; none: the root")
    emulator_of: Name | None = Field(
        default=None, description="the VM in whose emulator cgroup it lies, in place of group"
    )
    iothread_of: Name | None = Field(
        default=None, description="the VM whose IOThread it is, in a cgroup of its own, in place of group"
    )
    nice: int = Field(default=0, ge=-20, le=19, description="nice value [source]")
    weight: int | None = Field(default=None, ge=3, le=88_761, description="load weight, nice 0 is 1024; none: by nice")
    policy: Scheduler = Field(default="normal", description="SCHED_NORMAL, _BATCH, _IDLE, _FIFO or _RR")
    priority: int | None = Field(default=None, ge=1, le=99, description=PRIORITY)
    cpus: CpuList | None = Field(default=None, description="CPUs it may run on; none: all")
    slice_ns: int = Field(
        default=0, ge=0, le=100_000_000, description="custom slice (sched_attr.sched_runtime); 0: the base slice"
    )
    start_ns: int = Field(default=0, ge=0, le=LONGEST_NS, description="when it is forked")
    timer_slack_ns: int = Field(
        default=50_000, ge=0, le=1_000_000_000, description="how late its timers may expire [source: prctl default]"
    )

    @model_validator(mode="after")
    def check(self) -> "HostTask":
        """Refuse contradictions."""
        places = [name for name in ("group", "emulator_of", "iothread_of") if getattr(self, name) is not None]
        if len(places) > 1:
            raise ValueError(f".{places[1]}: given (allowed: only without {places[0]})")
        if self.weight is not None and (self.nice != 0 or self.policy == "idle"):
            raise ValueError(f".weight: value {self.weight} (allowed: only without nice and policy 'idle')")
        if self.weight is not None and any(step.action in ("nice", "policy") for step in all_steps(self.program)):
            raise ValueError(f".weight: value {self.weight} (allowed: only without steps of nice and policy)")
        check_priority(".policy", self.policy, self.priority)
        if self.policy in RT:
            self.check_realtime()
        if 0 < self.slice_ns < 100_000:
            raise ValueError(f".slice_ns: value {self.slice_ns} (allowed: 0, or 100000..100000000)")
        if self.vm is None and any(step.action == "serve_ns" for step in all_steps(self.program)):
            raise ValueError(".program: serve_ns given (allowed: only with emulator_of, the VM that is served)")
        return self

    def check_realtime(self) -> None:
        """Refuse of a real-time task what only fair ones have."""
        for name, neutral in (("nice", 0), ("weight", None), ("slice_ns", 0)):
            if getattr(self, name) != neutral:
                raise ValueError(
                    f".{name}: value {getattr(self, name)} (allowed: only with policy normal, batch, idle)"
                )
        for step in all_steps(self.program):
            if step.action in ("nice", "policy"):
                raise ValueError(f".program: {step.action} given (allowed: only with policy normal, batch, idle)")

    @property
    def vm(self) -> str | None:
        """The VM that it is a thread of."""
        return self.emulator_of or self.iothread_of


def all_steps(program: Sequence[Step]) -> Iterator[Step]:
    """Every step of a program, those in loops too."""
    for step in program:
        yield step
        yield from all_steps(step.steps)


def nesting(program: Sequence[Step]) -> int:
    """How many loops lie in each other."""
    return max((1 + nesting(step.steps) for step in program if step.repeat is not None), default=0)


def expanded(tasks: Sequence[HostTask]) -> tuple[HostTask, ...]:
    """Every task on its own (`count` 1), copies renamed."""
    return tuple(
        task if task.count == 1 else task.model_copy(update={"name": f"{task.name}-{i + 1}", "count": 1})
        for task in tasks
        for i in range(task.count)
    )


def uses(tasks: Sequence[Thread], action: str) -> Counter[str]:
    """How many tasks name each object of a kind: waits, signals, barriers or locks."""
    counted: Counter[str] = Counter()
    for task in tasks:
        for name in dict.fromkeys(getattr(step, action) for step in all_steps(task.program) if step.action == action):
            counted[name] += task.count
    return counted


def refusal(
    tasks: Sequence[HostTask], cpus: int, groups: Sequence[str], vms: Sequence[str], costs: Costs
) -> str | None:
    """What is wrong with a scenario's host tasks: the text of an error, or None."""
    names = Counter(task.name for task in expanded(tasks))
    for name, times in names.items():
        if times > 1:
            return f"host_tasks: name '{name}' given {times} times (allowed: once, copies included)"
    if len(names) > MAX_HOST_TASKS:
        return f"host_tasks: {len(names)} in all (allowed: up to {MAX_HOST_TASKS})"
    for i, task in enumerate(tasks):
        for field, allowed in (("group", groups), ("emulator_of", vms), ("iothread_of", vms)):
            value = getattr(task, field)
            if value is not None and value not in allowed:
                return f"host_tasks.{i}.{field}: value '{value}' (allowed: {', '.join(allowed) or 'none is defined'})"
        if any(step.action == "create_vcpu" for step in all_steps(task.program)):
            return f"host_tasks.{i}.program: create_vcpu given (allowed: in the VMs' own VMMs only)"
        if wrong := wrong_cpus(task.cpus, cpus):
            return f"host_tasks.{i}.{wrong}"
        wrong = unknown_name(task.program, uses(tasks, "signal"), uses(tasks, "lock"))
        if wrong := wrong or unknown_place(task.program, cpus, groups):
            return f"host_tasks.{i}.program: {wrong}"
        if wrong := endless_repeat(task.program, takes_time_on(costs)):
            return f"host_tasks.{i}.program.{wrong}"
    return None


def wrong_cpus(chosen: CpuList | None, cpus: int) -> str | None:
    """What is wrong with an affinity on a host of so many CPUs, in words."""
    if chosen is None:
        return None
    if not chosen:
        return f"cpus: none given (allowed: CPUs 0..{cpus - 1})"
    cpu = next((cpu for cpu in chosen if not 0 <= cpu < cpus), None)
    return None if cpu is None else f"cpus: value {cpu} (allowed: CPUs 0..{cpus - 1})"


def unknown_place(program: Sequence[Step], cpus: int, groups: Sequence[str]) -> str | None:
    """A step that moves the task to a CPU or cgroup that does not exist, in words."""
    for step in all_steps(program):
        if step.cpus and (wrong := wrong_cpus(step.cpus, cpus)):
            return wrong
        if step.group is not None and step.group not in (*groups, "/"):
            return f"group: value '{step.group}' (allowed: {', '.join((*groups, '/'))})"
    return None


def unknown_name(program: Sequence[Step], signalled: Counter[str], locked: Counter[str]) -> str | None:
    """A step that waits for what nobody signals, or lets go of a mutex that nobody takes, in words."""
    for step in all_steps(program):
        if step.wait is not None and step.wait not in signalled:
            return f"wait '{step.wait}' (allowed: names that some task signals: {', '.join(signalled) or 'none'})"
        mutex = step.mutex or step.unlock
        if mutex is not None and mutex not in locked:
            return f"mutex '{mutex}' (allowed: names that some task locks: {', '.join(locked) or 'none'})"
    return None


IN_GUEST = ("run_ns", "sleep_ns", "wait", "signal", "barrier", "lock", "unlock", "repeat")
"""What a thread of a VM can do: guests have no timers of threads and no sched_yield()."""


def guest_refusal(threads: Sequence[Thread]) -> str | None:
    """What is wrong with the threads of a VM: the text of an error, or None."""
    for i, thread in enumerate(threads):
        for step in all_steps(thread.program):
            if step.action not in IN_GUEST:
                return f"threads.{i}.program: {step.action} (allowed in a guest: {', '.join(IN_GUEST)})"
            if step.lossy or step.to_all or step.mutex is not None:
                return f"threads.{i}.program: lossy, to_all or mutex (allowed in a guest: signals without these)"
        if nesting(thread.program) > 1:
            return f"threads.{i}.program: repeat nested {nesting(thread.program)} deep (allowed in a guest: 1)"
        if wrong := endless_repeat(thread.program, takes_time_in_guest):
            return f"threads.{i}.program.{wrong}"
        signalled, locked = uses(threads, "signal"), uses(threads, "lock")
        if wrong := unknown_name(thread.program, signalled, locked) or wrong_nesting(thread.program):
            return f"threads.{i}.program: {wrong}"
    return None


def wrong_nesting(program: Sequence[Step]) -> str | None:
    """What is wrong with the order of a guest thread's locks, in words: a guest lets go of the one taken last."""
    held: list[str] = []
    for step in all_steps(program):
        if step.lock is not None:
            held.append(step.lock)
        if len(held) > 4:
            return f"{len(held)} locks held (allowed in a guest: up to 4)"
        if step.unlock is not None and (not held or held.pop() != step.unlock):
            return f"unlock '{step.unlock}' (allowed in a guest: the lock taken last)"
    return f"lock '{held[-1]}' is never let go (allowed in a guest: an unlock)" if held else None


def takes_time_on(costs: Costs) -> Callable[[Step], bool]:
    """Whether a step of a host task takes time, where system calls cost this much.

    Mutexes that are free, condition variables without waiters and changes of nothing need no system call.
    """

    def takes_time(step: Step) -> bool:
        if step.action in ("run_ns", "sleep_ns", "timer_ns", "serve_ns", "exit"):
            return True
        if step.action == "sched_yield":
            return costs.task_yield_ns > 0
        return costs.task_syscall_ns > 0 and (
            step.action in ("wait", "barrier") or (step.action == "signal" and not step.lossy)
        )

    return takes_time


def takes_time_in_guest(step: Step) -> bool:
    """Whether a step of a guest's thread takes time: what its kernel does for it costs extra, but not here."""
    return step.action in ("run_ns", "sleep_ns")


def endless_repeat(program: Sequence[Step], takes_time: Callable[[Step], bool]) -> str | None:
    """A repeat that takes no time for too many steps, in words."""
    for i, step in enumerate(program):
        if step.repeat is not None:
            if inner := endless_repeat(step.steps, takes_time):
                return f"{i}.steps.{inner}"
            most = _of_step(step, takes_time).most
            if most > MOST_FREE_STEPS:
                return f"{i}.repeat: value {step.repeat} ({too_many(most)})"
    return None


def _of_step(step: Step, takes_time: Callable[[Step], bool]) -> Stretch:
    if step.repeat is not None:
        return repeated(step.repeat, stretch_of(_of_step(inner, takes_time) for inner in step.steps))
    return TAKES_TIME if takes_time(step) else FREE
