"""Teachers: rules, the series, or search by forking, asked for their action at each decision of an environment."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from agents.config import Cloning, TrainConfig
from vcpu_env.base.jit import kjit
from vcpu_env.envs.action import boosts
from vcpu_env.envs.batch import HostVectorEnv
from vcpu_env.envs.compiled.types import env_state
from vcpu_env.envs.lookahead import Lookahead
from vcpu_env.envs.parallel import handles
from vcpu_env.kernel.yield_types import BOOST_PENALTY, BOOST_RULE, SCALE_ONE_Q16
from vcpu_env.policy.named import POLICIES
from vcpu_env.policy.rules import call_rule, rule_address
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, YIELD_VIEW, yield_view


@dataclass(frozen=True)
class Lessons:
    """What was seen, and what the teacher did: (N, features), (N, dimensions), (N, length of the mask)."""

    observations: np.ndarray
    actions: np.ndarray
    masks: np.ndarray


@kjit
def ask_rule(machines, address, answers, given):
    """The target and the boost that a compiled rule answers at each machine's decision; no machine is changed."""
    for i in range(len(machines)):
        w = machines[i]
        view = yield_view(w)
        answers[i], given[i] = AS_KERNEL, BOOST_RULE
        if env_state(w).at_decision:
            answers[i] = call_rule(address, view)
            given[i] = view.boost
            view.boost, view.penalty_scale_q16 = BOOST_RULE, SCALE_ONE_Q16


def second_values(env: Any) -> dict[int, int]:
    """The second number of an action, by the boost that a rule gives; what an action cannot say is the series' own."""
    table = boosts(env.kind, env.config.penalty_levels)
    own = next(
        (i for i, (_, boost, scale) in enumerate(table) if boost in (BOOST_RULE, BOOST_PENALTY) and scale == 1), 0
    )
    return {BOOST_RULE: own} | {boost: i for i, (_, boost, scale) in enumerate(table) if scale == 1}


def lessons_of_rule(env: HostVectorEnv, name: str, count: int) -> Lessons:
    """What a rule, or the configured one ("series"), does when it decides on a batch."""
    seconds = second_values(env)
    address = None if name == "series" else rule_address(POLICIES[name].target_rule or "", YIELD_VIEW)
    answers, given = (np.full(env.num_envs, value, np.int64) for value in (AS_KERNEL, BOOST_RULE))
    seen: list[tuple[np.ndarray, ...]] = []
    observations, _ = env.reset(seed=0)
    while len(seen) * env.num_envs < count:
        if address is not None:
            ask_rule(handles([lane.running.world for lane in env.lanes]), address, answers, given)
        # a candidate that the environment does not show cannot be imitated: leave it to the rule
        candidates = np.where(answers < FIRST_CANDIDATE + env.config.nr_candidates, answers, AS_KERNEL)
        actions = candidates[:, None]
        if env.actions.nr_boosts:
            actions = np.column_stack([candidates, [seconds.get(int(boost), seconds[BOOST_RULE]) for boost in given]])
        seen.append((observations, actions, env.action_masks()))
        observations, *_ = env.step(actions.reshape(env.action_space.shape or ()))
    return Lessons(*(np.concatenate(parts) for parts in zip(*seen, strict=True)))


def lessons_of_lookahead(config: TrainConfig, mix: Any, horizon_ns: int, count: int) -> Lessons:
    """What search by forking does, one environment after the other decision."""
    arguments = config.arguments
    env: Any = gymnasium.make(config.environment_id, scenario=mix, rule=config.rule, **arguments).unwrapped
    observation, _ = env.reset(seed=config.seed)
    search = Lookahead(env, horizon_ns)
    seen: list[tuple[np.ndarray, ...]] = []
    while len(seen) < count:
        action = best_action(search, env)
        seen.append((observation, np.atleast_1d(action), env.action_masks()))
        observation, _, _, over, _ = env.step(action)
        if over:
            observation, _ = env.reset()
    return Lessons(*(np.array(parts) for parts in zip(*seen, strict=True)))


def best_action(search: Lookahead, env: Any) -> Any:
    """The action that earns most; the rule's own where none earns more, which many decisions do not decide."""
    values = search.values()
    own = (AS_KERNEL, second_values(env)[BOOST_RULE])
    first, second = own if values[own] >= values.max() else np.unravel_index(np.argmax(values), values.shape)
    return np.array([first, second]) if env.actions.nr_boosts else int(first)


def lessons(config: TrainConfig, cloning: Cloning, env: HostVectorEnv) -> Lessons:
    """The teacher's decisions, as the configuration says."""
    name, _, argument = cloning.teacher.partition(":")
    if name == "lookahead":
        mix = config.stages[0].mix
        return lessons_of_lookahead(config, mix, int(argument.replace("_", "")), cloning.decisions)
    return lessons_of_rule(env, name, cloning.decisions)
