"""The executor's one error."""

from moewright.errors import MoewrightError


class RunError(MoewrightError):
    """A plan that cannot be run here, or a run that failed; the message names the cause, and the rank."""

    exit_status = 4
