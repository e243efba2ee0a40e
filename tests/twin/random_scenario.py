"""Random scenarios that keep a CPU busy: the twin plays along, so that most ops name the task that is running."""

from random import Random

from .play import Player

MSEC = 1_000_000


def random_scenario(rng: Random, ops: int = 150, series: str = "none", features: bool = False) -> dict:
    """A scenario with groups up to depth 3, in a trace's format. Slices are the default: `twin` has no stale min_slice.

    Args:
        series: "none", "v1" or "v2".
        features: also toggle scheduler features, lazy preemption, idle policies and idle groups.
    """
    groups: list[dict] = []
    depth: dict[str | None, int] = {None: 0}
    for number in range(rng.choice([0, 1, 2, 3, 5])):
        parent = rng.choice([name for name in depth if depth[name] < 3])
        depth[f"g{number}"] = depth[parent] + 1
        group = {"id": f"g{number}", "parent": parent, "weight": rng.choice([1024, 1024, 100, 512, 2048, 10240])}
        idle = features and rng.random() < 0.15
        groups.append(group | {"weight": 3, "idle": True} if idle else group)
    tasks: list[dict] = []
    for number in range(rng.randint(2, 9)):
        task = {"id": f"t{number}", "group": rng.choice(list(depth))}
        task |= rng.choice([{"nice": 0}, {"nice": 0}, {"nice": rng.randint(-20, 19)}, {"weight": rng.randint(2, 9999)}])
        if features and "weight" not in task:
            task["policy"] = rng.choice(["normal", "normal", "batch", "idle"])
        tasks.append(task)
    scenario = {
        "name": "random",
        "hz": rng.choice([1000, 1000, 250]),
        "base_slice_ns": rng.choice([2_800_000, 2_800_000, 700_000, 3_000_000]),
        "normalized_base_slice_ns": 700_000,
        "preempt": rng.choice(["full", "lazy"]) if features else "full",
        "verbose_ticks": rng.choice([0, 1]),
        "series": series,
        "features": {},
        "groups": groups,
        "tasks": tasks,
        "ops": [],
    }
    if features:
        toggled = {"NEXT_BUDDY": 1, "RUN_TO_PARITY": 0, "PLACE_LAG": 0, "DELAY_DEQUEUE": 0, "DELAY_ZERO": 0}
        toggled |= {"PLACE_DEADLINE_INITIAL": 0, "PLACE_REL_DEADLINE": 0, "WAKEUP_PREEMPTION": 0, "PICK_BUDDY": 0}
        scenario["features"] = {name: value for name, value in toggled.items() if rng.random() < 0.2}
    player = Player(scenario)
    t = 0
    for _ in range(ops):
        t += rng.choice([0, 1, rng.randrange(300_000), rng.randrange(2 * MSEC), rng.randrange(8 * MSEC)])
        t = -(-t // MSEC) * MSEC if rng.random() < 0.1 else t  # now and then exactly on a tick
        list(player.step({"t": t, "op": "run"}))
        op = {"t": t, **random_op(rng, player, scenario)}
        scenario["ops"].append(op)
        list(player.step(op))
    scenario["ops"].append({"t": t + 20 * MSEC, "op": "run"})
    return scenario


def random_op(rng: Random, player: Player, scenario: dict) -> dict:
    """An op that mostly makes sense now: new tasks start, sleepers wake, the running task acts."""
    tasks = player.rq.tasks
    sleepers = [name for name, task in tasks.items() if task.state in ("new", "sleeping")]
    anyone = rng.choice(list(tasks))
    running = player.rq.curr.name if player.rq.curr else anyone
    if sleepers and (rng.random() < 0.35 or not player.rq.curr):
        name = rng.choice(sleepers)
        if tasks[name].state == "new" and rng.random() < 0.5:
            return {"op": "fork", "task": name}
        return {"op": "wake", "task": name, "sync": rng.random() < 0.3, "rq_selected": rng.random() < 0.3}
    acting = running if rng.random() < 0.95 else anyone
    kind = rng.choices(
        ["yield_to", "block", "yield", "run", "renice", "shares", "wake"], weights=[30, 22, 12, 12, 5, 5, 2]
    )[0]
    if kind == "yield_to":
        return {"op": kind, "task": acting, "to": anyone}
    if kind == "block":
        return {"op": kind, "task": acting, "special": rng.random() < 0.15}
    if kind == "yield":
        return {"op": kind, "task": acting}
    if kind == "renice":
        return {"op": kind, "task": anyone, "nice": rng.randint(-20, 19)}
    if kind == "shares" and scenario["groups"]:
        return {"op": kind, "group": rng.choice(scenario["groups"])["id"], "weight": rng.choice([2, 100, 1024, 5120])}
    if kind == "wake":
        return {"op": kind, "task": anyone}
    return {"op": "run"}
