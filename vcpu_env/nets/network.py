"""A policy network inside compiled code: forward pass, masked sampling and log-probability without Python.

A network is two flat arrays, made by `nets.packing.pack`: `weights` (float32) and `layout` (int64) that
says where things lie. The layout is a small program: each of its stages multiplies one span of `scratch` by a matrix
into another. Actor and critic read the same observation, so their first layers are one stage. All memory is the
caller's: `scratch` has `scratch_size(layout)` floats, and belongs to one call at a time.

Results are the same bits on every run and in both modes: sums go over inputs in order, networks are float32 without
fused operations, distributions are float64 with libm's functions, and randomness is a hash of (key, count).
"""

import math

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.random import draw

CATEGORICAL, GAUSSIAN, SQUASHED_GAUSSIAN = range(3)
LINEAR, TANH, RELU = range(3)
HEADS = {"categorical": CATEGORICAL, "gaussian": GAUSSIAN, "squashed_gaussian": SQUASHED_GAUSSIAN}
ACTIVATIONS = {"tanh": TANH, "relu": RELU}

(
    NR_INPUTS,
    NORMALISE_AT,  # in weights: means, 1 / std, clip; NIL: observations are taken as they are
    HEAD,
    NR_DIMS,  # of an action
    SIZES_AT,  # in layout: choices of each categorical dimension
    OUTPUTS_AT,  # in scratch: logits, or means (squashed: then log stds)
    LOG_STD_AT,  # in weights, for GAUSSIAN
    VALUE_AT,  # in scratch; NIL: there is no critic
    NR_DRAWS,  # random numbers that belong to one action, used or not
    ROWS_AT,  # in scratch: which inputs of a stage are not zero
    SCRATCH_SIZE,
    NR_STAGES,
    HEADER_WORDS,
) = range(13)
"""Words of a layout; then come the stages, each `STAGE_WORDS` long, and the sizes."""

(
    SOURCE,  # in scratch
    INPUTS,
    TARGET,  # in scratch
    WIDTH,  # outputs, a multiple of `ALIGN`
    MATRIX_AT,  # in weights: the row of biases, then a row of `WIDTH` for each input
    ACTIVATION,
    ACTIVE_FROM,  # the outputs that the activation applies to
    ACTIVE_TO,
    STAGE_WORDS,
) = range(9)

ALIGN = 16
"""Rows of matrices are padded to this many floats: one cache line."""

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
"""Limits of a squashed Gaussian's log std (SAC, Stable-Baselines3)."""
SQUASH_EPSILON = 1e-6
HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
TWO_PI = 2 * math.pi
TWO_POW_MINUS_32 = 2.0**-32

ZERO = np.float32(0)
TANH_LIMIT = np.float32(8)
P0, P1, P2, P3, P4 = (
    np.float32(p) for p in (9.99999970e-1, 1.34381956e-1, 3.56416102e-3, 2.17733098e-5, 1.50618605e-8)
)
Q1, Q2, Q3, Q4 = (np.float32(q) for q in (4.67715164e-1, 2.61360353e-2, 3.39918670e-4, 8.45369113e-7))
Q0 = np.float32(1)


@kjit
def tanh32(x):
    """tanh in float32, error < 4e-7: x P(x^2) / Q(x^2), a least-squares fit reweighted to equal ripples on [0, 8]."""
    if x > TANH_LIMIT:
        x = TANH_LIMIT
    if x < -TANH_LIMIT:
        x = -TANH_LIMIT
    u = x * x
    p = (((P4 * u + P3) * u + P2) * u + P1) * u + P0
    q = (((Q4 * u + Q3) * u + Q2) * u + Q1) * u + Q0
    return x * p / q


@kjit
def scratch_size(layout):
    """How many floats of scratch memory a call needs."""
    return layout[SCRATCH_SIZE]


# In the next functions indices are unsigned: signed ones may be negative (from an array's end), and the compiler makes
# vector instructions of a loop only if it sees that they are not. (Unsigned and signed together would make a float.)
U1, U2, U3, U4 = (np.uint64(k) for k in range(1, 5))


@kjit
def nonzero_rows(scratch, source, inputs, rows):
    """List the inputs that are not zero, as floats (exact: at most 2**20); returns the end of the list."""
    for i in range(inputs):
        scratch[rows] = i
        rows += np.uint64(scratch[source + i] != ZERO)
    return rows


