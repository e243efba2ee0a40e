"""What must hold after every event, looked at from outside in the compiled machine's arrays."""

import numpy as np

from tests.twin.eevdf import scale_load_down
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.v6_19.entity import avg_vruntime, vruntime_eligible
from vcpu_env.kvm.pcpu import GUEST, IDLE, POLL, TASK
from vcpu_env.machine import Machine


def rows(array: np.ndarray) -> list[dict]:
    """A struct array as plain integers."""
    names = array.dtype.names
    return [dict(zip(names, row, strict=True)) for row in array.tolist()]


class State:
    """The scheduler's arrays at one instant, with the sets that the invariants speak of."""

    def __init__(self, world):
        self.entities, self.queues = rows(world["sched_entity"]), rows(world["cfs_rq"])
        self.rq = rows(world["rq"])[0]
        self.V = [int(avg_vruntime(world.handle, q)) for q in range(len(self.queues))]
        self.queued = [
            [i for i, se in enumerate(self.entities) if se["on_rq"] and se["cfs_rq"] == q] for q in range(len(self.V))
        ]

    def weight(self, i: int) -> int:
        return scale_load_down(self.entities[i]["weight"])

    def tree(self, q: int) -> list[int]:
        """Entities of a queue's tree, in order."""

        def walk(i):
            if i == NIL:
                return []
            return walk(self.entities[i]["rb_left"]) + [i] + walk(self.entities[i]["rb_right"])

        return walk(self.queues[q]["rb_root"])

    def chain(self, i: int) -> list[int]:
        return [] if i == NIL else [i, *self.chain(self.entities[i]["parent"])]

    def tasks_below(self, q: int) -> list[int]:
        """Queued tasks anywhere below a queue."""
        below = []
        for i in self.queued[q]:
            my_q = self.entities[i]["my_q"]
            below += [i] if my_q == NIL else self.tasks_below(my_q)
        return below


def check_average(state: State, world):
    """I1, I2, I3: V is the weighted mean rounded down, so V is eligible and with it whoever is behind it."""
    for q, members in enumerate(state.queued):
        if members:
            total = sum(state.weight(i) for i in members)
            ahead = sum(state.weight(i) * (state.entities[i]["vruntime"] - state.V[q]) for i in members)
            assert 0 <= ahead < total, "I1"
            assert min(state.entities[i]["vruntime"] for i in members) <= state.V[q], "I2"
            assert vruntime_eligible(world.handle, q, state.V[q]), "I3"


def check_tree(state: State):
    """I4, I5, and the tree's own order and aggregate."""
    for q, queue in enumerate(state.queues):
        tree, members = state.tree(q), state.queued[q]
        deadlines = [state.entities[i]["deadline"] for i in tree]
        assert deadlines == sorted(deadlines)
        assert queue["rb_leftmost"] == (tree[0] if tree else NIL)
        assert set(tree) == set(members) - {queue["curr"]}, "I4"
        if tree:
            least = min(state.entities[i]["vruntime"] for i in tree)
            assert state.entities[queue["rb_root"]]["min_vruntime"] == least
        if queue["next"] != NIL:
            buddy = state.entities[queue["next"]]
            assert buddy["on_rq"] and not buddy["sched_delayed"] and buddy["cfs_rq"] == q, "I4"
        assert queue["nr_queued"] == len(members), "I5"
        assert queue["load_weight"] == sum(state.entities[i]["weight"] for i in members), "I5"
        assert queue["avg_load"] == sum(state.weight(i) for i in tree)
        keys = sum(state.weight(i) * (state.entities[i]["vruntime"] - queue["zero_vruntime"]) for i in tree)
        assert queue["avg_vruntime"] == keys


def check_counts(state: State):
    """I6: the hierarchical counters are those of the tasks below."""
    for q, queue in enumerate(state.queues):
        below = state.tasks_below(q)
        delayed = sum(state.entities[i]["sched_delayed"] for i in below)
        assert queue["h_nr_queued"] == len(below), "I6"
        assert queue["h_nr_queued"] - queue["h_nr_runnable"] == delayed, "I6"
    assert state.rq["nr_running"] == state.queues[0]["h_nr_queued"], "I6"


def next_event_ns(machine: Machine) -> int:
    return int(machine.world["event"]["when_ns"].min())


def check_run_queues(state: State, world):
    """I6 on every CPU: a CPU counts the tasks below its root queue, and runs one of them."""
    for cpu, rq in enumerate(world["rq"]):
        below = state.tasks_below(cpu)
        assert rq["nr_running"] == len(below) == state.queues[cpu]["h_nr_queued"]
        delayed = sum(state.entities[i]["sched_delayed"] for i in below)
        assert state.queues[cpu]["h_nr_runnable"] == len(below) - delayed
        assert all(world["task_struct"]["cpu"][i] == cpu for i in below)
        if rq["curr"] != NIL:
            assert rq["curr"] in below


