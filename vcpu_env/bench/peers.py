"""Speed beside others', in one run: ``python -m vcpu_env.bench peers``.

Simulators of discrete events are compared by events: each keeps `SOURCES` sources of one event after another, whose
handler does nothing, where this one simulates a host. Environments are compared by steps, with the action they leave
most alone. Others come with the extra ``peers``; what is not installed is named and left out.
"""

import heapq
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

import vcpu_env  # noqa: F401  (registers the ids)
from vcpu_env.bench.envs import CHOICE, SCENARIO
from vcpu_env.bench.tables import Effort, Table, print_tables
from vcpu_env.machine import Machine
from vcpu_env.scenario import load_scenario

SOURCES, BATCH = 64, 64
SPAN_NS = 20_000_000
STEPS = 200
RULE = "strict-borrow"
"""Of CandidateChoice; the plain machine has the same, so that both meet the same decisions."""

OTHERS = {"simpy": "SimPy", "simso": "SimSo", "envpool": "EnvPool"}
"""Modules that may not be there, and their names."""


def missing() -> list[str]:
    """What of `OTHERS` is not installed."""
    return [name for module, name in OTHERS.items() if not find_spec(module)]


def delays() -> Iterator[int]:
    """Times between two events of a source, drawn as cheaply as Python can."""
    seed = 1
    while True:
        seed = seed * 48271 % 2147483647
        yield 1 + (seed & 1023)


def heap_loop() -> Callable[[], int]:
    """A loop around `heapq`: the least that a simulator in Python does."""
    draw, queue = delays(), [(i, i) for i in range(SOURCES)]

    def run() -> int:
        for _ in range(1000):
            when, source = queue[0]
            heapq.heapreplace(queue, (when + next(draw), source))
        return 1000

    return run


def simpy_loop() -> Callable[[], int]:
    """SimPy 4: `SOURCES` processes that wait again and again."""
    import simpy

    world, draw = simpy.Environment(), delays()

    def source() -> Iterator[Any]:
        while True:
            yield world.timeout(next(draw))

    for _ in range(SOURCES):
        world.process(source())

    def run() -> int:
        for _ in range(1000):
            world.step()
        return 1000

    return run


def simso_run() -> Callable[[], int]:
    """SimSo: four periodic tasks on a CPU under EDF; events are releases and completions of jobs."""
    from simso.configuration import Configuration
    from simso.core import Model

    def run() -> int:
        settings = Configuration()
        settings.duration = 1000 * settings.cycles_per_ms
        for i in range(4):
            settings.add_task(name=f"task {i}", identifier=i + 1, period=5 + i, wcet=1, deadline=5 + i)
        settings.add_processor(name="CPU", identifier=1)
        settings.scheduler_info.clas = "simso.schedulers.EDF_mono"
        settings.check_all()
        model = Model(settings)
        model.run_model()
        return sum(1 + (job.end_date is not None) for task in model.task_list for job in task.jobs)

    return run


def machine_run(policy: str, count: str) -> Callable[[], int]:
    """This simulator without an environment: counts of one of its counters."""
    scenario = load_scenario(SCENARIO)
    machine = Machine(scenario, policy, 1)
    machine.run_until(scenario.run.warmup_ns)

    def run() -> int:
        before = machine.counters()[count]
        machine.run_until(machine.now_ns + SPAN_NS)
        return int(machine.counters()[count] - before)

    return run


class FreeEnv(gymnasium.Env[np.ndarray, int]):
    """Spaces as CandidateChoice's, and nothing behind them: what Gymnasium's interface costs by itself."""

    def __init__(self, like: gymnasium.Env[Any, Any]):
        self.observation_space, self.action_space = like.observation_space, like.action_space
        self.observation, self.info = like.observation_space.sample(), dict[str, Any]()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Always the same observation."""
        return self.observation, self.info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Nothing happens."""
        return self.observation, 0.0, False, False, self.info


class FreeVectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A batch of these."""

    def __init__(self, like: gymnasium.Env[Any, Any]):
        self.num_envs = BATCH
        self.single_action_space, self.single_observation_space = like.action_space, like.observation_space
        self.observation_space = batch_space(like.observation_space, BATCH)
        self.observations, self.rewards = self.observation_space.sample(), np.zeros(BATCH)
        self.over = np.zeros(BATCH, np.bool_)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Nothing happens."""
        return self.observations, self.rewards, self.over, self.over, {}