@kjit
def add_row(scratch, source, target, width, weights, matrix, rows):
    """target += x * row of the matrix, elementwise, for the first input in a list."""
    i = np.uint64(scratch[rows])
    x, row = scratch[source + i], matrix + i * width
    for j in range(width):
        scratch[target + j] += x * weights[row + j]


@kjit
def add_four_rows(scratch, source, target, width, weights, matrix, rows):
    """The same as `add_row` for the first four, in order, with one pass over the target."""
    i_0, i_1 = np.uint64(scratch[rows]), np.uint64(scratch[rows + U1])
    i_2, i_3 = np.uint64(scratch[rows + U2]), np.uint64(scratch[rows + U3])
    x_0, x_1, x_2, x_3 = scratch[source + i_0], scratch[source + i_1], scratch[source + i_2], scratch[source + i_3]
    row_0, row_1, row_2, row_3 = matrix + i_0 * width, matrix + i_1 * width, matrix + i_2 * width, matrix + i_3 * width
    for j in range(width):
        y = scratch[target + j] + x_0 * weights[row_0 + j]
        y += x_1 * weights[row_1 + j]
        y += x_2 * weights[row_2 + j]
        scratch[target + j] = y + x_3 * weights[row_3 + j]


@kjit
def multiply(scratch, source, inputs, target, width, weights, matrix, rows):
    """target = bias + source @ matrix, input by input in order; inputs that are zero are skipped."""
    for j in range(width):
        scratch[target + j] = weights[matrix + j]
    matrix += width
    end = nonzero_rows(scratch, source, inputs, rows)
    while rows + U4 <= end:
        add_four_rows(scratch, source, target, width, weights, matrix, rows)
        rows += U4
    while rows < end:
        add_row(scratch, source, target, width, weights, matrix, rows)
        rows += U1


@kjit
def activate(scratch, start, stop, activation):
    """Apply an activation in place."""
    start, stop = np.uint64(start), np.uint64(stop)
    if activation == TANH:
        for j in range(start, stop):
            scratch[j] = tanh32(scratch[j])
    elif activation == RELU:
        for j in range(start, stop):
            scratch[j] = scratch[j] if scratch[j] > ZERO else ZERO


@kjit
def read_observation(layout, weights, observation, scratch):
    """Copy the observation to the start of scratch, normalised as by VecNormalize if the network wants that."""
    inputs = layout[NR_INPUTS]
    if layout[NORMALISE_AT] == NIL:
        for i in range(inputs):
            scratch[i] = observation[i]
        return
    inputs, at = np.uint64(inputs), np.uint64(layout[NORMALISE_AT])
    clip = weights[at + inputs + inputs]
    for i in range(inputs):
        x = (observation[i] - weights[at + i]) * weights[at + inputs + i]
        if x > clip:
            x = clip
        if x < -clip:
            x = -clip
        scratch[i] = x


@kjit
def forward(layout, weights, observation, scratch):
    """Run the network: logits or means are left in scratch at ``layout[OUTPUTS_AT]``; returns the value.

    The value is NaN where there is no critic.
    """
    read_observation(layout, weights, observation, scratch)
    for stage in range(layout[NR_STAGES]):
        s = HEADER_WORDS + stage * STAGE_WORDS
        target = layout[s + TARGET]
        multiply(
            scratch,
            np.uint64(layout[s + SOURCE]),
            np.uint64(layout[s + INPUTS]),
            np.uint64(target),
            np.uint64(layout[s + WIDTH]),
            weights,
            np.uint64(layout[s + MATRIX_AT]),
            np.uint64(layout[ROWS_AT]),
        )
        activate(scratch, target + layout[s + ACTIVE_FROM], target + layout[s + ACTIVE_TO], layout[s + ACTIVATION])
    if layout[VALUE_AT] == NIL:
        return math.nan
    return np.float64(scratch[layout[VALUE_AT]])


@kjit
def uniform(key, count):
    """The `count`-th uniform number of a stream, strictly between 0 and 1."""
    return (np.float64(draw(key, count)) + 0.5) * TWO_POW_MINUS_32


@kjit
def normal(key, count):
    """A standard normal number from draws `count` and `count` + 1 (Box and Muller)."""
    return math.sqrt(-2.0 * math.log(uniform(key, count))) * math.cos(TWO_PI * uniform(key, count + 1))


