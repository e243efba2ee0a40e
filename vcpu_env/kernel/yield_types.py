"""The constants of the debooster, and the record of one directed-yield decision."""

from vcpu_env.base.jit import NIL
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.world import World

DEBOOST_NONE, DEBOOST_V1, DEBOOST_V2, DEBOOST_V3, DEBOOST_VEE21 = range(5)
DEBOOST = {"none": DEBOOST_NONE, "v1": DEBOOST_V1, "v2": DEBOOST_V2}
"""As recorded traces name them."""

SKIP_NOT, SKIP_DISABLED, SKIP_RATE_LIMIT, SKIP_NOT_SAME_RQ, SKIP_LCA, SKIP_WRAP = range(6)
SKIP_NAMES = (None, "disabled", "rate_limit", "not_same_rq", "lca", "wrap")
"""Why a yield was not penalised; indexed by ``yield_decision.skip``."""

SCALE_ONE_Q16 = 1 << 16
"""A penalty scale of 1, the series itself."""
RATE_LIMIT_NS = 6_000_000
"""The series lets one penalty a CPU pass in this time."""

FORFEIT_ALL = 1024
FORFEIT_LEAF, FORFEIT_HIERARCHICAL, FORFEIT_PROPORTIONAL = range(3)
"""What the yielder gives up: v6.19's forfeit of its own entity, or one of the two that reviewers proposed."""

(
    BOOST_RULE, BOOST_HINT, BOOST_PENALTY, BOOST_CREDIT, BOOST_TRANSFER, BOOST_PLAIN, BOOST_STAY, BOOST_STAY_CREDIT,
    BOOST_MINIMAL, BOOST_FORCE, BOOST_BORROW, NR_BOOSTS,
) = range(12)  # fmt: skip
"""What a directed yield does for its target, beside the forfeit: see `kernel.v6_19.yield_boost`."""

MARGIN_FULL_DEPTH = 8
"""Queue length at which the margin of a credit reaches one base slice."""

CAPS = ((1, 5, 2), (2, 6, 1), (3, 4, 1), (6, 5, 2), (8, 2, 1), (12, 3, 2))
"""The series' caps: queue sizes up to the first number are capped at second / third times the granularity."""
LAST_CAP = (1, 1)
BASELINES = ((2, 1, 1), (3, 15, 16), (6, 5, 8), (8, 1, 2), (12, 3, 8))
LAST_BASELINE = (1, 4)
"""The series' least penalty without a gap. It never acts: the clamp before it leaves at least the granularity."""

deboost_params = Struct(
    "deboost_params",
    [
        ("deboost", "i8"),
        ("vcpu_debooster_enabled", "i8"),
        ("rate_limit_ns", "i8"),
        ("debounce_ns", "i8"),
        ("surcharge_div", "i8"),
        ("penalty_scale_q16", "i8"),
        ("forfeit", "i8"),
        (
            "forfeit_1024",
            "i8",
        ),  # how much of what is left of its request a yielder gives up; in every kernel all
        ("credit_margin_1024", "i8"),  # of a full margin: how far a credited entity is placed behind the average
        ("borrow_ns", "i8"),  # by how much service a hint that borrows may be early
        ("wakeup_gran_ns", "i8"),  # VEE'21: CFS's wakeup granularity
        # v2 as its cover letter describes it, each 0 as posted
        ("live_debounce", "i8"),  # every directed yield counts as the last pair, limited or not
        ("live_baseline", "i8"),  # without a gap the table of baselines decides, not the granularity
        ("fresh_gap", "i8"),  # the yielder is charged before the gap is measured
        ("late_limiter", "i8"),  # only a yield that could be penalised uses up the limiter's turn
        ("cap_up_to", "i8", (6,)),
        ("cap_num", "i8", (7,)),
        ("cap_den", "i8", (7,)),
        ("baseline_up_to", "i8", (5,)),
        ("baseline_num", "i8", (6,)),
        ("baseline_den", "i8", (6,)),
    ],
    single=True,
)