def single_steps(env: gymnasium.Env[Any, Any], action: int) -> Callable[[], int]:
    """Steps of one environment; a new episode where one has ended."""
    env.reset(seed=0)

    def run() -> int:
        for _ in range(STEPS):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return STEPS

    return run


def batch_steps(env: Any, action: int) -> Callable[[], int]:
    """Steps of a batch that resets itself."""
    env.reset(seed=0)
    actions = np.full(BATCH, action, np.int64)

    def run() -> int:
        env.step(actions)
        return BATCH

    return run


def envpool_cartpole() -> Callable[[], int]:
    """EnvPool's CartPole: a batch written in C++."""
    import envpool

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=BATCH)
    env.reset()
    actions = np.zeros(BATCH, np.int64)

    def run() -> int:
        env.step(actions)
        return BATCH

    return run


def event_table(effort: Effort) -> Table:
    """Simulators by the events that they do."""
    makers: dict[str, tuple[str, Callable[[], Callable[[], int]]]] = {
        "a loop around heapq": ("", heap_loop),
        "SimPy": ("simpy", simpy_loop),
        "SimSo": ("simso", simso_run),
        "vcpu_env's machine, a host of 16 CPUs": ("", partial(machine_run, "stock", "events")),
    }
    rates = measured(effort, makers)
    least = rates["a loop around heapq"]
    rows = {name: (rate, rate / least) for name, rate in rates.items()}
    return Table("Simulators of discrete events, one thread", ("events a second", "of the loop's"), rows)


def step_table(effort: Effort) -> Table:
    """Environments by their steps, beside the decisions of the machine without one."""
    one = gymnasium.make(CHOICE, scenario=SCENARIO)
    batch = partial(gymnasium.make_vec, CHOICE, BATCH, scenario=SCENARIO, autoreset_mode="SameStep")
    makers: dict[str, tuple[str, Callable[[], Callable[[], int]]]] = {
        "a free environment": ("", lambda: single_steps(FreeEnv(one), 1)),
        "Gymnasium's CartPole": ("", lambda: single_steps(gymnasium.make("CartPole-v1"), 0)),
        "CandidateChoice": ("", lambda: single_steps(one, 1)),
        "its machine alone, decisions, one thread": ("", partial(machine_run, RULE, "decisions")),
        f"a free batch of {BATCH}": ("", lambda: batch_steps(FreeVectorEnv(one), 1)),
        f"Gymnasium's CartPole, {BATCH}": ("", lambda: batch_steps(gymnasium.make_vec("CartPole-v1", BATCH), 0)),
        f"EnvPool's CartPole, {BATCH}": ("envpool", envpool_cartpole),
        f"CandidateChoice, {BATCH}, all threads": ("", lambda: batch_steps(batch(), 1)),
        f"CandidateChoice, {BATCH}, one thread": ("", lambda: batch_steps(batch(threads=1), 1)),
    }
    rates = measured(effort, makers)
    alone = rates["its machine alone, decisions, one thread"]
    rows = {name: (rate, rate / alone) for name, rate in rates.items()}
    return Table(
        f"Environments, {SCENARIO}, always as the rule", ("steps a second", "of the machine's decisions"), rows
    )


def measured(effort: Effort, makers: dict[str, tuple[str, Callable[[], Callable[[], int]]]]) -> dict[str, float]:
    """How much a second each does whose module is there."""
    return {name: effort.rate(make()) for name, (module, make) in makers.items() if not module or find_spec(module)}


def peers(effort: Effort, as_json: bool) -> None:
    """Measure all, and print tables, or a JSON object a figure."""
    print_tables((table(effort) for table in (event_table, step_table)), as_json)
    if not as_json:
        found = [f"{name} {version(module)}" for module, name in OTHERS.items() if find_spec(module)]
        print(f"Beside: gymnasium {version('gymnasium')}{''.join(f', {name}' for name in found)}.")
        print("".join(f"Not installed: {name}.\n" for name in missing()), end="")