@kjit
def choose(scratch, logits, mask, first, size, key, count, deterministic):
    """One categorical dimension, entries `first` .. `first` + `size` - 1: (entry, its log-probability).

    Sampling is Gumbel-max in its exponential form: the largest exp(logit) / -log(uniform) wins; entry j uses draw
    `count` + j. An entry whose mask is 0 has probability 0; (NIL, -inf) if all have.
    """
    best = NIL
    for j in range(first, first + size):
        if len(mask) == 0 or mask[j] != 0:
            if best == NIL or scratch[logits + j] > scratch[logits + best]:
                best = j
    if best == NIL:
        return NIL, -math.inf
    top = np.float64(scratch[logits + best])
    total, chosen, lead = 0.0, best, -1.0
    for j in range(first, first + size):
        if len(mask) == 0 or mask[j] != 0:
            likelihood = math.exp(np.float64(scratch[logits + j]) - top)
            total += likelihood
            if not deterministic:
                race = likelihood / -math.log(uniform(key, count + j))
                if race > lead:
                    chosen, lead = j, race
    return chosen - first, np.float64(scratch[logits + chosen]) - top - math.log(total)


@kjit
def act_categorical(layout, scratch, mask, key, count, deterministic, action):
    """One choice for each dimension; returns the log-probability of all together."""
    log_prob, first = 0.0, 0
    for d in range(layout[NR_DIMS]):
        size = layout[layout[SIZES_AT] + d]
        choice, choice_log_prob = choose(scratch, layout[OUTPUTS_AT], mask, first, size, key, count, deterministic)
        action[d] = choice
        log_prob += choice_log_prob
        first += size
    return log_prob


@kjit
def act_gaussian(layout, weights, scratch, key, count, deterministic, action):
    """Independent normal numbers; the log-density is that of the action as rounded by storing it."""
    means, log_prob = layout[OUTPUTS_AT], 0.0
    for d in range(layout[NR_DIMS]):
        mean, log_std = np.float64(scratch[means + d]), np.float64(weights[layout[LOG_STD_AT] + d])
        z = 0.0 if deterministic else normal(key, count + 2 * d)
        std = math.exp(log_std)
        action[d] = mean + std * z
        z = (np.float64(action[d]) - mean) / std
        log_prob -= 0.5 * z * z + log_std + HALF_LOG_2_PI
    return log_prob


@kjit
def act_squashed_gaussian(layout, scratch, key, count, deterministic, action):
    """tanh of normal numbers, as the actors of SAC and TQC: in [-1, 1]."""
    means, n, log_prob = layout[OUTPUTS_AT], layout[NR_DIMS], 0.0
    for d in range(n):
        mean, log_std = np.float64(scratch[means + d]), np.float64(scratch[means + n + d])
        log_std = max(LOG_STD_MIN, min(LOG_STD_MAX, log_std))
        z = 0.0 if deterministic else normal(key, count + 2 * d)
        squashed = math.tanh(mean + math.exp(log_std) * z)
        action[d] = squashed
        log_prob -= 0.5 * z * z + log_std + HALF_LOG_2_PI + math.log(1.0 - squashed * squashed + SQUASH_EPSILON)
    return log_prob


@kjit
def act(layout, weights, observation, mask, key, count, deterministic, scratch, action):
    """Choose an action: it is written to `action`; returns its log-probability (density) and the value, as float64.

    Args:
        layout, weights: `PolicyWeights.pack`.
        observation: float32.
        mask: for categorical heads: 0 forbids an entry, flat over the dimensions; of length 0: everything is allowed.
            A dimension without a legal entry gets action -1.
        key, count: the `count`-th action of stream `key` has draws `count` * n .. `count` * n + n - 1 to itself; n is
            ``layout[NR_DRAWS]``: the number of entries, or twice the dimensions of a Gaussian.
        deterministic: the likeliest entry (the first of equals), or the mean.
        scratch: float32, `scratch_size(layout)` long.
        action: float32 or float64, one number a dimension. Not clipped to an action space.
    """
    value = forward(layout, weights, observation, scratch)
    count *= layout[NR_DRAWS]
    head = layout[HEAD]
    if head == CATEGORICAL:
        log_prob = act_categorical(layout, scratch, mask, key, count, deterministic, action)
    elif head == GAUSSIAN:
        log_prob = act_gaussian(layout, weights, scratch, key, count, deterministic, action)
    else:
        log_prob = act_squashed_gaussian(layout, scratch, key, count, deterministic, action)
    return log_prob, value
