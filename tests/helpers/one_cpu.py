"""One CPU of the compiled scheduler driven by hand: times in milliseconds, virtual time shifted to start at 0."""

from vcpu_env.base.jit import NIL
from vcpu_env.kernel.types import INITIAL_VRUNTIME
from vcpu_env.kernel.v6_19.entity import __dequeue_entity as tree_dequeue
from vcpu_env.kernel.v6_19.entity import __enqueue_entity as tree_enqueue
from vcpu_env.kernel.v6_19.entity import avg_vruntime, entity_eligible
from vcpu_env.trace.replay_sched import Player
from vcpu_env.trace.sched_scenario import load_scenario

MSEC = 1_000_000


def ns(ms: float) -> int:
    return round(ms * MSEC)


class OneCpu:
    """One CPU with tasks; `switches` and `picks` are logs of (time, task) in ms.

    Args:
        tasks: names, each with its group after a slash if it has one ("A", "G/b"); or dicts of the traces' format.
        groups: names, each with its parent group ("H", "G/H"), weight 1024; or dicts of the traces' format.
    """

    def __init__(self, *tasks, groups=(), hz=1000, **scenario):
        scenario = {"base_slice_ns": 2_800_000, "verbose_ticks": 1, "hz": hz, **scenario, "ops": []}
        scenario["tasks"] = [self.named(task, "group") for task in tasks]
        scenario["groups"] = [{"weight": 1024} | self.named(group, "parent") for group in groups]
        self.scenario = load_scenario(scenario)
        self.player = Player(self.scenario)
        self.world, self.w = self.scenario.world, self.scenario.world.handle
        self.now = 0.0
        self.switches: list[tuple[float, str]] = []
        self.picks: list[tuple[float, str]] = []
        self.tick_ms = 1000 / hz
        self.next_tick = self.tick_ms

    @staticmethod
    def named(item, upper):
        if isinstance(item, dict):
            return item
        above, _, name = item.rpartition("/")
        return {"id": name, upper: above or None}

    # Acting

    def follow(self, records) -> dict:
        """Let the events happen; returns the last record but `sched`."""
        last = {}
        for record in records:
            if record["ev"] == "sched":
                self.picks.append((record["t"] / MSEC, record["curr"]))
                if record["curr"] != record["prev"]:
                    self.switches.append(self.picks[-1])
            elif record["ev"] != "blocked":
                last = record
        return last

    def run_until(self, ms: float):
        """Pass time; ticks happen."""
        while self.next_tick <= ms:
            self.follow(self.player.tick(ns(self.next_tick)))
            self.next_tick += self.tick_ms
        self.now = ms
        return self

    def do(self, op: str, task: str, **details) -> int | None:
        record = self.follow(self.player.operation({"t": ns(self.now), "op": op, "task": task, **details}))
        assert "skip" not in record, f"{task} is not running"
        return record.get("ret")

    def wake(self, *tasks: str):
        for task in tasks:
            self.do("wake", task)
        return self

    def wake_together(self, *tasks: str):
        """Wake several on an idle CPU before it schedules: the pick sees them all."""
        for task in tasks:
            assert next(self.player.operation({"t": ns(self.now), "op": "wake", "task": task}))["ret"] == 1
        self.follow(self.player.reschedule(ns(self.now)))
        return self

    def yield_to(self, to: str) -> int | None:
        return self.do("yield_to", self.running, to=to)

    def yield_(self):
        self.do("yield", self.running)

    def block(self, **details):
        self.do("block", self.running, **details)

    def put(self, **places: tuple[float, float]):
        """Move queued entities to (vruntime, deadline)."""
        for name, (vruntime, deadline) in places.items():
            se, q = self.scenario.entities[name], int(self.se(name)["cfs_rq"])
            in_tree = int(self.world["cfs_rq"]["curr"][q]) != se
            if in_tree:
                tree_dequeue(self.w, q, se)
            self.se(name)["vruntime"] = INITIAL_VRUNTIME + ns(vruntime)
            self.se(name)["deadline"] = INITIAL_VRUNTIME + ns(deadline)
            if in_tree:
                tree_enqueue(self.w, q, se)
            else:
                self.se(name)["vlag"] = self.se(name)["deadline"]  # vprot: protected for its slice
        return self

    # Looking

    def se(self, name: str):
        return self.world["sched_entity"][self.scenario.entities[name]]

    def queue(self, name: str = "root"):
        return self.world["cfs_rq"][self.scenario.groups.get(name, 0)]

    def v(self, name: str) -> float:
        return int(self.se(name)["vruntime"] - INITIAL_VRUNTIME) / MSEC

    def d(self, name: str) -> float:
        return int(self.se(name)["deadline"] - INITIAL_VRUNTIME) / MSEC

    def vprot(self, name: str) -> float:
        return int(self.se(name)["vlag"] - INITIAL_VRUNTIME) / MSEC

    def vlag(self, name: str) -> float:
        return int(self.se(name)["vlag"]) / MSEC

    def V(self, queue: str = "root") -> float:  # noqa: N802
        return int(avg_vruntime(self.w, self.scenario.groups.get(queue, 0)) - INITIAL_VRUNTIME) / MSEC

    def eligible(self, name: str) -> bool:
        return bool(entity_eligible(self.w, int(self.se(name)["cfs_rq"]), self.scenario.entities[name]))

    def ran(self, name: str) -> float:
        return int(self.se(name)["sum_exec_runtime_ns"]) / MSEC

    def next(self, queue: str = "root") -> str | None:
        buddy = int(self.queue(queue)["next"])
        return None if buddy == NIL else self.player.recorder.names[buddy]

    @property
    def running(self) -> str:
        return self.player.recorder.curr

    @property
    def nr_running(self) -> int:
        return int(self.world["rq"]["nr_running"][0])
