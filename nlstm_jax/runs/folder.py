"""Writing of a run folder: create or reopen it, lock it, append metrics, and close it with a summary."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nlstm_jax.errors import ConfigError, RunFinishedError
from nlstm_jax.runs import files
from nlstm_jax.runs.configuration import differences
from nlstm_jax.runs.files import make_folder
from nlstm_jax.runs.lock import acquire_lock
from nlstm_jax.runs.metric_writers import MetricWriter, open_metric_writers
from nlstm_jax.runs.reader import ConfigTransform, Run, keep_unchanged, read_run
from nlstm_jax.types import Config, JsonObject

_RUN_FILES = (
    files.CONFIG,
    files.ENVIRONMENT,
    files.METRICS,
    files.SUMMARY,
    files.LOG,
    files.CHECKPOINTS,
    files.SAMPLES,
    *(files.EXAMPLES.format(split=split) for split in ("train", "valid", "test")),
    files.NOTES,
    files.FORECAST,
    files.RANKING,
    files.TENSORBOARD,
    files.WANDB,
    files.TRACKIO,
)
"""The names of all files and folders that a run may leave in its folder, except the lock."""


class RunFolder:
    """A run folder that one process holds and writes to; a context manager that releases the lock.

    The lock is the operating system's (`flock`), so a killed process leaves none behind.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        *,
        overwrite: bool = False,
        with_defaults: ConfigTransform = keep_unchanged,
        metric_writers: Sequence[str] = (),
    ) -> None:
        """Create the folder, or reopen it to resume its run.

        Args:
            path: The run folder. It and its parents are created if they are missing.
            config: The resolved configuration, plain JSON values.
            overwrite: If True, start anew and delete the files of an earlier run, and nothing else.
            with_defaults: The function that is applied to the configuration of the existing run before it is compared
                with `config`.
            metric_writers: The names of further programs that show the metrics, see `runs.metric_writers`.

        Raises:
            ConfigError: The folder holds a run of another configuration, or files that do not belong to a run.
            RunFinishedError: The run in the folder has ended.
            RunFolderInUseError: Another process holds the folder.
        """
        self.path = path
        is_longer = self.check(path, config, overwrite=overwrite, with_defaults=with_defaults)

        make_folder(path, "workdir")
        self._lock = acquire_lock(path)
        if overwrite:
            self._delete_run_files()
        if is_longer:
            # Until its next summary the run has not ended, also if it is stopped before its first step.
            self.mark_running()
        if is_longer or not (path / files.CONFIG).exists():
            files.write_json(path / files.CONFIG, dict(config))

        self._config = config
        self._metric_writer_names = metric_writers
        self._metric_writers: list[MetricWriter] = []

    @staticmethod
    def check(
        path: Path,
        config: Config,
        *,
        overwrite: bool = False,
        with_defaults: ConfigTransform = keep_unchanged,
    ) -> bool:
        """Check that the folder can be created or reopened, without writing anything.

        The arguments and the errors are those of `__init__`, except that the lock is not checked.

        Returns:
            True if the configuration asks for a longer training of the run in the folder.
        """
        if path.exists() and not path.is_dir():
            raise ConfigError(f"workdir {path}: a folder expected, a file found")
        if not path.exists():
            return False

        if not (path / files.CONFIG).exists():
            foreign_names = sorted(entry.name for entry in path.iterdir() if not _may_belong_to_run(entry.name))
            if foreign_names:
                raise ConfigError(
                    f"workdir {path}: a new, empty or run folder expected, found {foreign_names[0]} "
                    f"and no {files.CONFIG}"
                )
            return False

        if overwrite:
            return False
        run = read_run(path, with_defaults)
        differing = differences(run.config, json.loads(json.dumps(config)))
        is_longer = _is_longer(run, differing)
        if is_longer and config["optimizer"]["schedule"] == "cosine":
            raise ConfigError(
                f"workdir {path}: config.optimizer.schedule=cosine depends on the length of the run, so that the run "
                "cannot be trained longer; choose another --workdir, or --overwrite to start anew"
            )
        if differing and not is_longer:
            listed = ", ".join(f"{key}: {old!r} there, {new!r} here" for key, (old, new) in differing.items())
            raise ConfigError(
                f"workdir {path} holds a run of another configuration ({listed}); "
                "choose another --workdir, or --overwrite to start anew"
            )
        status = None if run.summary is None else run.summary.get("status")
        if run.summary is not None and status != "interrupted" and not (is_longer and status == "finished"):
            raise RunFinishedError(
                f"the run in {path} has already {status or 'ended'} at step {run.summary.get('steps', 'unknown')}; "
                "--overwrite starts it anew"
            )
        return is_longer

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / files.CHECKPOINTS

    @property
    def log(self) -> Path:
        """The file with the console output as plain text."""
        return self.path / files.LOG

    def write_environment(self, environment: JsonObject) -> None:
        """Write the environment of the run. A resumed run replaces the earlier one."""
        files.write_json(self.path / files.ENVIRONMENT, dict(environment))

    def append_metrics(self, lines: Sequence[JsonObject]) -> None:
        """Append the lines of one evaluation to `metrics.jsonl`, and pass them to the metric writers.

        All lines are written at once, so that a crash can only cut off the end of the file.
        """
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        path = self.path / files.METRICS
        with files.writing(path), path.open("a", encoding="utf-8") as file:
            file.write(text)
        for writer in self._metric_writers:
            writer.write(lines)

    def sync_metrics(self) -> None:
        """Wait until the lines of `metrics.jsonl` so far are on the disk."""
        path = self.path / files.METRICS
        with files.writing(path):
            files.sync(path)

    def read_metrics(self) -> list[JsonObject]:
        """Return the lines of `metrics.jsonl` so far, without those that repeat a step and split."""
        path = self.path / files.METRICS
        if not path.exists():
            return []
        lines: dict[tuple[int, str | None], JsonObject] = {}
        for line in files.parse_metrics(path.read_text("utf-8")):
            lines.setdefault((line["step"], line.get("split")), line)
        return list(lines.values())

    def truncate_metrics(self, step: int) -> list[JsonObject]:
        """Drop the lines after `step`, as the resumed run writes them again, and open the metric writers.

        A last line that was cut off by a crash is dropped too.

        Args:
            step: The step from which the run is resumed.

        Returns:
            The lines that are kept. The metric writers are opened with them.
        """
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        files.write_text_atomically(self.path / files.METRICS, text)
        self._metric_writers = open_metric_writers(self._metric_writer_names, self.path, self._config, kept)
        return kept

    def mark_running(self) -> None:
        """Write into the summary of an earlier start that the run goes on; without a summary nothing is written."""
        if (self.path / files.SUMMARY).exists():
            summary = files.read_json(self.path / files.SUMMARY)
            files.write_json(self.path / files.SUMMARY, {**summary, "status": files.RUNNING})

    def write_summary(self, summary: JsonObject) -> None:
        """Write the outcome of the run, and pass it to the metric writers.

        The number of evaluations on the test split is kept.
        """
        path = self.path / files.SUMMARY
        looks = files.read_json(path).get("test_looks") if path.exists() else None
        kept = {} if looks is None else {"test_looks": looks}
        files.write_json(path, {**summary, **kept})
        for writer in self._metric_writers:
            writer.write_summary(summary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._metric_writers:
            writer.close()
        self._lock.close()

    def _delete_run_files(self) -> None:
        """Delete everything that an earlier run has left, except the lock."""
        for name in _RUN_FILES:
            target = self.path / name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)


def _may_belong_to_run(name: str) -> bool:
    """Return True if a run may have left a file of this name, also as a temporary file after a crash."""
    if name in (*_RUN_FILES, files.LOCK):
        return True
    temporary_prefixes = tuple(f".{run_file}." for run_file in _RUN_FILES)
    return name.startswith(temporary_prefixes)


def _is_longer(run: Run, differing: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return True if a configuration differs from a run's in nothing but the length of training, and is longer.

    Args:
        run: The run in the folder.
        differing: The old and the new value of each setting that differs.
    """
    if not differing or not differing.keys() <= {"train.epochs", "train.steps"}:
        return False
    train = run.config["train"]
    _, epochs = differing.get("train.epochs", (None, train["epochs"]))
    old_steps, steps = differing.get("train.steps", (train["steps"], train["steps"]))
    if old_steps and steps:
        return bool(old_steps < steps)
    if not old_steps and not steps:
        return bool(train["epochs"] < epochs)

    # One length is in steps and one in epochs, and the metrics of a finished run tell its length in both.
    if not run.metrics or run.summary is None or run.summary.get("status") != "finished":
        return False
    last = run.metrics[-1]
    return bool(last["step"] < steps if steps else last["epoch"] < epochs)
