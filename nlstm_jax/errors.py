"""What a user's mistake is called, and the exit code that a script ends with.

Every error carries one line that names the thing, what was found and what is accepted. `experiments/` turns
them into that line on stderr and the exit code; no traceback reaches a user for a mistake of theirs.
"""


class UserError(Exception):
    """A mistake that the user can mend; `exit_code` is what the script ends with."""

    exit_code: int = 2


class ConfigError(UserError):
    """A flag, config key or argument that does not exist or has no meaning."""


class DataError(UserError):
    """A data file that is missing or not what its format says; the message names file and line, row or byte."""

    exit_code = 3


class DivergedError(UserError):
    """Training produced a loss that is not finite."""

    exit_code = 4


class CheckpointError(UserError):
    """A run folder without a checkpoint that can be restored."""

    exit_code = 5


class RunFolderInUseError(UserError):
    """Another process is writing to this run folder."""

    exit_code = 6


class RunFinishedError(UserError):
    """The run in this folder has finished; there is nothing left to do."""

    exit_code = 7


class InterruptedRunError(UserError):
    """Stopped by the user; the same command goes on (75 is the conventional "try again" code)."""

    exit_code = 75
