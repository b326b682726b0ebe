"""The writing side of a run folder: made or found again, locked, appended to, closed with a summary."""

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
from nlstm_jax.runs.reader import Completed, as_it_stands, read_run

_OURS = (
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
)


class RunFolder:
    """One run's folder, held by one process; a context manager that gives the lock back.

    The lock is the operating system's (`flock`), so a killed process leaves none behind.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        *,
        overwrite: bool = False,
        with_defaults: Completed = as_it_stands,
        metric_writers: Sequence[str] = (),
    ) -> None:
        """Make the folder, or find it again to go on.

        Args:
            path: the folder; made with its parents where it is missing.
            config: the resolved configuration, plain JSON values.
            overwrite: start anew, deleting what an earlier run left here (and nothing else).
            with_defaults: what is done to the configuration that is found there, before the two are compared.
            mirrors: where the metrics are also shown, see `runs.metric_writers`.

        Raises:
            ConfigError: the folder holds a run of another configuration, or files that are no run's.
            RunFinishedError: the run here has ended.
            RunFolderInUseError: another process holds the folder.
        """
        self.path = path
        self.check(path, config, overwrite=overwrite, with_defaults=with_defaults)
        make_folder(path, "workdir")
        self._lock = acquire_lock(path)
        if overwrite:
            self._clear()
        if not (path / files.CONFIG).exists():
            files.write_json(path / files.CONFIG, dict(config))
        self._config, self._names = config, metric_writers
        self._mirrors: list[MetricWriter] = []

    @staticmethod
    def check(
        path: Path, config: Mapping[str, Any], *, overwrite: bool = False, with_defaults: Completed = as_it_stands
    ) -> None:
        """Raise what making the folder would, but for a lock that another process holds; nothing is written."""
        if path.exists() and not path.is_dir():
            raise ConfigError(f"workdir {path}: a folder expected, a file found")
        if not path.exists():
            return
        if not (path / files.CONFIG).exists():
            strangers = sorted(path.name for path in path.iterdir() if not _is_ours(path.name))
            if strangers:
                raise ConfigError(
                    f"workdir {path}: a new, empty or run folder expected, found {strangers[0]} and no {files.CONFIG}"
                )
            return
        if overwrite:
            return
        run = read_run(path, with_defaults)
        differing = differences(run.config, json.loads(json.dumps(config)))
        if differing:
            listed = ", ".join(f"{key}: {old!r} there, {new!r} here" for key, (old, new) in differing.items())
            raise ConfigError(
                f"workdir {path} holds a run of another configuration ({listed}); "
                "choose another --workdir, or --overwrite to start anew"
            )
        if run.summary is not None and run.summary.get("status") != "interrupted":
            raise RunFinishedError(
                f"the run in {path} has already {run.summary['status']} at step {run.summary['steps']}; "
                "--overwrite starts it anew"
            )

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / files.CHECKPOINTS

    @property
    def log(self) -> Path:
        """What the console said, plain."""
        return self.path / files.LOG

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Record where and with what the run is made (a resumed run: the latest)."""
        files.write_json(self.path / files.ENVIRONMENT, dict(environment))

    def append_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append one evaluation's lines in one write, so that a crash cannot part them but at the very end."""
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        with (self.path / files.METRICS).open("a", encoding="utf-8") as file:
            file.write(text)
        for mirror in self._mirrors:
            mirror.write(lines)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines so far."""
        path = self.path / files.METRICS
        return files.parse_metrics(path.read_text("utf-8")) if path.exists() else []

    def truncate_metrics(self, step: int) -> list[dict[str, Any]]:
        """Drop lines past `step` (and a line cut off by a crash): the run goes on from there and rewrites them.

        Mirrors are opened then, on the lines that are kept.
        """
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        files.write_text_atomically(self.path / files.METRICS, "".join(json.dumps(line) + "\n" for line in kept))
        self._mirrors = open_metric_writers(self._names, self.path, self._config, kept)
        return kept

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Say what the run ended with."""
        files.write_json(self.path / files.SUMMARY, dict(summary))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for mirror in self._mirrors:
            mirror.close()
        self._lock.close()

    def _clear(self) -> None:
        for name in _OURS:
            target = self.path / name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)


def _is_ours(name: str) -> bool:
    """Whether a file may be a run's: by its name, or left from a crash while it was being written."""
    return name in (*_OURS, files.LOCK) or name.startswith(tuple(f".{ours}." for ours in _OURS))
