"""``python -m agents.reference``: what there is to learn in each environment, as its ids come, in a table.

Every player plays the same episodes. The gain is what it earns more than the configured rule in the same episode; the
signal is the mean gain over its standard deviation: with N episodes the gain is known to signal * sqrt(N) standard
errors. Fixed answers and rules are chosen on some episodes and reported on others. The tables are on the environments'
pages, put there by ``python docs/make_environment_tables.py``.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import typer
from gymnasium.utils import seeding

from agents.teacher import second_values
from baselines.command import run_command, say
from vcpu_env.base.files import write_whole
from vcpu_env.base.interrupts import INTERRUPTED, heard
from vcpu_env.envs.action import boosts
from vcpu_env.envs.batch import HostVectorEnv
from vcpu_env.envs.compiled.tuner import CONSTANTS
from vcpu_env.envs.compiled.types import CANDIDATE_CHOICE, DIRECTED_YIELD, HOST_TUNER, PENALTY_SCALE
from vcpu_env.envs.host_env import HostEnv
from vcpu_env.envs.lookahead import Lookahead
from vcpu_env.envs.parallel import handles, together
from vcpu_env.envs.register import IDS, id_of
from vcpu_env.envs.start import nr_features
from vcpu_env.kernel.yield_types import BOOST_RULE
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.packing import pack
from vcpu_env.nets.play import play_episodes
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, NOBODY
from vcpu_env.scenario.errors import InputError, nearest

OUT = Path(__file__).parent.parent / "docs" / "environments" / "reference.json"
CHOICE_SEED, REPORT_SEED = 10_000, 20_000
"""The first seeds of the episodes that a best player is chosen on, and of those that are reported."""

RULES = ("stock", "series-v2", "vee21", "unserved-credit", "strict-credit", "strict-borrow")
"""Policies that are tried as the rule where candidates are chosen."""

SEARCHED = 4
"""Most episodes of the search."""
SEARCH_NS, SEARCH_EVERY_NS = 200_000, 50_000
"""How far each try is followed, and the time between decisions that are searched."""

ITS_OWN = ("nr_candidates", "max_penalty_scale", "penalty_levels", "boost", "observe")
"""What a trained policy brings with it; scenario, reward and episodes are the environment's."""

ROUNDING = 1e-9
"""Returns are summed up in another order where the agent is asked; smaller differences are none."""

Player = Callable[[HostVectorEnv, dict[str, Any]], Any]
"""Actions of all machines, from the batch and its last info."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class ReferenceError(InputError):
    """An id, or a policy, that cannot be measured."""


@dataclass(frozen=True)
class Row:
    """A player's results.

    Attributes:
        player: who.
        episodes: how many.
        earned: mean return.
        gain, gain_error: mean of what it earned more than the rule, and its standard error.
        signal: mean gain over the standard deviation of the gain in the same episode.
        alone: mean gain over the standard deviation of the return: without pairs.
        decisions: of the agent in an episode, in the mean; None: the rule has decided.
    """

    player: str
    episodes: int
    earned: float
    gain: float
    gain_error: float
    signal: float
    alone: float
    decisions: float | None


def row(player: str, earned: np.ndarray, rule: np.ndarray, decisions: float | None) -> Row:
    """Results from the returns of a player and of the rule in the same episodes."""
    gains = np.where(np.abs(earned - rule) < ROUNDING, 0.0, earned - rule)
    spread, alone = float(gains.std(ddof=1)), float(rule.std(ddof=1))
    mean = float(gains.mean())
    error = spread / len(gains) ** 0.5
    signal = mean / spread if spread else 0.0
    return Row(player, len(gains), float(earned.mean()), mean, error, signal, mean / alone if alone else 0.0, decisions)


def rounded(result: Row) -> dict[str, Any]:
    """A row as it is kept: four figures after the point."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(result).items()}


