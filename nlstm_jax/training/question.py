"""The check that a run goes on, or is evaluated, with the question that it was begun with."""

from pathlib import Path

from nlstm_jax import settings
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.runs import read_environment
from nlstm_jax.tasks import AnyTask
from nlstm_jax.types import Config, JsonObject


def check_same_question(workdir: Path, config: Config, task: AnyTask) -> None:
    """Check that a run folder, if there is a run in it, holds a run of the same question.

    Args:
        workdir: The run folder.
        config: The configuration of the run.
        task: The task, with its data.

    Raises:
        DataError: The run was begun with other data.
        ConfigError: The question of the task has changed its meaning since.
    """
    environment = read_environment(workdir)
    if environment:
        check_same_data(workdir, environment, task)
        check_same_version(workdir, environment, config)


def check_same_data(workdir: Path, environment: JsonObject, task: AnyTask) -> None:
    """Raise a DataError if the checksums of the data differ from those that `environment.json` records."""
    checksums = task.metadata["checksums"]
    for name, expected in environment.get("data", {}).get("checksums", {}).items():
        if checksums.get(name) != expected:
            raise DataError(
                f"{workdir}: the data have changed since the run: {name} of sha256 {expected} expected, found "
                f"{checksums.get(name)}"
            )


def check_same_version(workdir: Path, environment: JsonObject, config: Config) -> None:
    """Raise a ConfigError if the question of the task has another version than the run has recorded.

    The question of runs of earlier versions of this package has version 1.
    """
    recorded = environment.get("question", {}).get("version", 1)
    version = settings.find_task(config["task"]).question.version
    if recorded != version:
        raise ConfigError(
            f"{workdir}: a run of {config['task']} whose question has version {version} expected, found {recorded}: "
            "its metrics have another meaning; --overwrite, or another --workdir, trains it anew"
        )
