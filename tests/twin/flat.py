"""The twin of v7.3's fair class on one CPU: one sorted list of tasks, plain integers of any size, no trees, no sums.

As v6.19's twin it shares no line with the core. Groups are only a weight: no load tracking, hence not the mode "tasks".
"""

from itertools import count

from .eevdf import FEATURES, Load
from .flat_tasks import ONE, Group, Node, Task

LEAST = 2
LARGEST_WEIGHT = 88761 << 10


def s64(a: int) -> int:
    """The product of a lag and a load is the one that overflows, with tiny groups beside heavy tasks."""
    return (a + (1 << 63)) % (1 << 64) - (1 << 63)


def towards_zero(a: int, b: int) -> int:
    return a // b if a >= 0 else -(-a // b)


class Rq:
    def __init__(self, scenario: dict):
        self.now, self.tick_ns = 0, (1_000_000_000 + scenario["hz"] // 2) // scenario["hz"]
        self.base_slice, self.quantum = scenario["base_slice_ns"], scenario["normalized_base_slice_ns"]
        self.on = FEATURES | {name: bool(value) for name, value in scenario["features"].items()}
        self.lazy, self.mode = scenario["preempt"] == "lazy", scenario["cgroup_mode"]
        self.root = Group("root", None)
        self.groups: dict[str | None, Group] = {None: self.root}
        self.tasks: dict[str, Task] = {}
        for spec in scenario["groups"]:
            group = Group(spec["id"], self.groups[spec["parent"]], shares=spec["weight"] << 10)
            self.groups[group.name] = group
        for spec in scenario["tasks"]:
            task = Task(spec["id"], self.groups[spec["group"]], policy=spec.get("policy", "normal"))
            weight = spec["weight"] << 10 if "weight" in spec else Load.of_nice(spec["nice"]).weight
            task.weight, task.nice = (3 << 10 if task.policy == "idle" else weight), spec.get("nice", 0)
            task.custom, task.slice = bool(spec.get("slice_ns")), spec.get("slice_ns") or self.base_slice
            self.tasks[task.name] = task
        self.waiting: list[tuple[int, int, Task]] = []
        self.order, self.zero = count(), -(1 << 20)
        self.running: Task | None = None  # what the fair class runs; may have left its queue already
        self.curr: Task | None = None
        self.buddy: Task | None = None
        self.resched = self.resched_lazy = False

    # Weights

    def refresh_groups(self, group: Group | None) -> None:
        while group is not None and group is not self.root:
            if group.members:
                group.weight = min(group.shares, LARGEST_WEIGHT) if self.mode == "max" else group.shares
            group = group.above

    def heaviness(self, task: Task) -> int:
        weight, node = ONE, task
        while node.above is not None:
            below_root = node.above is self.root
            whole = ONE if below_root else sum(member.weight for member in node.above.members)
            weight = max(weight * node.weight // whole, LEAST)
            node = node.above
        return weight

    def join(self, node: Node) -> None:
        while node.above is not None and node not in node.above.members:
            node.above.members.append(node)
            node = node.above

    def leave(self, node: Node) -> None:
        while node.above is not None:
            node.above.members.remove(node)
            if node.above.members:
                return
            node = node.above

    # Virtual time

    def competing(self) -> list[Task]:
        tasks = [task for _, _, task in self.waiting]
        return [*tasks, self.running] if self.running and self.running.queued else tasks

    def mean(self, tasks: list[Task]) -> int:
        whole = sum(task.h_load for task in tasks)
        return sum(task.h_load * task.v for task in tasks) // whole if whole else self.zero

    def average(self) -> int:
        self.zero = self.mean(self.competing())
        return self.zero

    def eligible(self, task: Task) -> bool:
        return task.v <= self.mean(self.competing())

    def nr_queued(self) -> int:
        return sum(task.queued for task in self.tasks.values())

    def put(self, task: Task) -> None:
        self.waiting.append((task.d, next(self.order), task))
        self.waiting.sort(key=lambda entry: entry[:2])

    def take(self, task: Task) -> None:
        self.waiting = [entry for entry in self.waiting if entry[2] is not task]

    def ask(self, lazily: bool = True) -> None:
        if lazily and self.lazy:
            self.resched_lazy = self.resched_lazy or not self.resched
        else:
            self.resched = True

    def renew(self, task: Task) -> bool:
        if task.v < task.d:
            return False
        task.slice = task.slice if task.custom else self.base_slice
        task.d = task.v + task.virtual(task.slice)
        self.average()
        return True

    def charge(self) -> None:
        task = self.running
        if task is None or self.now == task.since:
            return
        task.ran, task.v = task.ran + self.now - task.since, task.v + task.virtual(self.now - task.since)
        task.since = self.now
        expired = self.renew(task)
        if self.nr_queued() > 1 and (expired or task.v >= task.vprot):
            self.ask()
            self.forget(task)

    def forget(self, task: Task) -> None:
        if self.buddy is task:
            self.buddy = None

    def lag_of(self, task: Task, mean: int) -> int:
        longest = max(other.slice for other in [*self.competing(), task])
        limit = task.virtual(longest + self.tick_ns)
        return min(max(mean - task.v, -limit), limit)

    def note_lag(self, task: Task) -> bool:
        mean = self.average()
        lag = self.lag_of(task, mean)
        if task.delayed:
            lag = max(lag, task.lag)
            lag = min(lag, 0) if self.on["DELAY_ZERO"] else lag
        task.lag = lag
        return mean - lag != task.v

    def place(self, task: Task, others: int, initial: bool = False) -> None:
        task.v = self.average()
        task.slice = task.slice if task.custom else self.base_slice
        if self.on["PLACE_LAG"] and others and task.lag:
            load = sum(other.h_load for other in self.competing())
            task.v -= towards_zero(s64(task.lag * (load + task.h_load)), load)
        if self.on["PLACE_REL_DEADLINE"] and task.relative:
            task.d, task.relative = task.d + task.v, False
            return
        vslice = task.virtual(task.slice)
        task.d = task.v + (vslice // 2 if initial and self.on["PLACE_DEADLINE_INITIAL"] else vslice)

    # Joining and leaving

    def enqueue(self, task: Task, initial: bool = False) -> None:
        self.charge()
        self.join(task)
        task.queued = True
        self.refresh_groups(task.above)
        weight = self.heaviness(task)
        if weight != task.h_load:
            task.lag = towards_zero(task.lag * task.h_load, weight)
            task.d = towards_zero(task.d * task.h_load, weight) if task.relative else task.d
            task.h_load = weight
        task.queued = False
        self.place(task, self.nr_queued(), initial)
        task.queued = True
        self.put(task)

    def dequeue(self, task: Task, sleep: bool, may_delay: bool) -> bool:
        self.forget(task)
        self.charge()
        self.note_lag(task)
        if sleep and may_delay and self.on["DELAY_DEQUEUE"] and not self.eligible(task):
            task.delayed = True
            return False
        self.leave(task)
        self.refresh_groups(task.above)
        task.queued = False
        if self.on["PLACE_REL_DEADLINE"] and not sleep:
            task.d, task.relative = task.d - task.v, True
        self.take(task)
        task.delayed = False if sleep and not may_delay else task.delayed
        return True

    # Picking

    def best(self, protect: bool) -> Task:
        curr = self.running if self.running and self.running.queued else None
        if self.nr_queued() == 1:
            return curr or self.waiting[0][2]
        if self.on["PICK_BUDDY"] and protect and self.buddy and self.eligible(self.buddy):
            return self.buddy
        curr = curr if curr and self.eligible(curr) else None
        if curr and protect and curr.v < curr.vprot:
            return curr
        found = next((task for _, _, task in self.waiting if self.eligible(task)), None)
        return curr if found is None or (curr and curr.d < found.d) else found

    def pick(self, protect: bool) -> Task:
        while True:
            task = self.best(protect)
            if not task.delayed:
                return task
            self.dequeue(task, True, False)

    def schedule(self) -> None:
        prev = self.curr
        if prev and prev.state != "running" and not prev.delayed and prev.queued:
            self.dequeue(prev, True, prev.state == "sleeping")
        task = None
        while self.nr_queued():
            if self.running and self.running.queued:
                self.charge()
            task = self.best(True)
            if not task.delayed:
                break
            self.dequeue(task, True, False)
            task = None
        if task is not prev:
            self.put_prev()
            if task:
                self.set_next(task)
                self.protect(task)
            self.curr = task
        self.resched = self.resched_lazy = False

    def put_prev(self) -> None:
        prev = self.running
        if prev is None:
            return
        if prev.queued:
            self.charge()
        self.running = None
        if prev.queued:
            self.put(prev)

    def set_next(self, task: Task) -> None:
        self.forget(task)
        self.take(task)
        self.running, task.since = task, self.now
        if task.queued:
            self.reweigh(task)

    def reweigh(self, task: Task) -> None:
        weight, old = self.heaviness(task), task.h_load
        if weight == old:
            return
        mean = self.average()
        lag, protected = self.lag_of(task, mean), task.v < task.vprot
        task.lag = towards_zero(lag * old, weight)
        task.d = mean + towards_zero((task.d - mean) * old, weight)
        task.vprot = mean + towards_zero((task.vprot - mean) * old, weight) if protected else task.vprot
        task.v, task.h_load = mean - task.lag, weight

    def protect(self, task: Task) -> None:
        others = [other for _, _, other in self.waiting]
        shortest = min(other.slice for other in [*others, task]) if self.on["RUN_TO_PARITY"] else self.quantum
        task.vprot = task.d
        if shortest < task.slice:
            end = self.mean(others) + 1 if self.on["PREEMPT_SHORT"] else task.v + task.virtual(shortest)
            task.vprot = min(task.vprot, end)

    # What happens

    def tick(self) -> None:
        if self.resched_lazy:
            self.ask(lazily=False)
        if self.curr and self.curr.queued:
            self.charge()
            self.refresh_groups(self.curr.above)
            self.reweigh(self.curr)

    def preempt(self, task: Task, fork: bool, sync: bool) -> None:
        curr = self.curr
        if curr is None:
            self.ask(lazily=False)
            return
        if curr is task or not self.on["WAKEUP_PREEMPTION"]:
            return
        if self.resched and not self.on["PREEMPT_SHORT"]:
            return
        takes, short = self.decide(task, curr, fork, sync)
        if takes:
            curr.vprot = min(curr.vprot, curr.v)
            if short and not (self.buddy and self.buddy.slice < task.slice):
                self.hint(task)
            self.ask()
        elif takes is not None and self.on["RUN_TO_PARITY"]:
            mean = min(self.average(), curr.v)
            curr.vprot = min(curr.vprot, mean + curr.virtual(min(other.slice for other in self.competing())))

    def decide(self, task: Task, curr: Task, fork: bool, sync: bool) -> tuple[bool | None, bool]:
        """Whether a wakee takes the CPU (None: nothing at all happens), and whether because of a shorter slice."""
        if curr.policy == "idle" and task.policy != "idle":
            return True, False
        self.charge()
        if (curr.policy == "idle") != (task.policy == "idle") or task.policy != "normal" or task.delayed:
            return False, False
        if self.on["PREEMPT_SHORT"] and task.slice < curr.slice:
            return self.pick(False) is task or self.eligible(task), True
        if fork:
            return False, False
        if self.on["NEXT_BUDDY"] and not (self.buddy and self.buddy.d < task.d):
            self.hint(task)
            if sync:
                return None, False
        return self.pick(True) is task, False

    def hint(self, task: Task) -> None:
        if task.policy != "idle":
            self.buddy = task

    def wake(self, task: Task, sync: bool = False) -> int:
        if task.state in ("running", "dead"):
            return 0
        delayed, task.state = task.queued, "running"
        if delayed:
            self.charge()
            if self.note_lag(task):
                self.take(task)
                task.queued = False
                self.place(task, self.nr_queued())
                task.queued = True
                if self.running is not task:
                    self.put(task)
            task.delayed = False
        else:
            self.enqueue(task)
        if self.curr is not task or not delayed:
            self.preempt(task, False, sync)
        return 2 if delayed else 1

    def fork(self, task: Task) -> None:
        task.state = "running"
        self.enqueue(task, initial=True)
        self.preempt(task, True, False)

    def yields(self) -> None:
        curr = self.curr
        if self.nr_queued() == 1:
            return
        self.forget(curr)
        self.charge()
        if self.eligible(curr):
            curr.v = curr.d
            self.renew(curr)

    def yield_to(self, task: Task) -> int:
        if self.nr_queued() == 1:
            return -3
        if task is self.curr or task.state != "running" or not task.queued:
            return 0
        self.hint(task)
        self.yields()
        return 1

    def renice(self, task: Task, nice: int) -> None:
        if task.nice == nice:
            return
        worse, running = nice > task.nice, self.curr is task
        task.nice = nice
        weight = task.weight if task.policy == "idle" else Load.of_nice(nice).weight
        queued = task.queued
        if queued:
            self.dequeue(task, False, False)
        if running:
            self.put_prev()
        task.weight = weight
        if queued:
            self.enqueue(task)
        if running:
            self.set_next(task)
        if not queued or self.nr_queued() == 1:
            return
        if not running:
            self.preempt(task, False, False)
        elif worse:
            self.ask(lazily=False)

    def set_shares(self, group: Group, weight: int) -> None:
        group.shares = max(weight << 10, 2 << 10)
        self.refresh_groups(group)
