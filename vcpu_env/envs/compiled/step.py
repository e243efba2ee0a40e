"""One step of an environment inside its machine: do what the agent answered, go on to its next decision.

Decisions that the filter does not pass on are answered by the configured rule, without leaving compiled code.
"""

from vcpu_env.base.interrupts import INTERRUPTED
from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.base.random import draw, mix64, set_seed
from vcpu_env.base.timeline import NEVER, machine_clock
from vcpu_env.engine.loop import cut_short, run_until
from vcpu_env.engine.state import ANSWERED, RUNNING, STOPPED_AT_DECISION, engine
from vcpu_env.envs.compiled.observe import observe
from vcpu_env.envs.compiled.reward import begin_account, earned, settle_step
from vcpu_env.envs.compiled.tuner import count_host, observe_host_tuner, tune
from vcpu_env.envs.compiled.types import (
    CANDIDATE_CHOICE,
    DIRECTED_YIELD,
    EVERY_NTH,
    EVERY_SPIN,
    FIRST_DECISION,
    HOST_TUNER,
    JITTER,
    MAX_ACTIONS,
    NR_CURVE_POINTS,
    PENALTY_SCALE,
    PERIOD,
    RESTING,
    SAME_RQ,
    SAMPLED,
    STEP,
    action_mask,
    env_params,
    env_state,
    rule_curve,
)
from vcpu_env.kernel.yield_penalty import scaled
from vcpu_env.kernel.yield_types import BOOST_RULE, SCALE_ONE_Q16
from vcpu_env.kvm.types import kvm_params
from vcpu_env.policy.rules import call_rule
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, NOBODY, decision_rules, rule_target, yield_view


@kjit
def penalty_scale_q16(action, max_penalty_scale):
    """The penalty scale of an action in -1..1: 1 (the series) at 0; below it (1 + a)^2, above `max_penalty_scale`^a."""
    scale = (1.0 + action) ** 2 if action < 0.0 else max_penalty_scale**action
    return int(scale * SCALE_ONE_Q16 + 0.5)


@kjit
def rule_would_act(w):
    """Whether the kernel's loop would find somebody to try."""
    view = yield_view(w)
    params = kvm_params(w)
    relaxed = params.relaxed_round and params.enable_relaxed_boost
    for i in range(view.nr_candidates):
        if view.good[i] or (relaxed and view.preempted[i]):
            return True
    return False


@kjit
def same_rq_target(w):
    """Whether a candidate waits on the spinner's own CPU."""
    view = yield_view(w)
    for i in range(view.nr_candidates):
        if view.same_rq[i]:
            return True
    return False


@kjit
def asks(w):
    """Whether the decision that the machine has stopped at is the agent's."""
    params, state, view = env_params(w), env_state(w), yield_view(w)
    state.seen += 1
    kind = params.filter
    if kind == EVERY_SPIN:
        return True
    if kind == EVERY_NTH:
        return (state.seen - 1) % params.filter_arg == 0
    if kind == SAMPLED:
        return draw(state.sample_key, state.seen) < params.filter_arg
    if kind == PERIOD:
        if view.now_ns < state.next_ask_ns:
            return False
        state.next_ask_ns = view.now_ns + params.filter_arg
        return True
    if view.target != NIL:
        return True
    return same_rq_target(w) if kind == SAME_RQ else rule_would_act(w)


@kjit
def answer_as_rule(w):
    """Answer the decision as the configured policy would."""
    params, view, rules, state = env_params(w), yield_view(w), decision_rules(w), engine(w)
    if view.target != NIL:
        state.answer = view.series_penalty_ns
        if params.own_penalty_rule:
            state.answer = call_rule(rules.penalty_address, view)
    else:
        state.answer = rule_target(w, params.own_rule)
    state.status = ANSWERED


@kjit
def legal_candidate(w, candidate):
    """The candidate of an action, or "nobody" if there is none of that number."""
    last = FIRST_CANDIDATE + min(yield_view(w).nr_candidates, env_params(w).nr_candidates) - 1
    if candidate < NOBODY or candidate > last:
        env_state(w).illegal += 1
        return NOBODY
    return candidate


@kjit
def answer_as_agent(w):
    """Answer the decision with `env_state.action`."""
    params, state, view = env_params(w), env_state(w), yield_view(w)
    action = state.action
    state.asked += 1
    if params.kind == PENALTY_SCALE:
        scale_q16 = penalty_scale_q16(action[0], params.max_penalty_scale)
        engine(w).answer = scaled(view.series_penalty_ns, scale_q16)
        engine(w).status = ANSWERED
        return
    candidate = legal_candidate(w, int(action[0]))
    if candidate == AS_KERNEL:
        answer_as_rule(w)
    else:
        engine(w).answer = candidate
        engine(w).status = ANSWERED
    if params.kind == DIRECTED_YIELD:
        view.penalty_scale_q16 = penalty_scale_q16(action[1], params.max_penalty_scale)
    elif params.kind == CANDIDATE_CHOICE:
        if candidate >= FIRST_CANDIDATE and params.boost[0] != BOOST_RULE:
            view.boost = params.boost[0]
            view.penalty_scale_q16 = params.penalty_scale_q16[0]
    else:
        level = int(action[1])
        if params.boost[level] != BOOST_RULE:
            view.boost = params.boost[level]
        view.penalty_scale_q16 = params.penalty_scale_q16[level]


@kjit
def advance(w, end_ns):
    """Run to the agent's next decision, at most up to `end_ns`; a signal may cut it short (`cut_short`)."""
    state = env_state(w)
    state.at_decision = 0
    while run_until(w, end_ns) == STOPPED_AT_DECISION:
        if asks(w):
            state.at_decision = 1
            return
        answer_as_rule(w)


