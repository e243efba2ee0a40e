"""Plays a scenario (the recorded traces' format) with the twin and yields trace records."""

from collections.abc import Iterator

from .eevdf import Load, SchedEntity
from .scheduler import RemoteTask, Rq


def build(scenario: dict) -> Rq:
    rq = Rq(
        scenario["hz"],
        scenario["base_slice_ns"],
        scenario.get("normalized_base_slice_ns", 700_000),
        {name: bool(value) for name, value in scenario.get("features", {}).items()},
        lazy=scenario.get("preempt", "full") == "lazy",
        series=scenario.get("series", "none"),
    )
    rq.debooster.enabled = bool(scenario.get("vcpu_debooster_enabled", 1))
    for group in scenario["groups"]:
        rq.add_group(group["id"], group["parent"], group["weight"], bool(group.get("idle")))
    for task in scenario["tasks"]:
        load = Load.of_weight(task["weight"] << 10) if "weight" in task else Load.of_nice(task.get("nice", 0))
        policy = task.get("policy", "normal")
        rq.add_task(task["id"], task["group"], load, task.get("slice_ns"), task.get("nice", 0), policy)
    for task in scenario.get("remote_tasks", []):
        rq.tasks[task["id"]] = RemoteTask(task["id"], task["nr_running"])
    return rq


def queue_state(cfs_rq) -> dict:
    tree_weight = sum(se.weight for se in cfs_rq.tree)
    tree_sum = sum(se.weight * (se.vruntime - cfs_rq.zero_vruntime) for se in cfs_rq.tree)
    return {
        "avg_vruntime": cfs_rq.avg_vruntime(),
        "zero_vruntime": cfs_rq.zero_vruntime,
        "sum_wv": tree_sum,
        "sum_w": tree_weight,
        "nr_queued": cfs_rq.nr_queued,
        "h_nr_queued": cfs_rq.h_nr_queued,
        "h_nr_runnable": cfs_rq.h_nr_runnable,
        "h_nr_idle": cfs_rq.h_nr_idle,
        "load": cfs_rq.load_weight,
        "curr": cfs_rq.curr.name if cfs_rq.curr else None,
        "next": cfs_rq.next.name if cfs_rq.next else None,
    }


def entity_state(se: SchedEntity) -> dict:
    curr = se.cfs_rq.curr is se
    state = {
        "vruntime": se.vruntime,
        "deadline": se.deadline,
        "on_rq": int(se.on_rq),
        "delayed": int(se.sched_delayed),
        "curr": int(curr),
        "weight": se.load.weight,
        "slice": se.slice,
        "exec": se.sum_exec_runtime,
    }
    if se.on_rq:
        state["eligible"] = int(se.cfs_rq.eligible(se))
        if curr:
            state["vprot"] = se.vprot
    else:
        state["vlag"] = se.vlag
    return state


class Player:
    """One run of a scenario, op by op."""

    def __init__(self, scenario: dict):
        self.rq = build(scenario)
        self.tick_period = self.next_tick = 1_000_000_000 // scenario["hz"]
        self.verbose = bool(scenario.get("verbose_ticks"))
        self.last: dict[str, dict] = {"q": {}, "e": {}}
        self.count = 0

    def record(self, ev: str, settled: bool, **fields) -> dict:
        """One record; of queues and entities only those that changed since the record before."""
        rq = self.rq
        groups = rq.groups.values()
        local = [task for task in rq.tasks.values() if not isinstance(task, RemoteTask)]
        now = {
            "q": {"root": queue_state(rq.cfs)} | {group.name: queue_state(group.cfs_rq) for group in groups},
            "e": {item.name: entity_state(item.se) for item in [*groups, *local]},
        }
        changed = {part: {k: v for k, v in now[part].items() if self.last[part].get(k) != v} for part in now}
        self.last = now
        record = {"i": self.count, "t": rq.now, "ev": ev, **fields, "settled": int(settled)}
        record |= {"curr": rq.curr.name if rq.curr else "idle", "resched": int(rq.wants_resched())}
        record |= {"nr_running": rq.nr_running, **changed}
        if rq.debooster.version != "none":
            record["db"] = rq.debooster.state()
        self.count += 1
        return record

    def schedule(self) -> dict:
        prev = self.rq.curr.name if self.rq.curr else "idle"
        self.rq.schedule()
        return self.record("sched", True, task=self.rq.curr.name if self.rq.curr else "idle", prev=prev)

    def tick(self) -> Iterator[dict]:
        self.rq.tick()
        resched = self.rq.wants_resched()
        if self.verbose:
            yield self.record("tick", not resched)
        if resched:
            yield self.schedule()

    def step(self, op: dict) -> Iterator[dict]:
        """All ticks up to the op (one at the same instant comes first), then the op."""
        while self.next_tick <= op["t"]:
            self.rq.now = self.next_tick
            self.next_tick += self.tick_period
            yield from self.tick()
        self.rq.now = op["t"]
        yield from self.op(op)

    def op(self, op: dict) -> Iterator[dict]:
        rq, name = self.rq, op["op"]
        fields = {key: op[key] for key in ("task", "to", "group", "nice", "weight", "value") if key in op}
        task = rq.tasks[op["task"]] if "task" in op else None
        ev, must_schedule = name, False
        if name in ("block", "yield", "yield_to", "exit") and task is not rq.curr:
            yield self.record(name, True, **fields, skip=1)
            return
        if name == "wake":
            fields["ret"] = rq.wake(task, sync=bool(op.get("sync")))
        elif name == "fork":
            rq.fork(task)
        elif name in ("block", "exit"):
            rq.block(special=bool(op.get("special")), dead=name == "exit")
            ev, must_schedule = "blocked", True
        elif name == "yield":
            rq.yield_task()
            must_schedule = True
        elif name == "yield_to":
            fields["ret"], decision = rq.yield_to(rq.tasks[op["to"]])
            must_schedule = fields["ret"] == 1
            if must_schedule and rq.debooster.version != "none":
                fields["deboost"] = decision
        elif name == "renice":
            rq.renice(task, op["nice"])
        elif name == "shares":
            rq.set_shares(rq.groups[op["group"]], op["weight"])
        elif name == "debooster":
            rq.debooster.enabled = bool(op["value"])
        must_schedule = must_schedule or rq.wants_resched()
        yield self.record(ev, not must_schedule, **fields)
        if must_schedule:
            yield self.schedule()


def play(scenario: dict) -> Iterator[dict]:
    """Records of one scenario; every record holds the queues and entities that changed."""
    player = Player(scenario)
    yield player.record("init", True)
    for op in scenario["ops"]:
        yield from player.step(op)
