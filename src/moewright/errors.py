"""The errors a user can cause. The command line turns each into one line and an exit status."""

from __future__ import annotations


class MoewrightError(Exception):
    """Base of every error that is the user's to mend; ``exit_status`` is the command line's."""

    exit_status = 1


class SpecError(MoewrightError):
    """Bad input: names the file, the field, the value, and what would be accepted."""

    exit_status = 2

    def __init__(self, message: str, *, file: str | None = None, field: str | None = None) -> None:
        self.file = file
        self.field = field
        self.problem = message
        super().__init__(": ".join(part for part in (file, field, message) if part))

    def inside(self, file: str | None = None, field: str | None = None) -> SpecError:
        """The same error, placed in ``file`` and under ``field`` (for readers that know where they are)."""
        path = ".".join(part for part in (field, self.field) if part)
        return SpecError(self.problem, file=self.file or file, field=path or None)


class InfeasibleError(MoewrightError):
    """A strategy that is not legal for the model or does not fit the cluster; the reason is the message."""

    exit_status = 3
