"""``python -m baselines.bench``: what the executors cost, on cells that take about a second each.

The same cells by the process pool and by Ray in turn, so that whatever else the machine does hits both. The start of a
Ray cluster is measured apart: it happens once.
"""

import functools
import statistics
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from baselines.cells import MACHINE, Cell, compile_here, load_object, run_cell
from baselines.command import run_command
from baselines.evaluate import POLICIES
from baselines.policies import choose_policies
from vcpu_env.executors.base import Executor, ExecutorError
from vcpu_env.executors.make import make_executor
from vcpu_env.scenario import apply_overrides, load_scenario

RUN_NS = 300_000_000

app = typer.Typer(add_completion=False)


def bench_cells(count: int) -> list[Cell]:
    """Equal work for every executor: dbench under stock, one seed a cell."""
    scenario = apply_overrides(load_scenario("dbench-2vm"), ["run.warmup_ns=0", f"run.duration_ns={RUN_NS}"])
    (stock,) = choose_policies([], load_object(POLICIES))
    return [Cell(scenario, stock, seed) for seed in range(count)]


def seconds_of(executor: Executor, cells: list[Cell]) -> float:
    """Seconds that an executor takes for cells."""
    begin = time.perf_counter()
    for _ in executor.map(functools.partial(run_cell, machine=MACHINE), cells):
        pass
    return time.perf_counter() - begin


@app.command()
def command(
    cells: Annotated[int, typer.Option(min=1, help="Cells in a round.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; medians are printed.")] = 3,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
) -> None:
    """Compare the executors' speed on this machine."""
    compile_here()
    items = bench_cells(cells)
    begin = time.perf_counter()
    run_cell(items[0])
    one = time.perf_counter() - begin
    pool = make_executor("process", workers)
    begin = time.perf_counter()
    ray = make_executor("ray", workers)
    started = time.perf_counter() - begin
    ray.everywhere(compile_here)
    times: dict[str, list[float]] = {"process": [], "ray": []}
    for _ in range(rounds):
        times["process"].append(seconds_of(pool, items))
        times["ray"].append(seconds_of(ray, items))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    table = Table(title=f"{cells} cells of {one:.2f} s, median of {rounds} rounds")
    for column in ("executor", "s", "against the pool", "start, s"):
        table.add_column(column, justify="left" if column == "executor" else "right")
    for name, median in medians.items():
        against = f"{100 * (median / medians['process'] - 1):+.1f} %"
        table.add_row(name, f"{median:.2f}", against, f"{started:.1f}" if name == "ray" else "")
    Console().print(table)


if __name__ == "__main__":
    run_command(app, (ExecutorError,))
