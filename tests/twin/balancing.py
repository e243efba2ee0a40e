"""A plain model of the search for what to pull: sets of CPUs and sums, nothing kept between calls.

Written from the specification, for reading; `tests.kernel.test_find_busiest` compares it with the simulator.
"""

from dataclasses import dataclass

SPARE, BUSY, SMT, OVERLOADED = "has_spare", "fully_busy", "smt_balance", "overloaded"
ORDER = [SPARE, BUSY, SMT, OVERLOADED]


@dataclass(frozen=True)
class Cpu:
    core: int
    llc: int
    node: int
    load: int
    util: int
    runnable: int
    nr_running: int  # delayed tasks included
    h_nr_runnable: int


class Group:
    def __init__(self, host: list[Cpu], cpus: list[int], pct: int, smt_asked: bool):
        members = [host[i] for i in cpus]
        self.cpus, self.weight = cpus, len(cpus)
        self.cores = len({cpu.core for cpu in members})
        self.is_core = self.weight > 1 and self.cores == 1
        self.load, self.util = sum(cpu.load for cpu in members), sum(cpu.util for cpu in members)
        self.nr, self.waiting = sum(cpu.nr_running for cpu in members), sum(cpu.h_nr_runnable for cpu in members)
        self.idle = sum(cpu.nr_running == 0 for cpu in members)
        self.mean_load = self.load // self.weight
        capacity, runnable = 1024 * self.weight, sum(cpu.runnable for cpu in members)
        crowded = runnable * 100 > capacity * pct
        if self.nr > self.weight and (self.util * pct > capacity * 100 or crowded):
            self.kind = OVERLOADED
        elif smt_asked and self.is_core and self.waiting > 1:
            self.kind = SMT
        elif self.nr < self.weight or (not crowded and self.util * pct < capacity * 100):
            self.kind = SPARE
        else:
            self.kind = BUSY

    @property
    def rank(self) -> int:
        return ORDER.index(self.kind)


def spans(host: list[Cpu], me: int) -> list[list[int]]:
    """The CPU's own domains, lowest first, each with all that a smaller one has."""
    found = [[me]]
    for same in (lambda a, b: a.core == b.core, lambda a, b: a.llc == b.llc, lambda a, b: a.node == b.node, None):
        span = [i for i, cpu in enumerate(host) if same is None or same(cpu, host[me])]
        if len(span) > len(found[-1]):
            found.append(span)
    return found


def better(this: Group, best: Group) -> bool:
    """Whether to pull from `this` rather than from `best`."""
    if this.kind != best.kind:
        return this.rank > best.rank
    if this.kind == OVERLOADED:
        return this.mean_load > best.mean_load
    if this.kind == BUSY or (this.kind == SMT and not this.idle and not best.idle):
        return not best.is_core
    if this.kind == SPARE and this.is_core != best.is_core:
        return not this.is_core or this.waiting > 1
    return (-this.idle, this.nr) > (-best.idle, best.nr)


def excess_tasks(local: Group, busiest: Group) -> int:
    """How many tasks more the busiest group has, for the cores that each has."""
    if local.cores == busiest.cores:
        return max(busiest.nr - local.nr, 0)
    both = local.cores + busiest.cores
    excess = (2 * max(local.cores * busiest.nr - busiest.cores * local.nr, 0) + both) // both
    return 2 if excess <= 1 and local.nr == 0 and busiest.nr > 1 else excess


def find_source(host: list[Cpu], me: int, level: int, idle: bool) -> tuple[int, str, int] | None:
    """The CPU to pull from, what is counted, and how much of it; `level` counts the CPU's own domains from 1."""
    chain = spans(host, me)
    domain, mine = chain[level], chain[level - 1]
    one_core, one_cache = len({host[i].core for i in domain}) == 1, len({host[i].llc for i in domain}) == 1
    numa = len({host[i].node for i in domain}) > 1
    pct = 110 if one_core else 117
    rest, others = [i for i in domain if i not in mine], []
    start = rest.index(min((i for i in rest if i > min(mine)), default=min(rest)))
    for i in rest[start:] + rest[:start]:
        if not any(i in group.cpus for group in others):
            below = [span for span in spans(host, i) if len(span) < len(domain)][-1]
            others.append(Group(host, below, pct, idle))
    local, busiest = Group(host, mine, pct, False), None
    for group in others:
        if group.waiting and (busiest is None or better(group, busiest)):
            busiest = group
    if busiest is None or local.rank > busiest.rank:
        return None
    mean = sum(host[i].load for i in domain) // len(domain)
    if local.kind == OVERLOADED:
        if local.mean_load >= min(busiest.mean_load, mean) or 100 * busiest.mean_load <= pct * local.mean_load:
            return None
    prefers_spread = busiest.weight > 1
    wanted = excess_tasks(local, busiest) if idle else 0
    spread = prefers_spread and local.kind == SPARE and wanted > 1
    if not spread and busiest.kind != OVERLOADED:
        core_to_cpu = busiest.kind == SMT and not local.is_core
        if not idle:
            return None
        if not core_to_cpu and busiest.weight > 1 and local.idle <= busiest.idle + 1:
            return None
        if not core_to_cpu and busiest.waiting == 1:
            return None
    what, amount = how_much(local, busiest, idle, wanted, mean, one_cache, numa, numa_slack(host, me))
    if amount <= 0:
        return None
    src = fullest(host, busiest, what, amount)
    return None if src is None else (src, what, amount)


def numa_slack(host: list[Cpu], me: int) -> int:
    """How many tasks may run on a node before two more elsewhere count as an imbalance."""
    node = [cpu for cpu in host if cpu.node == host[me].node]
    caches = len(node) // sum(cpu.llc == host[me].llc for cpu in node)
    return max(1, len(node) // 8 if caches == 1 else caches)


def how_much(local, busiest, idle, wanted, mean, one_cache, numa, slack) -> tuple[str, int]:
    """What to count, and how much of it to pull."""
    if busiest.kind == SMT:
        return "task", 1
    if local.kind == SPARE:
        if busiest.kind == OVERLOADED and not one_cache:
            spare = max(1024 * local.weight - local.util, 0)
            return ("task", 1) if spare == 0 and idle else ("util", spare)
        if numa and local.nr + 1 <= slack and wanted <= 2:
            wanted = 0
        return "task", wanted // 2
    busiest_load = busiest.mean_load if busiest.kind == OVERLOADED else 0
    if local.mean_load >= min(busiest_load, mean):
        return "load", 0
    room = (mean - local.mean_load) * local.weight
    if busiest_load < mean:  # an unsigned difference in the kernel: huge
        return "load", room
    return "load", min((busiest_load - mean) * busiest.weight, room)


def fullest(host: list[Cpu], group: Group, what: str, amount: int) -> int | None:
    """The CPU of a group that has most of what is pulled."""
    best, most = None, 0
    for i in group.cpus:
        cpu = host[i]
        has = {"task": cpu.h_nr_runnable, "load": cpu.load, "util": min(max(cpu.util, cpu.runnable), 1024)}[what]
        lone = cpu.h_nr_runnable == 1
        if cpu.h_nr_runnable == 0 or (what == "load" and lone and has > amount) or (what == "util" and lone):
            continue
        if has > most:
            best, most = i, has
    return best
