"""State of an environment. It lies in the machine's world, so that a copy of the world is a copy of the environment."""

from vcpu_env.base.structs import Struct, StructArray

DIRECTED_YIELD, PENALTY_SCALE, CANDIDATE_CHOICE, JOINT_YIELD, WIDE_YIELD, HOST_TUNER = range(6)
"""Which decision is the agent's, and how it answers."""

EVERY_SPIN, SAME_RQ, RULE_ACTS, EVERY_NTH, SAMPLED, PERIOD = range(6)
"""Which decisions are asked for; the configured rule answers the others."""

RESTING, JITTER, FIRST_DECISION, STEP = range(4)
"""What a machine is in the middle of, when a signal has cut it short."""

REWARD_TERMS = ("work", "useful", "spin", "unfairness", "switches", "ipi_latency")
NR_TERMS = len(REWARD_TERMS)
MAX_ACTIONS = 10
NR_HOST_COUNTERS = 12
MAX_BOOSTS = 16
NR_CURVE_POINTS = 256
"""What the rule has earned is known at so many equal parts of an episode, and in between by a straight line."""

env_params = Struct(
    "env_params",
    [
        ("kind", "i8"),
        ("nr_candidates", "i8"),  # K
        ("filter", "i8"),
        ("filter_arg", "i8"),  # every n-th: n; sampled: probability in 2^-32; period: ns
        ("horizon_ns", "i8"),
        ("max_decisions", "i8"),  # 0: no limit
        ("epoch_ns", "i8"),  # HOST_TUNER: time between two actions
        ("own_rule", "i8"),  # the configured policy has a compiled target rule
        ("own_penalty_rule", "i8"),
        ("nr_vms", "i8"),
        ("nr_hidden", "i8"),  # observation features that read 0
        ("over_rule", "i8"),  # the reward is what the step earns more than the rule on the same seed
        ("max_penalty_scale", "f8"),
        ("boost", "i8", (MAX_BOOSTS,)),  # what the second action dimension means
        ("penalty_scale_q16", "i8", (MAX_BOOSTS,)),
        ("reward_scale", "f8", (NR_TERMS,)),  # weight times unit of each term
        ("unit", "f8", (NR_TERMS,)),  # what a term's counter is multiplied by where it is told
    ],
    single=True,
)

env_state = Struct(
    "env_state",
    [
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("asked", "i8"),  # decisions answered by the agent
        ("seen", "i8"),  # decisions of that kind in all
        ("next_ask_ns", "i8"),
        ("sample_key", "i8"),
        ("at_decision", "i8"),
        ("truncated", "i8"),
        ("under_way", "i8"),  # RESTING between two calls, unless a signal has cut one short
        ("illegal", "i8"),  # candidates that were not there, taken as "nobody"
        ("last_ns", "i8"),
        ("elapsed_ns", "i8"),  # simulated time of the last step
        ("action", "f8", (MAX_ACTIONS,)),
        ("reward", "f8"),
        ("rule_earned", "f8"),  # over_rule: what the rule had earned by the last step
        ("total", "i8", (NR_TERMS,)),  # counters behind the reward terms, at the last step
        ("first", "i8", (NR_TERMS,)),  # and when the episode began
        ("term", "i8", (NR_TERMS,)),  # their change in the last step
        ("told", "f8", (2 * NR_TERMS,)),  # that change, and the one since the episode began, in the terms' units
        ("host_total", "i8", (NR_HOST_COUNTERS,)),  # HOST_TUNER: counters at the last step
        ("host_term", "i8", (NR_HOST_COUNTERS,)),  # and their change in it
    ],
    single=True,
)

vm_account = Struct(
    "vm_account",
    [
        ("run_start_ns", "i8"),  # CPU time that the VM had had when the episode began
        ("run_ns", "i8"),  # and has had by the last step
        ("weight", "i8"),
        ("unit_ns", "i8"),  # time that the configured rule needed for one unit of the VM's work, in the warm-up
    ],
)

observation = Struct("observation", [("value", "f4")])
action_mask = Struct("action_mask", [("legal", "i1")])
hidden = Struct("hidden", [("index", "i8")])
rule_curve = Struct("rule_curve", [("earned", "f8")])
"""What the rule earns on the episode's seed: at its start, and at the end of each of `NR_CURVE_POINTS` equal parts."""


def env_arrays(nr_features: int, nr_mask: int, nr_vms: int) -> list[StructArray]:
    """The struct arrays of an environment."""
    return [
        env_params.array(),
        env_state.array(),
        observation.array(nr_features),
        action_mask.array(max(nr_mask, 1)),
        vm_account.array(nr_vms),
        hidden.array(nr_features),
        rule_curve.array(NR_CURVE_POINTS + 1),
    ]
