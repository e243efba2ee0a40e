"""EEVDF on one queue: weights, entities, virtual time, lag, placement, protection and the pick.

Virtual times are unbounded signed integers (the kernel's u64 read as a signed number); `debooster` alone needs the u64.
"""

from dataclasses import dataclass, field

NICE_0_LOAD = 1 << 20
ORIGIN = -(1 << 20)  # zero_vruntime of a new queue
NO_SLICE = (1 << 64) - 1

# fmt: off
PRIO_TO_WEIGHT = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
    9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137,
    110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
]
PRIO_TO_WMULT = [
    48388, 59856, 76040, 92818, 118348, 147320, 184698, 229616, 287308, 360437,
    449829, 563644, 704093, 875809, 1099582, 1376151, 1717300, 2157191, 2708050, 3363326,
    4194304, 5237765, 6557202, 8165337, 10153587, 12820798, 15790321, 19976592, 24970740, 31350126,
    39045157, 49367440, 61356676, 76695844, 95443717, 119304647, 148102320, 186737708, 238609294, 286331153,
]
# fmt: on

FEATURES = {
    "PLACE_LAG": True,
    "PLACE_DEADLINE_INITIAL": True,
    "PLACE_REL_DEADLINE": True,
    "RUN_TO_PARITY": True,
    "PREEMPT_SHORT": True,
    "NEXT_BUDDY": False,
    "PICK_BUDDY": True,
    "DELAY_DEQUEUE": True,
    "DELAY_ZERO": True,
    "WAKEUP_PREEMPTION": True,
}


