"""Settings of the test run: the same examples every time, and no time limit on a call that may compile."""

from hypothesis import settings

settings.register_profile("deterministic", deadline=None, derandomize=True, database=None)
settings.load_profile("deterministic")
