"""``python -m agents.dataset NAME PLAYER...``: offline data of an environment in Minari's format.

A player is ``random`` (legal actions), ``rule`` (the configured one: "as the rule"), a policy that is a rule (its
candidates are the actions), one of the kernel's own loops such as ``stock`` or ``series-v2`` (it becomes the configured
rule, and every action is "as the rule"), or a trained policy's FILE.npz. Each makes a dataset
``vcpu_env/NAME/PLAYER-vN``. Beside observations, actions and rewards there are, before and after each step, the masks,
the elapsed simulated time and the reward's terms. Needs the extra ``offline``.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import typer

from agents.reference import ITS_OWN, ReferenceError, actions_of, as_the_rule, at_random, checked_names
from agents.teacher import ask_rule, second_values
from baselines.command import run_command, say
from vcpu_env.base.errors import nearest
from vcpu_env.base.jit import kjit
from vcpu_env.envs.batch import HostVectorEnv
from vcpu_env.envs.parallel import handles
from vcpu_env.envs.register import VERSIONS, id_of
from vcpu_env.kernel.yield_types import BOOST_RULE
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.network import act, scratch_size
from vcpu_env.nets.packing import pack
from vcpu_env.policy.named import POLICIES
from vcpu_env.policy.rules import rule_address
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, YIELD_VIEW

MACHINES = 64
"""Episodes that are played at once."""

Player = Callable[[HostVectorEnv, np.ndarray, dict[str, Any]], Any]
"""Actions of all machines, from the batch, its observations and its info."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class DatasetError(ReferenceError):
    """A player, or a place for its data, that cannot be."""


@dataclass
class Episode:
    """What was seen and done in one episode, a list entry a step (observations and infos: one more)."""

    seed: int
    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    truncations: list[bool] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)


@kjit
def network_actions(layout, weights, observations, masks, actions):
    """The likeliest action of a network at each row of observations."""
    scratch = np.empty(scratch_size(layout), np.float32)
    for i in range(len(observations)):
        act(layout, weights, observations[i].copy(), masks[i].copy(), 0, 0, True, scratch, actions[i])


def of_network(policy: LearnedPolicy) -> Player:
    """A trained policy, deterministic."""
    layout, weights = pack(policy.weights)

    def play(env: HostVectorEnv, observations: np.ndarray, info: dict[str, Any]) -> Any:
        masks = info["action_mask"] if env.actions.nr_candidates else np.zeros((env.num_envs, 0), np.int8)
        actions = np.empty((env.num_envs, policy.weights.nr_dims), np.float32)
        network_actions(layout, weights, observations, masks, actions)
        if policy.weights.head != "categorical":
            return actions.clip(-1.0, 1.0)
        whole = actions.astype(np.int64)
        return whole[:, 0] if env.actions.width == 1 else whole

    return play


def of_rule(name: str) -> Player:
    """The candidates of a policy that is a rule, and its boosts where the action has them."""
    address = rule_address(POLICIES[name].target_rule or "", YIELD_VIEW)

    def play(env: HostVectorEnv, _: np.ndarray, __: dict[str, Any]) -> Any:
        answers, given = (np.full(env.num_envs, value, np.int64) for value in (AS_KERNEL, BOOST_RULE))
        ask_rule(handles([lane.running.world for lane in env.lanes]), address, answers, given)
        candidates = np.where(answers < FIRST_CANDIDATE + env.config.nr_candidates, answers, AS_KERNEL)
        if not env.actions.nr_boosts:
            return actions_of(env, candidates, 0.0)
        seconds = second_values(env)
        return np.column_stack([candidates, [seconds.get(int(each), seconds[BOOST_RULE]) for each in given]])

    return play


def by_the_rule(env: HostVectorEnv, _: np.ndarray, __: dict[str, Any]) -> Any:
    """Everything is left to the configured rule."""
    own = as_the_rule(env)
    if isinstance(own, dict):
        return {name: np.stack([value] * env.num_envs) for name, value in own.items()}
    return np.stack([own] * env.num_envs)


def player_of(name: str, env_name: str) -> tuple[Player, dict[str, Any], str]:
    """A player, the arguments of the environment that it plays in, and its name in the dataset's id.

    Raises:
        DatasetError: there is none, or it is for another environment.
    """
    if name == "random":
        choose = at_random()
        return lambda env, _, info: choose(env, info), {}, name
    if name == "rule":
        return by_the_rule, {}, name
    if name.endswith(".npz"):
        policy = LearnedPolicy.load(name)
        if policy.about.environment.rpartition("-v")[0] != f"vcpu_env/{env_name}":
            raise DatasetError(f"player: {policy.name} is for {policy.about.environment} (allowed: {id_of(env_name)})")
        if policy.about.frame_stack > 1:
            raise DatasetError(f"player: {policy.name} sees {policy.about.frame_stack} frames (allowed: 1)")
        given = {argument: getattr(policy.about.config, argument) for argument in ITS_OWN}
        return of_network(policy), {"rule": policy.about.rule} | given, policy.name
    policies = [each for each, policy in POLICIES.items() if not policy.oracle]
    if name not in policies:
        raise DatasetError(f"player: value '{name}' ({nearest(name, ['random', 'rule', *policies])}, or FILE.npz)")
    if POLICIES[name].target_rule is None or env_name in ("PenaltyScale", "HostTuner"):
        return by_the_rule, {"rule": name}, name
    return of_rule(name), {}, name