def truncated(dividend: int, divisor: int) -> int:
    """C division."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def scale_load_down(weight: int) -> int:
    return max(2, weight >> 10) if weight else 0


@dataclass
class Load:
    """A weight in scaled units and its 32-bit reciprocal."""

    weight: int
    inv_weight: int

    @classmethod
    def of_weight(cls, weight: int) -> "Load":
        return cls(weight, 0xFFFFFFFF // scale_load_down(weight))

    @classmethod
    def of_nice(cls, nice: int) -> "Load":
        return cls(PRIO_TO_WEIGHT[nice + 20] << 10, PRIO_TO_WMULT[nice + 20])


def calc_delta_fair(delta: int, load: Load) -> int:
    """Wall time to virtual time: delta * 1024 / weight, through the 32-bit reciprocal as the kernel does."""
    if load.weight == NICE_0_LOAD:
        return delta
    product = 1024 * load.inv_weight
    lost_bits = (product >> 32).bit_length()
    return delta * (product >> lost_bits) >> (32 - lost_bits)


@dataclass(eq=False)
class SchedEntity:
    """A task's or a group's share in one queue."""

    name: str
    load: Load
    slice: int
    cfs_rq: "CfsRq"  # the queue it stands in
    parent: "SchedEntity | None" = None
    my_q: "CfsRq | None" = None  # a group's own queue
    custom_slice: bool = False
    idle: bool = False  # SCHED_IDLE, or cpu.idle
    vruntime: int = 0
    deadline: int = 0
    vlag: int = 0
    on_rq: bool = False
    sched_delayed: bool = False
    rel_deadline: bool = False
    exec_start: int = 0
    sum_exec_runtime: int = 0

    @property
    def vprot(self) -> int:
        """Protection limit. In v6.19 a union with vlag: writing either destroys the other."""
        return self.vlag

    @vprot.setter
    def vprot(self, value: int):
        self.vlag = value

    @property
    def weight(self) -> int:
        return scale_load_down(self.load.weight)

    def chain(self):
        """The entity and its ancestors, bottom-up."""
        se: SchedEntity | None = self
        while se is not None:
            yield se
            se = se.parent

    def protect_slice(self) -> bool:
        return self.vprot > self.vruntime

    def cancel_protect_slice(self):
        if self.protect_slice():
            self.vprot = self.vruntime


def set_next_buddy(se: SchedEntity):
    for entity in se.chain():
        if entity.idle:
            return
        entity.cfs_rq.next = entity


@dataclass(eq=False)
class CfsRq:
    """One queue: a tree ordered by deadline (here a list), and curr, which stands outside the tree."""

    name: str
    rq: object  # clock, tunables, resched_curr_lazy()
    idle: bool = False  # cpu.idle of its group
    tree: list[SchedEntity] = field(default_factory=list)
    curr: SchedEntity | None = None
    next: SchedEntity | None = None
    nr_queued: int = 0
    h_nr_queued: int = 0
    h_nr_runnable: int = 0
    h_nr_idle: int = 0
    load_weight: int = 0
    zero_vruntime: int = ORIGIN

    # Virtual time

    def running(self) -> SchedEntity | None:
        return self.curr if self.curr and self.curr.on_rq else None

    def competitors(self) -> list[SchedEntity]:
        """The tree and curr. While curr is being put back it is in both, and counts twice."""
        return self.tree + ([self.curr] if self.running() else [])

    def avg_vruntime(self) -> int:
        """V: the weighted mean of vruntime, floored. With nobody queued, wherever the last tree operation left it."""
        total = sum(se.weight for se in self.competitors())
        if not total:
            return self.zero_vruntime
        return sum(se.weight * se.vruntime for se in self.competitors()) // total

    def eligible(self, se: SchedEntity) -> bool:
        """Owed service: vruntime <= V, without the division."""
        total = sum(other.weight for other in self.competitors())
        return sum(other.weight * other.vruntime for other in self.competitors()) >= se.vruntime * total

    def min_slice(self) -> int:
        return min((se.slice for se in self.competitors()), default=NO_SLICE)

    def tree_insert(self, se: SchedEntity):
        """Equal deadlines stay in order of insertion."""
        later = [i for i, other in enumerate(self.tree) if other.deadline > se.deadline]
        self.tree.insert(later[0] if later else len(self.tree), se)
        self.zero_vruntime = self.avg_vruntime()

    def tree_remove(self, se: SchedEntity):
        self.tree.remove(se)
        self.zero_vruntime = self.avg_vruntime()

    # Lag and placement

    def update_entity_lag(self, se: SchedEntity):
        limit = calc_delta_fair(max(2 * se.slice, self.rq.tick_ns), se.load)
        se.vlag = max(-limit, min(limit, self.avg_vruntime() - se.vruntime))

    def place_entity(self, se: SchedEntity, initial: bool = False):
        """Choose where `se` joins the competition so that after joining its lag is what it was."""
        if not se.custom_slice:
            se.slice = self.rq.base_slice
        vslice = calc_delta_fair(se.slice, se.load)
        lag = 0
        if self.rq.features["PLACE_LAG"] and self.nr_queued and se.vlag:
            others = sum(other.weight for other in self.competitors())
            lag = truncated(se.vlag * (others + se.weight), max(others, 1))
        se.vruntime = self.avg_vruntime() - lag
        if se.rel_deadline:
            se.deadline += se.vruntime
            se.rel_deadline = False
            return
        if self.rq.features["PLACE_DEADLINE_INITIAL"] and initial:
            vslice //= 2
        se.deadline = se.vruntime + vslice

    def reweight_entity(self, se: SchedEntity, load: Load):
        on_tree = se.on_rq and self.curr is not se
        if se.on_rq:
            self.update_curr()
            self.update_entity_lag(se)
            se.deadline -= se.vruntime
            se.rel_deadline = True
            self.nr_queued -= 1
            if on_tree:
                self.tree_remove(se)
            self.load_weight -= se.load.weight
        se.vlag = truncated(se.vlag * se.load.weight, load.weight)
        if se.rel_deadline:
            se.deadline = truncated(se.deadline * se.load.weight, load.weight)
        se.load = load
        if se.on_rq:
            self.place_entity(se)
            self.load_weight += se.load.weight
            if on_tree:
                self.tree_insert(se)
            self.nr_queued += 1

    # The running entity

    def update_curr(self):
        """Charge curr for the time since it was last charged; ask to reschedule if its slice or protection is over."""
        curr = self.curr
        if curr is None or self.rq.clock <= curr.exec_start:
            return
        delta = self.rq.clock - curr.exec_start
        curr.exec_start = self.rq.clock
        curr.sum_exec_runtime += delta
        curr.vruntime += calc_delta_fair(delta, curr.load)
        slice_over = curr.vruntime >= curr.deadline
        if slice_over:
            if not curr.custom_slice:
                curr.slice = self.rq.base_slice
            curr.deadline = curr.vruntime + calc_delta_fair(curr.slice, curr.load)
        if self.nr_queued > 1 and (slice_over or not curr.protect_slice()):
            self.rq.resched_curr_lazy()
            self.clear_buddies(curr)

    def set_protect_slice(self, se: SchedEntity):
        """Protect `se` for the shortest slice among the others (itself included); called with `se` outside the tree."""
        shortest = self.min_slice() if self.rq.features["RUN_TO_PARITY"] else self.rq.normalized_base_slice
        se.vprot = se.deadline
        if shortest < se.slice:
            se.vprot = min(se.deadline, se.vruntime + calc_delta_fair(shortest, se.load))

    def update_protect_slice(self, se: SchedEntity):
        se.vprot = min(se.vprot, se.vruntime + calc_delta_fair(self.min_slice(), se.load))

    def set_next_entity(self, se: SchedEntity):
        self.clear_buddies(se)
        if se.on_rq:
            self.tree_remove(se)
            self.set_protect_slice(se)
        se.exec_start = self.rq.clock
        self.curr = se

    def put_prev_entity(self, se: SchedEntity):
        if se.on_rq:
            self.update_curr()
            self.tree_insert(se)
        self.curr = None

    def clear_buddies(self, se: SchedEntity):
        """Withdraw the hint at `se`, here and upwards as long as the hint comes this way."""
        for entity in se.chain():
            if entity.cfs_rq.next is not entity:
                return
            entity.cfs_rq.next = None

    def pick(self, protect: bool = True) -> SchedEntity:
        """The eligible entity with the earliest deadline; before it the buddy, then curr while protected."""
        curr = self.running()
        if self.nr_queued == 1:
            return curr or self.tree[0]
        if self.rq.features["PICK_BUDDY"] and self.next and self.eligible(self.next):
            return self.next
        if curr and not self.eligible(curr):
            curr = None
        if curr and protect and curr.protect_slice():
            return curr
        best = next((se for se in self.tree if self.eligible(se)), None)
        if best is None or (curr and curr.deadline < best.deadline):
            best = curr
        assert best is not None, f"nobody is eligible in {self.name}"
        return best