@kjit
def fill_mask(w):
    """Which candidates may be chosen: nobody, as the rule would, and those that are there."""
    params = env_params(w)
    if params.kind == PENALTY_SCALE or params.kind == HOST_TUNER:
        return
    present = min(yield_view(w).nr_candidates, params.nr_candidates) if env_state(w).at_decision else 0
    for i in range(FIRST_CANDIDATE + params.nr_candidates):
        action_mask(w, i).legal = i < FIRST_CANDIDATE + present


@kjit
def look(w):
    """Observation and mask of the present moment."""
    state = env_state(w)
    now_ns = machine_clock(w).now_ns
    state.elapsed_ns = now_ns - state.last_ns
    state.last_ns = now_ns
    if env_params(w).kind == HOST_TUNER:
        observe_host_tuner(w)
    else:
        observe(w)
        fill_mask(w)


@entry_point
def env_begin(w, seed, jitter_ns):
    """Begin an episode: another future for the machine, some time of it under the rule, then the first decision.

    Returns the status of the machine (`engine.state`), or INTERRUPTED: called again, it goes on.
    """
    state, params = env_state(w), env_params(w)
    if state.under_way == RESTING:
        set_seed(w, seed)
        state.sample_key = mix64(seed)
        state.asked, state.seen, state.illegal, state.truncated, state.next_ask_ns = 0, 0, 0, 0, 0
        state.start_ns = machine_clock(w).now_ns + jitter_ns
        state.at_decision = 0
        for i in range(MAX_ACTIONS):
            state.action[i] = 0.0
        state.under_way = JITTER
    if state.under_way == JITTER:
        while run_until(w, state.start_ns) == STOPPED_AT_DECISION:
            answer_as_rule(w)
        if cut_short(w, state.start_ns):
            return INTERRUPTED
        state.under_way = FIRST_DECISION
    if params.kind == HOST_TUNER:
        count_host(w)
    else:
        end_ns = state.start_ns + params.horizon_ns
        advance(w, end_ns)
        if cut_short(w, end_ns):
            return INTERRUPTED
    state.under_way = RESTING
    state.start_ns = machine_clock(w).now_ns
    state.last_ns = state.start_ns
    state.end_ns = state.start_ns + params.horizon_ns
    begin_account(w)
    look(w)
    return engine(w).status


@entry_point
def env_follow_rule(w, twin):
    """Fill in `rule_curve` of an episode that has just begun: `twin`, a copy of the machine, plays it as the rule."""
    state = env_state(w)
    span_ns = state.end_ns - state.start_ns
    before = earned(twin)
    if env_state(twin).at_decision:
        answer_as_rule(twin)
    for k in range(1, NR_CURVE_POINTS + 1):
        end_ns = state.start_ns + span_ns // NR_CURVE_POINTS * k + span_ns % NR_CURVE_POINTS * k // NR_CURVE_POINTS
        status = run_until(twin, end_ns)
        while status == STOPPED_AT_DECISION or status == INTERRUPTED:  # signals wait: it is one episode
            if status == STOPPED_AT_DECISION:
                answer_as_rule(twin)
            status = run_until(twin, end_ns)
        rule_curve(w, k).earned = earned(twin) - before
    return engine(twin).status


@kjit
def take_action(w):
    """Do what `env_state.action` says."""
    state = env_state(w)
    if env_params(w).kind == HOST_TUNER:
        state.seen += 1
        state.asked += 1
        state.next_ask_ns = min(state.end_ns, machine_clock(w).now_ns + env_params(w).epoch_ns)
        tune(w)
    elif state.at_decision:
        answer_as_agent(w)


@kjit
def go_on(w, end_ns):
    """Run to the next decision, or the end of the epoch or the episode, but not beyond `end_ns`.

    Returns whether a signal has cut it short.
    """
    state = env_state(w)
    if env_params(w).kind == HOST_TUNER:
        end_ns = min(end_ns, state.next_ask_ns)
        run_until(w, end_ns)
    else:
        end_ns = min(end_ns, state.end_ns)
        advance(w, end_ns)
    return cut_short(w, end_ns)


@kjit
def finish(w):
    """The step is over: reward, whether the episode is, observation."""
    state, params = env_state(w), env_params(w)
    over = machine_clock(w).now_ns >= state.end_ns and engine(w).status == RUNNING
    state.truncated = over or (params.max_decisions > 0 and state.asked >= params.max_decisions)
    settle_step(w)
    look(w)


@entry_point
def env_step(w):
    """One step with `env_state.action`.

    Returns the status of the machine (`engine.state`), or INTERRUPTED: called again, it goes on.
    """
    state = env_state(w)
    if state.under_way == RESTING:
        take_action(w)
        state.under_way = STEP
    if go_on(w, NEVER):
        return INTERRUPTED
    state.under_way = RESTING
    finish(w)
    return engine(w).status


@entry_point
def env_step_begin(w):
    """The first part of a step that is watched: the action is taken."""
    take_action(w)
    return engine(w).status


@entry_point
def env_step_part(w, end_ns):
    """The next part, up to `end_ns`. Returns 1 while the step goes on; INTERRUPTED: before `end_ns`."""
    if go_on(w, end_ns):
        return INTERRUPTED
    state = env_state(w)
    end_of_step_ns = state.end_ns
    if env_params(w).kind == HOST_TUNER:
        end_of_step_ns = state.next_ask_ns
    waits = machine_clock(w).now_ns < end_of_step_ns and engine(w).status == RUNNING
    return 1 if waits else 0


@entry_point
def env_step_end(w):
    """The last part."""
    finish(w)
    return engine(w).status
