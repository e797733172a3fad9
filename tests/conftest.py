"""No test waits for a clock: an example of hypothesis may take as long as it does on a slow or busy machine."""

from hypothesis import settings

settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")
