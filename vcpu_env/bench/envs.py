"""Speed of the environments: ``python -m vcpu_env.bench.envs`` prints Markdown tables, ``--json`` one object a figure.

All on dedup-2vm, and unless a table says otherwise with every decision asked for (``every_spin``). A figure is the
median of repeated runs. What needs torch is left out where it is not installed.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Annotated, Any

import gymnasium
import numba
import numpy as np
import typer
from gymnasium.utils.performance import benchmark_init, benchmark_step, benchmark_vector_step

import vcpu_env  # noqa: F401  (registers the ids)
from vcpu_env.base.jit import kjit
from vcpu_env.bench.tables import Effort, Table, print_tables
from vcpu_env.envs import start
from vcpu_env.envs.register import IDS, id_of
from vcpu_env.nets.network import act, scratch_size
from vcpu_env.nets.packing import pack
from vcpu_env.nets.rollout import RolloutCollector
from vcpu_env.nets.weights import Layer, PolicyWeights

SCENARIO = "dedup-2vm"
BATCHES = (1, 8, 64, 256)
FILTERS = ("every_spin", "rule_acts", "every_nth:64", "sampled:0.01", "period_ns:100000", "same_rq")
WIDTHS = (64, 64)
ROLLOUT_STEPS = 64
CHOICE = id_of("CandidateChoice")
WIDE = id_of("WideYield")


def tables(effort: Effort) -> Iterator[Table]:
    """All tables."""
    yield single_table(effort)
    yield filter_table(effort)
    yield batch_table(effort)
    yield network_table(effort)
    yield state_table(effort)
    if find_spec("sb3_contrib"):
        yield training_table(effort)


def as_the_rule(space: gymnasium.Space) -> Any:
    """The action that leaves everything to the configured rule."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {"candidate": 1, "penalty_scale": np.zeros(1, np.float32)}
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return np.array([1, 0])
    return 1 if isinstance(space, gymnasium.spaces.Discrete) else np.zeros(space.shape, np.float32)


class Played:
    """A single environment that is stepped by an agent, episode after episode."""

    def __init__(self, env_id: str, agent: str, **arguments: Any):
        self.env = gymnasium.make(env_id, scenario=SCENARIO, **arguments)
        self.host: Any = self.env.unwrapped
        self.fixed = as_the_rule(self.env.action_space) if agent == "rule" else None
        self.env.action_space.seed(0)
        self.env.reset(seed=0)
        self.steps, self.done = 0, np.zeros(2)
        self.begin = self.clock()

    def clock(self) -> np.ndarray:
        """Events and simulated time of the machine so far."""
        clock = self.host.machine.world["machine_clock"][0]
        return np.array([clock["events"], clock["now_ns"] * 1e-9])

    def step(self) -> int:
        """One step; a new episode where one has ended."""
        action = self.fixed
        if action is None:
            action = self.env.action_space.sample(mask=self.host.sample_masks())
        self.steps += 1
        if self.env.step(action)[3]:
            self.done += self.clock() - self.begin
            self.env.reset()
            self.begin = self.clock()
        return 1

    def rates(self, effort: Effort) -> tuple[float, float, float]:
        """Steps, events and simulated seconds a second."""
        steps = effort.rate(self.step)
        events, seconds = (self.done + self.clock() - self.begin) / self.steps
        return steps, steps * events, steps * seconds


def single_table(effort: Effort) -> Table:
    """One environment of each id, stepped from Python."""
    rows = {}
    for name in IDS:
        env_id = id_of(name)
        unmasked = gymnasium.make(env_id, scenario=SCENARIO, strict=False)
        official = effort.median(partial(benchmark_step, unmasked, effort.seconds, seed=0))
        masked, rule = Played(env_id, "random"), Played(env_id, "rule")
        rows[name] = (official, effort.rate(masked.step), effort.rate(rule.step))
    columns = ("benchmark_step (unmasked random)", "masked random", "always as the rule")
    return Table("Steps a second, one environment", columns, rows)


def filter_table(effort: Effort) -> Table:
    """What a filter that passes on fewer decisions saves."""
    rows = {name: Played(CHOICE, "rule", decision_filter=name).rates(effort) for name in FILTERS}
    title = "Decision filters, one CandidateChoice environment, always as the rule"
    return Table(title, ("decisions/s", "events/s", "simulated s per s"), rows)


def batch_table(effort: Effort) -> Table:
    """Batches of CandidateChoice: stepped from Python, and with a network deciding inside the machines."""
    rows = {}
    for count in BATCHES:
        unmasked = gymnasium.make_vec(CHOICE, count, scenario=SCENARIO, autoreset_mode="SameStep", strict=False)
        official = effort.median(partial(benchmark_vector_step, unmasked, effort.seconds, seed=0))
        env = gymnasium.make_vec(CHOICE, count, scenario=SCENARIO, autoreset_mode="SameStep")
        env.reset(seed=0)
        rows[str(count)] = (official, effort.rate(masked_step(env)), effort.rate(rollout_step(env)))
    columns = ("benchmark_vector_step (unmasked random)", "masked random", "rollouts in the machines (64x64 network)")
    return Table("Steps a second, a batch of CandidateChoice, by its size", columns, rows)