class Table:
    """The episodes of one id, played by anybody.

    Args:
        name: of the environment.
        episodes: to report, and as many to choose on.
        threads: that run machines; they change no result.
    """

    def __init__(self, name: str, episodes: int, threads: int = 1):
        self.name, self.episodes, self.threads = name, episodes, threads
        self.rules: dict[int, np.ndarray] = {}

    def make(self, **arguments: Any) -> HostVectorEnv:
        """A batch of as many machines as there are episodes."""
        env: Any = gymnasium.make_vec(
            id_of(self.name), num_envs=self.episodes, autoreset_mode="SameStep", threads=self.threads, **arguments
        ).unwrapped
        return env  # type: ignore[no-any-return]

    def by_the_rule(self, seed: int, **arguments: Any) -> np.ndarray:
        """What a rule earns in the episodes from a seed on."""
        env = self.make(over_rule=True, **arguments)
        env.reset(seed=seed)
        return np.array([float(lane.running.world["rule_curve"]["earned"][-1]) for lane in env.lanes])

    def rule(self, seed: int) -> np.ndarray:
        """What the configured rule earns."""
        if seed not in self.rules:
            self.rules[seed] = self.by_the_rule(seed)
        return self.rules[seed]

    def play(self, player: Player, seed: int) -> tuple[np.ndarray, float]:
        """Returns, and decisions in the mean, of the episodes from a seed on."""
        env = self.make(privileged=True)
        _, info = env.reset(seed=seed)
        earned, over = np.zeros(self.episodes), np.zeros(self.episodes, np.bool_)
        decisions = np.zeros(self.episodes, np.int64)
        while not over.all():
            _, rewards, _, truncated, info = env.step(player(env, info))
            earned += np.where(over, 0.0, rewards)
            ended = truncated & ~over
            if ended.any():
                decisions[ended] = info["final_info"]["episode_totals"]["decisions"][ended]
            over |= truncated
        return earned, float(decisions.mean())

    def report(self, name: str, player: Player) -> Row:
        """A player's results."""
        earned, decisions = self.play(player, REPORT_SEED)
        return row(name, earned, self.rule(REPORT_SEED), decisions)

    def best(self, name: str, players: dict[str, Player]) -> Row:
        """Results of the best of these players."""
        chosen = max(players, key=lambda each: self.play(players[each], CHOICE_SEED)[0].mean())
        return self.report(f"{name}: {chosen}", players[chosen])

    def search(self) -> Row:
        """Results of trying every action on a copy of the machine, every now and then, else as the rule."""
        count = min(self.episodes, SEARCHED)
        env: Any = gymnasium.make(id_of(self.name), rule=self.make().rule).unwrapped
        earned, decisions = np.zeros(count), np.zeros(count)
        own = as_the_rule(env)
        for i in range(count):
            _, info = env.reset(seed=REPORT_SEED + i)
            search, next_ns, over = Lookahead(env, SEARCH_NS), 0, False
            while not over:
                action = own
                if info["time_ns"] >= next_ns:
                    action, next_ns = search.choose(), info["time_ns"] + SEARCH_EVERY_NS
                _, reward, _, over, info = env.step(action)
                earned[i] += reward
            decisions[i] = info["episode_totals"]["decisions"]
        name = f"search, {count} episodes: {SEARCH_NS / 1e6:g} ms ahead, once in {SEARCH_EVERY_NS / 1e6:g} ms"
        return row(name, earned, self.rule(REPORT_SEED)[:count], float(decisions.mean()))

    def best_rule(self) -> Row:
        """Results of the best of `RULES` in the configured rule's place, warm-up included."""
        chosen = max(RULES, key=lambda rule: self.by_the_rule(CHOICE_SEED, rule=rule).mean())
        earned = self.by_the_rule(REPORT_SEED, rule=chosen)
        return row(f"best rule: {chosen}", earned, self.rule(REPORT_SEED), None)

    def learned(self, policy: LearnedPolicy) -> Row:
        """Results of a trained policy, with its own rule and actions.

        Raises:
            ReferenceError: it is for another environment.
        """
        given = policy.about.config
        env = self.make(rule=policy.about.rule, **{name: getattr(given, name) for name in ITS_OWN})
        if policy.kind != env.kind:
            raise ReferenceError(
                f"policy: {policy.name} is for {policy.about.environment} (allowed: {id_of(self.name)})"
            )
        layout, weights = pack(replace(policy.weights, critic=()))
        drawn = [lane.draw(seeding.np_random(REPORT_SEED + i)[0], None) for i, lane in enumerate(env.lanes)]
        for lane, episode in zip(env.lanes, drawn, strict=True):
            lane.load(episode.origin)
        machines = [lane.running for lane in env.lanes]
        count = len(machines)
        rewards, decisions, statuses = np.empty(count), np.full(count, -1), np.full(count, INTERRUPTED)
        works = np.zeros((count, max(len(machine.scenario.expanded_vms) for machine in machines)), np.int64)
        everything = (
            handles([machine.world for machine in machines]), np.array([episode.seed for episode in drawn]),
            np.array([episode.jitter_ns for episode in drawn]), layout, np.tile(weights, (count, 1)),
            nr_features(env.kind, env.config), env.actions.mask_length, env.actions.width,
            policy.weights.head != "categorical", rewards, works, decisions, statuses,
        )  # fmt: skip
        with together(env.threads):
            while play_episodes(*everything):
                heard()
        for machine in machines:
            machine.check()
        return row(f"trained: {policy.name}", rewards, self.rule(REPORT_SEED), float(decisions.mean()))


