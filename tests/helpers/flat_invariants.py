"""What holds of v7.3's run queues between any two events, counted anew from the entities."""

from vcpu_env.base.jit import NIL


def tree(entities, node: int) -> list[int]:
    """Tasks of a tree, in order."""
    if node == NIL:
        return []
    se = entities[node]
    return [*tree(entities, int(se["rb_left"])), node, *tree(entities, int(se["rb_right"]))]


def check_root(world, cpu: int) -> None:
    """The tree of a CPU has the tasks that wait there, by deadline; its sums and counts are theirs."""
    entities, root, rq = world["sched_entity"], world["cfs_rq"][cpu], world["rq"][cpu]
    nr_tasks = len(world["task_struct"])
    queued = [p for p in range(nr_tasks) if entities["on_rq"][p] and world["task_struct"]["cpu"][p] == cpu]
    curr = int(root["curr_task"])
    waiting = tree(entities, int(root["rb_root"]))
    assert curr == rq["curr"]
    assert sorted(waiting) == [p for p in queued if p != curr]
    deadlines = [int(entities["deadline"][p]) for p in waiting]
    assert deadlines == sorted(deadlines)
    assert root["rb_leftmost"] == (waiting[0] if waiting else NIL)
    assert root["avg_load"] == sum(int(entities["h_load"][p]) for p in waiting)
    key = [int(entities["vruntime"][p] - root["zero_vruntime"]) * int(entities["h_load"][p]) for p in waiting]
    assert root["avg_vruntime"] == sum(key)
    if waiting:
        assert entities["min_slice_ns"][root["rb_root"]] == min(entities["slice_ns"][p] for p in waiting)
        assert entities["min_vruntime"][root["rb_root"]] == min(entities["vruntime"][p] for p in waiting)
    assert (root["h_nr_queued"], rq["nr_running"]) == (len(queued), len(queued))
    assert root["h_nr_runnable"] == sum(not entities["sched_delayed"][p] for p in queued)
    assert root["next"] == NIL or root["next"] in waiting


def check_level(world, q: int) -> None:
    """A queue counts and weighs what is on it."""
    entities, cfs = world["sched_entity"], world["cfs_rq"][q]
    members = [i for i in range(len(entities)) if entities["on_rq"][i] and entities["cfs_rq"][i] == q]
    assert cfs["nr_queued"] == len(members)
    assert cfs["load_weight"] == sum(int(entities["weight"][i]) for i in members)
    if cfs["se"] != NIL:
        assert entities["on_rq"][cfs["se"]] == (len(members) > 0)
    if cfs["curr"] != NIL:
        assert entities["cfs_rq"][cfs["curr"]] == q


def check_flat(world) -> None:
    """All of it."""
    for cpu in range(len(world["rq"])):
        check_root(world, cpu)
    for q in range(len(world["cfs_rq"])):
        check_level(world, q)