def masked_step(env: Any) -> Callable[[], int]:
    """A step of a batch with random legal actions."""
    rng = np.random.default_rng(0)

    def step() -> int:
        masks = env.action_masks()
        env.step(np.argmax(rng.random(masks.shape) * masks, axis=1))
        return len(masks)

    return step


def rollout_step(env: Any) -> Callable[[], int]:
    """A rollout collected inside the machines."""
    collector = RolloutCollector(env)
    policy = random_network(env)

    def step() -> int:
        collector.collect(policy, ROLLOUT_STEPS)
        return ROLLOUT_STEPS * int(env.num_envs)

    return step


def random_network(env: Any, widths: tuple[int, ...] = WIDTHS, critic: bool = True) -> PolicyWeights:
    """An untrained actor, and critic, for an environment."""
    rng = np.random.default_rng(0)
    sizes = tuple(n for n in (env.actions.nr_candidates, env.actions.nr_boosts) if n)

    def net(outputs: int) -> tuple[Layer, ...]:
        all_widths = (env.single_observation_space.shape[0], *widths, outputs)
        return tuple(
            Layer(rng.normal(0, a**-0.5, (a, b)).astype(np.float32), np.zeros(b, np.float32))
            for a, b in pairwise(all_widths)
        )

    return PolicyWeights(actor=net(sum(sizes)), head="categorical", sizes=sizes, critic=net(1) if critic else ())


@kjit
def decide_all(layout, weights, observations, masks, actions):
    """Let a network decide on each of these observations. Returns how many there are."""
    scratch = np.empty(scratch_size(layout), np.float32)
    for i in range(len(observations)):
        act(layout, weights, observations[i], masks[i], 0, i, True, scratch, actions[i])
    return len(observations)


def network_table(effort: Effort) -> Table:
    """What a decision of a network costs, on observations as the environment shows them."""
    rows = {}
    for env_id in (CHOICE, WIDE):
        env: Any = gymnasium.make_vec(env_id, 8, scenario=SCENARIO, autoreset_mode="SameStep")
        env.reset(seed=0)
        for name, widths in {"linear": (), "64x64": WIDTHS}.items():
            seen = RolloutCollector(env).collect(random_network(env, widths), 16 * ROLLOUT_STEPS)
            arrays = [part.reshape(-1, part.shape[-1]) for part in (seen.observations, seen.masks, seen.actions)]
            packed = [pack(random_network(env, widths, critic)) for critic in (False, True)]
            row = f"{name}, {env_id.split('/')[1].split('-')[0]}"
            rows[row] = tuple(1e9 / effort.rate(partial(decide_all, *network, *arrays)) for network in packed)
    columns = ("actor, as in an evaluation", "actor and critic, as in a rollout")
    return Table("Nanoseconds a decision of a network takes inside the machine", columns, rows)


def state_table(effort: Effort) -> Table:
    """Microseconds to begin an episode and to copy an environment."""
    host = Played(CHOICE, "rule", warm_starts=1).host
    snapshot = host.snapshot()
    make = partial(gymnasium.make, CHOICE, scenario=SCENARIO, warm_starts=1)

    def first_reset() -> None:
        start._warmed.clear()
        start._starts.clear()
        make().reset(seed=0)

    actions: dict[str, Callable[[], Any]] = {
        "reset": host.reset,
        "fork": host.fork,
        "snapshot": host.snapshot,
        "restore": partial(host.restore, snapshot),
        "make and first reset, 200 ms of warm-up included": first_reset,
    }
    rows = {name: (1e6 / effort.rate(partial(once, action)),) for name, action in actions.items()}
    again = effort.median(partial(benchmark_init, make, effort.seconds, seed=0))
    rows["make and reset again in the same process (benchmark_init)"] = (1e6 / again,)
    return Table("Microseconds to begin an episode, or to copy one", ("us",), rows)


def once(action: Callable[[], Any]) -> int:
    """Do it, and count it."""
    action()
    return 1


def training_table(effort: Effort) -> Table:
    """MaskablePPO on the batch, and on an environment of the same spaces that costs nothing."""
    from vcpu_env.bench.training import training_rates

    rows = training_rates(effort.rate)
    title = "Steps a second, MaskablePPO with 64 environments, one torch thread"
    return Table(title, ("step", "step + inference", "step + inference + training"), rows)


def main(
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a figure: table, row, column, value")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="one run of a twentieth of a second for each figure")] = False,
) -> None:
    """Measure the speed of the environments."""
    effort = Effort(1, 0.05) if quick else Effort(5, 1.0)
    if not json_:
        print(f"numba {numba.__version__}, {numba.get_num_threads()} threads; gymnasium {gymnasium.__version__}\n")
    print_tables(tables(effort), json_)


if __name__ == "__main__":
    typer.run(main)
