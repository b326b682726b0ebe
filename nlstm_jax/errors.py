"""Errors that are caused by the user, and their exit codes.

The message of every error is one line. It names the object, the value found and the values accepted. The scripts in
`experiments/` print the message on stderr and exit with the code. They print no traceback for these errors.
"""


class UserError(Exception):
    """An error that the user can correct. The script exits with `exit_code`."""

    exit_code: int = 2


class ConfigError(UserError):
    """A flag, config key or argument that does not exist or has an invalid value."""


class DataError(UserError):
    """A data file that is missing or violates its format. The message names the file and the line, row or byte."""

    exit_code = 3


class DivergedError(UserError):
    """A training run with a loss, a gradient or a parameter that is not finite."""

    exit_code = 4


class CheckpointError(UserError):
    """A run folder without a checkpoint that can be restored."""

    exit_code = 5


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is not as it was saved."""


class StorageError(UserError):
    """A file that cannot be written, e.g. on a full disk. The message names the path and the reason."""


class RunFolderInUseError(UserError):
    """A run folder that another process is writing to."""

    exit_code = 6


class RunFinishedError(UserError):
    """A run that has already finished, so that there is nothing left to do."""

    exit_code = 7


class InterruptedRunError(UserError):
    """A run that the user stopped. The same command continues it.

    The exit code 75 (EX_TEMPFAIL) conventionally means "try again".
    """

    exit_code = 75
