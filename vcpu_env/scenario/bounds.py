"""How large times and costs may be, so that no sum of a run leaves int64 (2**63 ns).

* A run ends at `LONGEST_RUN_NS`, 2**45, or before.
* A single time of a program is `LONGEST_NS`, 2**42, at most in the mean. Durations are drawn as mean times 65536ths:
  the built-in distributions stay below 16 times their mean, so 2**42 * 2**20 = 2**62; a table of shapes may reach
  1024 times its mean, but only scales means up to 10 s (`program_text.MAX_NS`), 2**34 * 2**26 = 2**60. A slow hardware
  thread stretches the 2**46 ns of the longest draw, computed in 1024ths: 2**56.
* A cost is `LARGEST_COST_NS`, 2**24, at most, and is charged for at most 2**12 things at once (siblings, callers,
  queues): 2**36 an event. What it delays is delayed again by the ticks, IPIs and timers of a run: 2**24 such events
  would still end before 2**60, and `timeline.NEVER` is 2**62.
* KVM's parameters are unsigned ints, up to `UINT_MAX`; one that multiplies another, up to `LARGEST_FACTOR`.
"""

LONGEST_NS = 3_600_000_000_000
"""One hour: the longest warm-up, measurement, sleep or computation."""

LONGEST_RUN_NS = 20_000_000_000_000
"""The end of the longest run: warm-up, start of an episode and the longest episode of an environment."""

LARGEST_COST_NS = 10_000_000
"""10 ms, thousands of times what the dearest of these things costs on any host."""

MOST_FREE_STEPS = 10_000
"""Steps of a program in a row that take no time; the engine stops at `timeline.MOST_STEPS_AT_ONCE`."""

UINT_MAX = (1 << 32) - 1
LARGEST_FACTOR = (1 << 31) - 1