yield_decision = Struct(
    "yield_decision",
    [
        ("y_v", "i8"),  # vruntime of yielder and target
        ("t_v", "i8"),
        ("gran_ns", "i8"),
        ("need_ns", "i8"),
        ("slack_ns", "i8"),  # VEE'21: by how much CFS would let the target be ahead
        ("raw_ns", "i8"),  # the penalty before debounce, clamp and scale
        ("penalty_ns", "i8"),
        ("y_v1", "i8"),  # vruntime and deadline of the yielder, once charged
        ("y_d1", "i8"),
        ("cpu", "i8"),
        ("yielder", "i8"),
        ("target", "i8"),
        ("pending", "i8"),
        ("skip", "i8"),
        ("lca_q", "i8"),
        ("lca_y", "i8"),
        ("lca_t", "i8"),
        ("n", "i8"),
        ("debounced", "i8"),
        ("applied", "i8"),
        ("forfeit", "i8"),
        ("boost", "i8"),  # BOOST_*, chosen with the target; BOOST_RULE: as the kernel's own yield_to()
        ("penalty_scale_q16", "i8"),  # factor of this decision's penalty (on top of deboost_params') or loan
        ("credit_ns", "i8"),  # service that the target was credited with
    ],
    single=True,
)

yield_stats = Struct(
    "yield_stats",
    [
        ("yields", "i8"),  # yield_to() calls that succeeded
        ("applied", "i8"),  # penalties
        ("penalty_ns", "i8"),  # their sum, in virtual time
        ("limited", "i8"),
        ("cross_rq", "i8"),  # the turn of the limiter was used up for a target on another run queue
        ("wrapped", "i8"),
        ("forfeit", "i8"),
        ("credited", "i8"),  # yields whose target was credited with lag
        ("credit_ns", "i8"),  # service that they were credited with
        ("plain", "i8"),  # yields without a target
        ("stayed", "i8"),  # hints after which the spinner kept its CPU
        ("not_applied", "i8"),  # a penalty was asked for and could not be: the yield was a plain hint
    ],
    single=True,
)


def yield_arrays() -> list[StructArray]:
    """Struct arrays of directed yields: the constants, the record of one decision, the counts."""
    return [
        deboost_params.array(),
        yield_decision.array(),
        yield_stats.array(),
    ]


def init_yield(world: World, deboost: int = DEBOOST_NONE, enabled: bool = True) -> None:
    """Fill in the series' constants."""
    params = world["deboost_params"]
    params["deboost"], params["vcpu_debooster_enabled"] = deboost, enabled
    params["rate_limit_ns"], params["debounce_ns"] = RATE_LIMIT_NS, 600_000
    params["surcharge_div"], params["forfeit_1024"] = 10, FORFEIT_ALL
    params["penalty_scale_q16"] = SCALE_ONE_Q16
    params["credit_margin_1024"], params["borrow_ns"], params["wakeup_gran_ns"] = 1024, 4_000_000, 4_000_000
    params["cap_up_to"][0] = [size for size, _, _ in CAPS]
    params["cap_num"][0] = [num for _, num, _ in CAPS] + [LAST_CAP[0]]
    params["cap_den"][0] = [den for _, _, den in CAPS] + [LAST_CAP[1]]
    params["baseline_up_to"][0] = [size for size, _, _ in BASELINES]
    params["baseline_num"][0] = [num for _, num, _ in BASELINES] + [LAST_BASELINE[0]]
    params["baseline_den"][0] = [den for _, _, den in BASELINES] + [LAST_BASELINE[1]]
    decision = world["yield_decision"]
    for field in ("cpu", "yielder", "target", "lca_q", "lca_y", "lca_t"):
        decision[field] = NIL
    decision["penalty_scale_q16"] = SCALE_ONE_Q16