def check_cpus(world):
    """A CPU's mode fits to its task: none, a vCPU, or another; a vCPU is in guest mode on one CPU at most, its own."""
    nr_vcpus = len(world["kvm_vcpu"])
    for cpu, (pc, curr) in enumerate(zip(world["pcpu"], world["rq"]["curr"].tolist(), strict=True)):
        vcpu = curr if curr < nr_vcpus else NIL
        assert (pc["mode"] == IDLE) == (curr == NIL)
        assert pc["vcpu"] == vcpu
        if pc["mode"] in (GUEST, POLL):
            assert vcpu != NIL
        if pc["mode"] == TASK:
            assert curr >= nr_vcpus
        in_guest = [v for v, g in enumerate(world["guest_vcpu"]) if g["cpu"] == cpu]
        assert in_guest == ([vcpu] if pc["mode"] == GUEST else [])


def check_flags(world):
    """The flags of kvm_vcpu_on_spin(): who has a CPU is neither preempted nor ready; who is blocked is not queued."""
    for v, vcpu in enumerate(world["kvm_vcpu"]):
        loaded = world["lapic"]["cpu"][v] != NIL
        assert loaded == (v in world["pcpu"]["vcpu"])
        if loaded:
            assert not vcpu["preempted"] and not vcpu["ready"] and not vcpu["blocking"]
        if vcpu["asleep"]:
            assert vcpu["blocking"] and world["task_struct"]["state"][v] != 0
        if vcpu["parked"]:
            assert vcpu["in_spin_loop"] and vcpu["preempted"]


def throttled_levels(world, q: int) -> int:
    """How many of a queue and those above it on its CPU are throttled."""
    tg, cpu = divmod(q, len(world["rq"]))
    levels = 0
    while tg != NIL:
        levels += int(world["cfs_rq_bandwidth"]["throttled"][tg * len(world["rq"]) + cpu])
        tg = int(world["task_group"]["parent"][tg])
    return levels


def check_limbo(world, q: int, levels: int) -> list[int]:
    """The tasks in a queue's limbo list: runnable, not queued, below a throttled queue."""
    limbo, p = [], int(world["cfs_rq_bandwidth"]["throttled_limbo"][q])
    while p != NIL:
        assert levels > 0 and p not in limbo
        assert world["sched_entity"]["cfs_rq"][p] == q
        assert not world["sched_entity"]["on_rq"][p] and not world["sched_entity"]["sched_delayed"][p]
        limbo.append(p)
        p = int(world["task_struct"]["throttle_next"][p])
    return limbo


def check_throttled_list(world, tg: int) -> None:
    """A group's list holds its throttled queues, each once, and can be walked both ways."""
    queues, pool, nr_cpus = world["cfs_rq_bandwidth"], world["cfs_bandwidth"][tg], len(world["rq"])
    listed, before, q = [], NIL, int(pool["throttled_head"])
    while q != NIL:
        assert queues["throttled_prev"][q] == before
        listed.append(q)
        before, q = q, int(queues["throttled_next"][q])
    assert pool["throttled_tail"] == before
    assert sorted(listed) == [q for q in range(tg * nr_cpus, (tg + 1) * nr_cpus) if queues["throttled"][q]]
    assert pool["runtime_ns"] >= 0


def check_throttling(world) -> None:
    """What must hold of bandwidth control after every event."""
    queues, cfs = world["cfs_rq_bandwidth"], world["cfs_rq"]
    limbo: list[int] = []
    for q, queue in enumerate(queues):
        levels = throttled_levels(world, q)
        assert cfs["throttle_count"][q] == levels
        assert queue["pelt_clock_throttled"] == (levels > 0 and cfs["nr_queued"][q] == 0)
        if queue["throttled"]:
            assert cfs["runtime_enabled"][q] and (queue["runtime_remaining_ns"] <= 0 or queue["csd_queued"])
        limbo += check_limbo(world, q, levels)
    unqueued = (world["task_struct"]["on_rq"] != 0) & (world["sched_entity"]["on_rq"][: len(world["task_struct"])] == 0)
    assert sorted(limbo) == [p for p, yes in enumerate(unqueued) if yes]
    for tg in range(1, len(world["cfs_bandwidth"])):
        check_throttled_list(world, tg)


def assert_scheduler(world) -> State:
    """What must hold of the scheduler after every event, whatever runs; returns what was looked at."""
    state = State(world)
    check_average(state, world)
    check_tree(state)
    check_run_queues(state, world)
    if "cfs_bandwidth" in world.arrays:
        check_throttling(world)
    return state


def assert_invariants(machine: Machine) -> State:
    """What must hold of a machine with VMs after every event."""
    state = assert_scheduler(machine.world)
    check_cpus(machine.world)
    check_flags(machine.world)
    return state
