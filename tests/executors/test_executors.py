"""Executors: the same results from all of them, errors passed on, no process left behind."""

import multiprocessing
import os
import sys
import time

import pytest

from baselines import cells, evaluate, experiment, store
from baselines.cells import CellError
from tests.helpers.evaluation import FAKE, make_plan
from vcpu_env.executors import make as executor
from vcpu_env.executors.base import ExecutorError, WorkerDiedError
from vcpu_env.executors.local import Inline, ProcessPool
from vcpu_env.policy.named import POLICIES

TABLES = ("cells.csv", "summary.csv", "scores.csv", "manifest.json")


def square(n):
    return n * n


def refuse(n):
    raise CellError(f"item {n}")


def die(n):
    os._exit(9)


def evaluated(directory, runs_on, plan=None):
    evaluate.evaluate(plan or make_plan(), store.Store(directory, False), runs_on, machine=FAKE)
    return [(directory / name).read_bytes() for name in TABLES]


def no_children_but(before):
    deadline = time.monotonic() + 10
    while set(multiprocessing.active_children()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    return set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("runs_on", [Inline(), ProcessPool(2)])
def test_map(runs_on):
    before = set(multiprocessing.active_children())
    assert runs_on.everywhere(os.getpid) == [os.getpid()]
    assert sorted(runs_on.map(square, [3, 1, 2])) == [(0, 9), (1, 1), (2, 4)]
    assert list(runs_on.map(square, [])) == []
    with pytest.raises(CellError, match="item 5"):
        list(runs_on.map(refuse, [5]))
    unfinished = runs_on.map(square, [1, 2, 3])
    next(unfinished)
    unfinished.close()
    assert no_children_but(before)


def test_a_dead_worker_is_an_error():
    before = set(multiprocessing.active_children())
    with pytest.raises(WorkerDiedError):
        list(ProcessPool(2).map(die, [1, 2]))
    assert no_children_but(before)


def test_results_do_not_depend_on_the_executor(tmp_path):
    inline = evaluated(tmp_path / "inline", executor.make_executor("inline"))
    assert evaluated(tmp_path / "process", executor.make_executor("process", 2)) == inline


def real_cells():
    """Cells of the simulator itself, not of its stand-in."""
    asked = {"name": "real", "scenarios": ["micro-lwp", "dedup-2vm"], "policies": ["series-v2"], "seeds": 2}
    brief = ["run.warmup_ns=1_000_000", "run.duration_ns=4_000_000"]
    return list(experiment.make_plan(experiment.checked_experiment(asked), POLICIES, brief).cells().values())


@pytest.mark.slow
def test_real_cells_do_not_depend_on_the_executor():
    cells_here = real_cells()
    assert len(cells_here) == 8
    assert dict(ProcessPool(2).map(cells.run_cell, cells_here)) == dict(Inline().map(cells.run_cell, cells_here))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("proces",), r"executor: value 'proces' \(did you mean 'process'\?\)"),
        (("process", None, "localhost:1"), r"address: given with executor 'process' \(allowed: with ray\)"),
    ],
)
def test_unknown_executors(arguments, line):
    with pytest.raises(ExecutorError, match=line):
        executor.make_executor(*arguments)


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "vcpu_env.executors.ray", raising=False)
    with pytest.raises(ExecutorError, match=r"needs Ray: pip install 'vcpu-env\[ray\]'"):
        executor.make_executor("ray")


def test_machines_with_another_source_are_refused(monkeypatch):
    class Elsewhere(Inline):
        def everywhere(self, function):
            return [*super().everywhere(function), "0123456789abcdef"]

    monkeypatch.setattr(cells, "ensure_compiled", lambda: None)
    evaluate.prepare(Inline())
    with pytest.raises(ExecutorError, match="a machine has source 0123456789abcdef"):
        evaluate.prepare(Elsewhere())


@pytest.fixture(scope="module")
def ray_cluster():
    """Two Ray nodes on this machine, with two CPUs each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_two_ray_nodes(ray_cluster, tmp_path):
    runs_on = executor.make_executor("ray", address=ray_cluster.address)
    assert len(runs_on.everywhere(os.getpid)) == 2
    assert sorted(runs_on.map(square, list(range(100)))) == [(n, n * n) for n in range(100)]
    with pytest.raises(CellError, match="item 5"):
        list(runs_on.map(refuse, [5]))
    inline = evaluated(tmp_path / "inline", Inline())
    assert evaluated(tmp_path / "ray", runs_on) == inline
    cells_here = real_cells()
    assert dict(runs_on.map(cells.run_cell, cells_here)) == dict(Inline().map(cells.run_cell, cells_here))
    dying = make_plan(("dbench-2vm",), seeds=1, overrides=["vms.*.params.die=1"])
    with pytest.raises(WorkerDiedError):
        evaluated(tmp_path / "dying", runs_on, dying)
    refused = make_plan(("dbench-2vm",), seeds=1, overrides=["vms.*.params.refuse=1"])
    with pytest.raises(CellError, match="dbench-2vm, [a-z0-9-]+, seed 0: vms.0.params.refuse"):
        evaluated(tmp_path / "refused", runs_on, refused)