def record(env: HostVectorEnv, player: Player, seed: int) -> list[Episode]:
    """An episode of every machine of a batch (autoreset mode NEXT_STEP)."""
    observations, info = env.reset(seed=seed)
    episodes = [Episode(seed + i) for i in range(env.num_envs)]
    for i, episode in enumerate(episodes):
        note(episode, observations[i], info, i)
    going = np.ones(env.num_envs, np.bool_)
    while going.any():
        actions = player(env, observations, info)
        observations, rewards, _, truncated, info = env.step(actions)
        for i in np.flatnonzero(going).tolist():
            episode = episodes[i]
            chosen = {key: value[i] for key, value in actions.items()} if isinstance(actions, dict) else actions[i]
            episode.actions.append(chosen)
            episode.rewards.append(float(rewards[i]))
            episode.truncations.append(bool(truncated[i]))
            note(episode, observations[i], info, i)
        going &= ~truncated
    return episodes


def note(episode: Episode, observation: np.ndarray, info: dict[str, Any], i: int) -> None:
    """Keep what machine i shows."""
    episode.observations.append(observation)
    told: dict[str, Any] = {
        "elapsed_ns": info["elapsed_ns"][i],
        "reward_terms": {term: values[i] for term, values in info["reward_terms"].items() if term[0] != "_"},
    }
    if "action_mask" in info:
        told["action_mask"] = info["action_mask"][i]
    episode.infos.append(told)


def stacked(entries: list[Any]) -> Any:
    """Of a list of arrays an array, of numbers a list (Minari can't read arrays of numbers again), of dicts a dict."""
    if isinstance(entries[0], dict):
        return {key: stacked([entry[key] for entry in entries]) for key in entries[0]}
    return np.stack(entries) if np.ndim(entries[0]) else np.array(entries).tolist()


def buffer_of(episode: Episode, number: int) -> Any:
    """An episode as Minari takes it."""
    from minari.data_collector import EpisodeBuffer

    return EpisodeBuffer(
        id=number,
        seed=episode.seed,
        observations=np.stack(episode.observations),
        actions=stacked(episode.actions),
        rewards=episode.rewards,
        terminations=[False] * len(episode.rewards),
        truncations=episode.truncations,
        infos=stacked(episode.infos),
    )


def write(dataset_id: str, env: gymnasium.Env[Any, Any], buffers: list[Any], player: str, out: Path | None) -> Any:
    """Make a Minari dataset of these episodes.

    Raises:
        DatasetError: there is one of this id.
    """
    import minari

    if out is not None:
        os.environ["MINARI_DATASETS_PATH"] = str(out.absolute())
    if dataset_id in minari.list_local_datasets():
        raise DatasetError(f"dataset: '{dataset_id}' is there (allowed: a new one; minari delete {dataset_id})")
    terms = ", ".join(f"{weight:g} {term}" for term, weight in env.unwrapped.config.reward.items())  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the author and a link to the code
        return minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            env=env,
            algorithm_name=player,
            data_format="arrow",
            description=f"{env.spec.id if env.spec else ''} played by {player}; reward: {terms}",
            requirements=["vcpu-env"],
        )


@app.command()
def command(
    environment: Annotated[str, typer.Argument(metavar="NAME", help="Of the environment, as CandidateChoice.")],
    players: Annotated[list[str], typer.Argument(metavar="PLAYER...", help="random, rule, a policy, or FILE.npz.")],
    episodes: Annotated[int, typer.Option(min=1, max=100_000, help="Of each player.")] = 64,
    max_decisions: Annotated[int | None, typer.Option(min=1, help="Most decisions of an episode.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first episode.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="That run machines; no result depends on it.")] = 1,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of Minari's own directory.")] = None,
) -> None:
    """Let players play, and keep what they saw and did as Minari datasets."""
    (name,) = checked_names([environment])
    chosen = [player_of(player, name) for player in players]
    for play, arguments, called in chosen:
        arguments = arguments | ({} if max_decisions is None else {"max_decisions": max_decisions})
        buffers: list[Any] = []
        for first in range(0, episodes, MACHINES):
            count = min(MACHINES, episodes - first)
            batch: Any = gymnasium.make_vec(id_of(name), num_envs=count, threads=threads, **arguments).unwrapped
            kept = record(batch, play, seed + first)
            buffers += [buffer_of(episode, first + i) for i, episode in enumerate(kept)]
        dataset_id = f"vcpu_env/{name}/{called}-v{VERSIONS[name]}"
        write(dataset_id, gymnasium.make(id_of(name), **arguments), buffers, called, out)
        steps = sum(len(buffer.rewards) for buffer in buffers)
        earned = np.array([sum(buffer.rewards) for buffer in buffers])
        say(f"{dataset_id}: {len(buffers)} episodes, {steps:,} steps, return {earned.mean():.3f}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ReferenceError, ValueError, OSError))


if __name__ == "__main__":
    main()