def as_the_rule(env: HostEnv | HostVectorEnv) -> Any:
    """The action, of one environment, that leaves everything to the rule."""
    if not env.actions.nr_candidates:
        return np.zeros(env.actions.width, np.float32)
    if env.kind == DIRECTED_YIELD:
        return {"candidate": AS_KERNEL, "penalty_scale": np.zeros(1, np.float32)}
    if not env.actions.nr_boosts:
        return AS_KERNEL
    return np.array([AS_KERNEL, second_values(env)[BOOST_RULE]])


def actions_of(env: HostVectorEnv, candidates: np.ndarray, second: float) -> Any:
    """Actions of a kind that chooses candidates; `second` is the boost's number, or the penalty scale's number."""
    if env.kind == CANDIDATE_CHOICE:
        return candidates
    if env.kind == DIRECTED_YIELD:
        return {"candidate": candidates, "penalty_scale": np.full((env.num_envs, 1), second, np.float32)}
    return np.column_stack([candidates, np.full(env.num_envs, int(second))])


def at_random() -> Player:
    """Legal actions, all equally likely."""
    random = np.random.default_rng(0)

    def play(env: HostVectorEnv, info: dict[str, Any]) -> Any:
        if not env.actions.nr_candidates:
            return random.uniform(-1, 1, (env.num_envs, env.actions.width)).astype(np.float32)
        legal = info["action_mask"][:, : env.actions.nr_candidates]
        candidates = np.argmax(random.random(legal.shape) * legal, axis=1)
        seconds = random.integers(max(env.actions.nr_boosts, 1), size=env.num_envs)
        if env.kind == DIRECTED_YIELD:
            scales = random.uniform(-1, 1, (env.num_envs, 1)).astype(np.float32)
            return {"candidate": candidates, "penalty_scale": scales}
        return candidates if env.kind == CANDIDATE_CHOICE else np.column_stack([candidates, seconds])

    return play


def always(values: Any) -> Player:
    """The same numbers every time."""
    numbers = np.asarray(values, np.float32)
    return lambda env, _: np.tile(numbers, (env.num_envs, 1))


def choosing(choose: Callable[[dict[str, Any]], np.ndarray], second: float) -> Player:
    """Candidates by a function of the info, always with the same boost or scale."""
    return lambda env, info: actions_of(env, choose(info), second)


def awaited(info: dict[str, Any]) -> np.ndarray:
    """Whom the spinner waits for; as the rule if that is no candidate."""
    return np.where(info["awaited"] > 0, info["awaited"], AS_KERNEL)


def first(info: dict[str, Any]) -> np.ndarray:
    """The first candidate in the kernel's order."""
    return np.where(info["action_mask"][:, FIRST_CANDIDATE] > 0, FIRST_CANDIDATE, AS_KERNEL)


def constant(candidate: int) -> Callable[[dict[str, Any]], np.ndarray]:
    """Always this one."""
    return lambda info: np.full(len(info["time_ns"]), candidate)


