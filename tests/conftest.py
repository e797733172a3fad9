"""No test waits for a clock, and none is drawn anew: a run of the suite says of the code, not of the day, whether it is
sound. ``HYPOTHESIS_PROFILE=explore`` draws new examples, many of them, for those who look for faults."""

import os

from hypothesis import settings

settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
