"""The fair class on one CPU: tasks in a hierarchy of groups, sleep and wake, ticks, yields, schedule()."""

from .debooster import Debooster, find_matching_se
from .eevdf import FEATURES, CfsRq, Load, SchedEntity, calc_delta_fair, set_next_buddy
from .tasks import RemoteTask, Task, TaskGroup

WEIGHT_IDLEPRIO = 3 << 10


class Rq:
    """One CPU's run queue. Time passes only by assigning `now`; the clock follows where the kernel reads it."""

    def __init__(self, hz, base_slice, normalized_base_slice=700_000, features=(), lazy=False, series="none"):
        self.now = self.clock = 0
        self.tick_ns = (1_000_000_000 + hz // 2) // hz
        self.base_slice = base_slice
        self.normalized_base_slice = normalized_base_slice
        self.features = FEATURES | dict(features)
        self.lazy = lazy
        self.cfs = CfsRq("root", self)
        self.curr: Task | None = None  # None: the idle task
        self.nr_running = 0
        self.need_resched = self.need_resched_lazy = False
        self.debooster = Debooster(series)
        self.tasks: dict[str, Task | RemoteTask] = {}
        self.groups: dict[str, TaskGroup] = {}

    # Construction

    def add_group(self, name: str, parent: str | None, weight: int, idle: bool = False):
        """A group's entity has weight 1024 until it is first enqueued; its slice is then its queue's shortest."""
        above = self.groups[parent] if parent is not None else None
        queue = CfsRq(name, self, idle=idle)
        cfs_rq = above.cfs_rq if above else self.cfs
        se = SchedEntity(name, Load.of_weight(1 << 20), 0, cfs_rq, above.se if above else None, queue, idle=idle)
        self.groups[name] = TaskGroup(name, WEIGHT_IDLEPRIO if idle else weight << 10, se, queue)

    def add_task(self, name: str, group: str | None, load: Load, slice_ns: int | None = None, nice=0, policy="normal"):
        above = self.groups[group] if group is not None else None
        if policy == "idle":
            load = Load.of_weight(WEIGHT_IDLEPRIO)
        custom = slice_ns is not None
        slice_ns = min(max(slice_ns, 100_000), 100_000_000) if custom else self.base_slice
        cfs_rq = above.cfs_rq if above else self.cfs
        se = SchedEntity(name, load, slice_ns, cfs_rq, above.se if above else None, custom_slice=custom)
        se.idle = policy == "idle"
        self.tasks[name] = Task(name, se, self, nice, policy)

    # Clock and the reschedule flags

    def update_clock(self):
        self.clock = self.now

    def resched_curr(self):
        self.need_resched = True

    def resched_curr_lazy(self):
        if self.lazy:
            self.need_resched_lazy = True
        else:
            self.resched_curr()

    def wants_resched(self) -> bool:
        return self.need_resched or self.need_resched_lazy

    # Enqueue

    def update_cfs_group(self, se: SchedEntity):
        """On one CPU a group's entity carries all of the group's shares."""
        if se.my_q is None or se.my_q.load_weight == 0:
            return
        shares = self.groups[se.name].shares
        if se.load.weight != shares:
            se.cfs_rq.reweight_entity(se, Load.of_weight(shares))

    def enqueue_entity(self, se: SchedEntity, initial: bool):
        cfs_rq = se.cfs_rq
        if cfs_rq.curr is se:
            cfs_rq.place_entity(se, initial)
        cfs_rq.update_curr()
        self.update_cfs_group(se)
        if cfs_rq.curr is not se:
            cfs_rq.place_entity(se, initial)
        cfs_rq.load_weight += se.load.weight
        cfs_rq.nr_queued += 1
        if cfs_rq.curr is not se:
            cfs_rq.tree_insert(se)
        se.on_rq = True

    def enqueue_task(self, p: Task, initial: bool = False, wakeup: bool = True):
        """Bottom-up: enqueue each level that is not queued yet; the levels above only learn counts and slice."""
        idle = p.policy == "idle"
        runnable = not (p.se.sched_delayed and not wakeup)  # a delayed task that is merely requeued stays delayed
        slice_below = 0
        joining = True
        for se in p.se.chain():
            if joining and se.on_rq:
                joining = False
                if se.sched_delayed:
                    self.requeue_delayed_entity(se)
            if joining:
                if slice_below:
                    se.slice = slice_below
                    se.custom_slice = True
                self.enqueue_entity(se, initial)
                initial = False
            else:
                self.update_cfs_group(se)
                se.slice = slice_below
            cfs_rq = se.cfs_rq
            slice_below = cfs_rq.min_slice()
            cfs_rq.h_nr_runnable += runnable
            cfs_rq.h_nr_queued += 1
            cfs_rq.h_nr_idle += idle
            idle = idle or cfs_rq.idle
        self.nr_running += 1

    def requeue_delayed_entity(self, se: SchedEntity):
        """A delayed entity is wanted again. Judged without update_curr(): the lag may be stale."""
        cfs_rq = se.cfs_rq
        if self.features["DELAY_ZERO"]:
            cfs_rq.update_entity_lag(se)
            if se.vlag > 0:
                cfs_rq.nr_queued -= 1
                if cfs_rq.curr is not se:
                    cfs_rq.tree_remove(se)
                se.vlag = 0
                cfs_rq.place_entity(se)
                if cfs_rq.curr is not se:
                    cfs_rq.tree_insert(se)
                cfs_rq.nr_queued += 1
        self.set_delayed(se, False)

    def set_delayed(self, se: SchedEntity, delayed: bool):
        se.sched_delayed = delayed
        if se.my_q is None:
            for entity in se.chain():
                entity.cfs_rq.h_nr_runnable += -1 if delayed else 1

    # Dequeue

    def dequeue_entity(self, se: SchedEntity, sleep: bool, special: bool, delayed: bool) -> bool:
        """False: `se` sleeps owing service, so it stays in the competition until it has paid (delayed dequeue)."""
        cfs_rq = se.cfs_rq
        cfs_rq.update_curr()
        cfs_rq.clear_buddies(se)
        may_delay = self.features["DELAY_DEQUEUE"] and sleep and not special and not delayed
        if may_delay and not cfs_rq.eligible(se):
            self.set_delayed(se, True)
            return False
        cfs_rq.update_entity_lag(se)
        if self.features["PLACE_REL_DEADLINE"] and not sleep:
            se.deadline -= se.vruntime
            se.rel_deadline = True
        if cfs_rq.curr is not se:
            cfs_rq.tree_remove(se)
        se.on_rq = False
        cfs_rq.load_weight -= se.load.weight
        cfs_rq.nr_queued -= 1
        self.update_cfs_group(se)
        if delayed:
            self.set_delayed(se, False)
            if self.features["DELAY_ZERO"]:
                se.vlag = min(se.vlag, 0)
        return True

    def dequeue_entities(self, se: SchedEntity, sleep: bool, special: bool = False, delayed: bool = False) -> bool:
        """Take `se` out, and every ancestor that becomes empty. False: the task itself stays, delayed."""
        is_task = se.my_q is None
        h_nr_queued = h_nr_runnable = h_nr_idle = 0
        if is_task:
            h_nr_queued = 1
            h_nr_idle = int(self.tasks[se.name].policy == "idle")
            h_nr_runnable = int(sleep or delayed or not se.sched_delayed)
        task_sleep = sleep
        slice_below = 0
        leaving = True
        for entity in se.chain():
            cfs_rq = entity.cfs_rq
            if leaving and not self.dequeue_entity(entity, sleep, special, delayed):
                if is_task and entity is se:
                    return False
                slice_below = cfs_rq.min_slice()
                leaving = False
            if not leaving:
                self.update_cfs_group(entity)
                entity.slice = slice_below
                slice_below = cfs_rq.min_slice()
            cfs_rq.h_nr_runnable -= h_nr_runnable
            cfs_rq.h_nr_queued -= h_nr_queued
            cfs_rq.h_nr_idle -= h_nr_idle
            if cfs_rq.idle:
                h_nr_idle = h_nr_queued
            if leaving and cfs_rq.load_weight:
                slice_below = cfs_rq.min_slice()
                leaving = False
                if task_sleep and entity.parent:
                    set_next_buddy(entity.parent)
            sleep, special, delayed = True, False, False
        self.nr_running -= h_nr_queued
        if is_task and task_sleep:
            self.tasks[se.name].on_rq = False
        return True

    # Wakeups and preemption

    def wake(self, p: Task, sync: bool = False) -> int:
        """try_to_wake_up(): 0 already runnable, 1 woken, 2 its dequeue was still delayed."""
        if p.state == "running" or p.state == "dead":
            return 0
        self.update_clock()
        requeue = p.on_rq
        if requeue:
            self.requeue_delayed_entity(p.se)
        else:
            self.enqueue_task(p)
            p.on_rq = True
        p.state = "running"
        self.wakeup_preempt(p, sync=sync)
        return 2 if requeue else 1

    def fork(self, p: Task):
        self.update_clock()
        p.state = "running"
        self.enqueue_task(p, initial=True, wakeup=False)
        p.on_rq = True
        self.wakeup_preempt(p, fork=True)

    def wakeup_preempt(self, p: Task, sync: bool = False, fork: bool = False):
        """check_preempt_wakeup_fair(): does the wakee run at once?"""
        if self.curr is None:
            self.resched_curr()
            return
        if self.curr is p or self.need_resched or not self.features["WAKEUP_PREEMPTION"]:
            return
        se, pse = find_matching_se(self.curr.se, p.se)
        if se.idle and not pse.idle:
            se.cancel_protect_slice()
            self.resched_curr_lazy()
            return
        if se.idle != pse.idle or p.policy != "normal":
            return
        cfs_rq = se.cfs_rq
        cfs_rq.update_curr()
        short = self.features["PREEMPT_SHORT"] and pse.slice < se.slice
        if not short:
            if fork or pse.sched_delayed:
                return
            if self.features["NEXT_BUDDY"] and not (cfs_rq.next and cfs_rq.next.deadline < pse.deadline):
                set_next_buddy(pse)
                if sync:
                    return  # curr has just been charged, so preempt_sync() never sees it run long enough
        if cfs_rq.pick(protect=not short) is pse:
            if short:
                se.cancel_protect_slice()
            self.resched_curr_lazy()
        elif self.features["RUN_TO_PARITY"]:
            cfs_rq.update_protect_slice(se)

    # Tick, block, weights

    def tick(self):
        self.update_clock()
        if self.need_resched_lazy:
            self.resched_curr()
        if self.curr:
            for se in self.curr.se.chain():
                se.cfs_rq.update_curr()
                self.update_cfs_group(se)

    def block(self, special: bool = False, dead: bool = False):
        """The first half of schedule() for a current task that goes to sleep (or exits)."""
        self.update_clock()
        assert self.curr is not None
        self.curr.state = "dead" if dead else "sleeping"
        self.dequeue_entities(self.curr.se, sleep=True, special=special or dead)

    def renice(self, p: Task, nice: int):
        """set_user_nice(): out of the queue, new weight, in again, with lag and relative deadline kept."""
        if p.nice == nice:
            return
        self.update_clock()
        queued, running = p.on_rq, p is self.curr
        if queued:
            self.dequeue_entities(p.se, sleep=False)
        if running:
            for se in p.se.chain():
                se.cfs_rq.put_prev_entity(se)
        load = p.se.load if p.policy == "idle" else Load.of_nice(nice)
        p.se.cfs_rq.reweight_entity(p.se, load)
        worse, p.nice = nice > p.nice, nice
        if queued:
            self.enqueue_task(p, wakeup=False)
        if running:
            for se in p.se.chain():
                se.cfs_rq.set_next_entity(se)
        if not queued or self.cfs.nr_queued == 1:
            return
        if not running:
            self.wakeup_preempt(p)
        elif worse:
            self.resched_curr()

    def set_shares(self, group: TaskGroup, weight: int):
        if group.se.idle or group.shares == weight << 10:
            return
        self.update_clock()
        group.shares = weight << 10
        for se in group.se.chain():
            self.update_cfs_group(se)

    # Yields

    def yield_task(self) -> bool:
        """yield_task_fair(): an eligible yielder forfeits the rest of its slice, in its own queue only."""
        if self.nr_running == 1:
            return False
        assert self.curr is not None
        se = self.curr.se
        cfs_rq = se.cfs_rq
        cfs_rq.clear_buddies(se)
        self.update_clock()
        cfs_rq.update_curr()
        if not cfs_rq.eligible(se):
            return False
        se.vruntime = se.deadline
        se.deadline += calc_delta_fair(se.slice, se.load)
        return True

    def yield_to(self, p: Task | RemoteTask) -> tuple[int, dict | None]:
        """1 hinted, 0 refused, -3 pointless; and what the debooster decided."""
        remote = isinstance(p, RemoteTask)
        if self.nr_running == 1 and (p.nr_running if remote else self.nr_running) == 1:
            return -3, None
        if not remote:
            if p is self.curr or p.state != "running":
                return 0, None
            set_next_buddy(p.se)
        decision = self.debooster.yield_to(self, p) if self.debooster.version != "none" else {}
        decision["forfeit"] = int(self.yield_task())
        return 1, decision

    # schedule()

    def pick_task(self) -> Task | None:
        """From the root down; a picked entity whose dequeue was delayed leaves now, and the search starts again."""
        while self.cfs.nr_queued:
            cfs_rq: CfsRq | None = self.cfs
            while cfs_rq is not None:
                if cfs_rq.running():
                    cfs_rq.update_curr()
                se = cfs_rq.pick()
                if se.sched_delayed:
                    self.dequeue_entities(se, sleep=True, delayed=True)
                    break
                cfs_rq = se.my_q
            else:
                return self.tasks[se.name]
        return None

    def schedule(self):
        """The second half of schedule(): pick, and switch only the levels on which the choice differs."""
        self.update_clock()
        prev, chosen = self.curr, self.pick_task()
        if prev is not chosen:
            old = list(prev.se.chain()) if prev else []
            new = list(chosen.se.chain()) if chosen else []
            while len(old) > 1 and len(new) > 1 and old[-1] is new[-1]:
                old.pop()
                new.pop()
            for se in old:
                se.cfs_rq.put_prev_entity(se)
            for se in new:
                se.cfs_rq.set_next_entity(se)
        self.curr = chosen
        self.need_resched = self.need_resched_lazy = False