def seconds_of(env: HostVectorEnv) -> dict[str, float]:
    """What can be chosen beside the candidate, by name."""
    if env.kind == CANDIDATE_CHOICE:
        return {env.config.boost: 0.0}
    if env.kind == DIRECTED_YIELD:
        return {f"scale {a:+g}": a for a in (-1.0, -0.8, -0.5, 0.0, 0.5)}
    return {name: float(i) for i, (name, _, _) in enumerate(boosts(env.kind, env.config.penalty_levels))}


def fixed_players(env: HostVectorEnv) -> dict[str, Player]:
    """Players that look at nothing, or at the kernel's order only."""
    if env.kind == PENALTY_SCALE:
        return {f"scale {a:+g}": always([a]) for a in (-1.0, -0.9, -0.8, -0.7, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)}
    if env.kind == HOST_TUNER:
        corners = np.concatenate([np.eye(len(CONSTANTS)), -np.eye(len(CONSTANTS))])
        return {
            f"{CONSTANTS[i % len(CONSTANTS)]} {corner.sum():+g}": always(corner) for i, corner in enumerate(corners)
        }
    players = {"nobody": choosing(constant(NOBODY), 0.0)}
    for name, second in seconds_of(env).items():
        players[f"first candidate, {name}"] = choosing(first, second)
        players[f"as the rule, {name}"] = choosing(constant(AS_KERNEL), second)
    return players


def rows_of(table: Table, policies: list[LearnedPolicy]) -> Iterator[Row]:
    """The table of one environment."""
    env = table.make()
    rule = table.rule(REPORT_SEED)
    yield row(f"the rule: {env.rule.name}", rule, rule, None)
    yield table.report("random, masked" if env.actions.nr_candidates else "random", at_random())
    yield table.best("best fixed answer", fixed_players(env))
    if env.actions.nr_candidates:
        yield table.best_rule()
        seconds = seconds_of(env)
        yield table.best("privileged, to the awaited", {each: choosing(awaited, seconds[each]) for each in seconds})
    if env.kind != HOST_TUNER:
        yield table.search()
    for policy in policies:
        if policy.kind == env.kind:
            yield table.learned(policy)


def measured(table: Table, policies: list[LearnedPolicy]) -> dict[str, Any]:
    """The table of one environment as it is kept, with its scenario and the length of its episodes."""
    env, rows = table.make(), []
    for result in rows_of(table, policies):
        say(f"{id_of(table.name)}: {result.player}: {result.earned:.3f}, {result.gain:+.3f}")
        rows.append(rounded(result))
    (scenario,) = env.mix.scenarios
    about = {"scenario": scenario.name, "kernel": scenario.host.kernel, "horizon_ns": env.config.horizon_ns}
    return about | {"rows": rows}


def checked_names(names: list[str] | None) -> list[str]:
    """The environments of these names.

    Raises:
        ReferenceError: there is none of a name.
    """
    for name in names or ():
        if name not in IDS:
            raise ReferenceError(f"environment: value '{name}' ({nearest(name, IDS)})")
    return names or list(IDS)


@app.command()
def command(
    environments: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="All, if none is named.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, max=4096, help="To report, and as many to choose on.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="That run machines; no result depends on it.")] = 1,
    policy: Annotated[list[Path] | None, typer.Option(metavar="FILE.npz", help="Trained policies to add.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Where the tables are kept; others there stay.")] = OUT,
) -> None:
    """Measure what random play, fixed answers, rules and privileged players earn in each environment."""
    names = checked_names(environments)
    policies = [LearnedPolicy.load(path) for path in policy or ()]
    kept = json.loads(out.read_text("utf-8")) if out.exists() else {}
    for name in names:
        kept[id_of(name)] = measured(Table(name, episodes, threads), policies)
        ordered = {id_of(each): kept[id_of(each)] for each in IDS if id_of(each) in kept}
        write_whole(out, (json.dumps(ordered, indent=1) + "\n").encode())


def main() -> None:
    """Entry point."""
    run_command(app, (ReferenceError, ValueError, OSError))


if __name__ == "__main__":
    main()
