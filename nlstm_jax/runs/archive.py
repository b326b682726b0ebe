"""The metrics of runs in one compressed file, from which their comparison can be drawn anew.

The file is a `.tar.gz` of run folders. They have what a comparison reads: configurations, metrics, summaries, notes
and the compared metric of single validation examples. Checkpoints, logs, samples, diffs, command lines and folders in
paths are left out.
"""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlstm_jax.errors import DataError
from nlstm_jax.runs import files
from nlstm_jax.runs.examples import encode_examples, read_examples
from nlstm_jax.runs.reader import Run

LEFT_OUT = "(left out)"
"""What an archive has in the place of a diff."""

ENVIRONMENT_KEYS = (
    "alone",
    "commit",
    "data",
    "devices",
    "loop",
    "metrics",
    "question",
    "tokens_per_step",
    "trained_together",
    "uncommitted_diff",
    "versions",
)
"""The keys of `environment.json` that an archive keeps."""

PATH_SETTINGS = (("data", "path"), ("cell", "weights"))
"""The settings that name a file or a folder, as section and name."""


def write_archive(path: Path, runs: Sequence[Run], metric: str) -> None:
    """Write the metrics of runs into one file, in the order of the runs. The same runs give the same bytes.

    Args:
        path: The file. It is replaced.
        runs: The runs, each in a folder of its own.
        metric: The metric that is compared. Single examples have no other.

    Raises:
        StorageError: The file cannot be written.
    """
    root = os.path.commonpath([run.path.resolve().parent for run in runs])
    buffer = io.BytesIO()
    # The header of gzip has a time and a file name, which would make every archive another one.
    with (
        gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for run in runs:
            folder = run.path.resolve().relative_to(root)
            for name, content in _contents(run, metric).items():
                member = tarfile.TarInfo((folder / name).as_posix())
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with files.writing(path):
        path.write_bytes(buffer.getvalue())


def unpack_archive(path: Path, folder: Path) -> list[Path]:
    """Unpack the run folders of an archive, and return them in the order of the archive.

    Raises:
        DataError: The file is missing, or no archive.
    """
    runs: dict[Path, None] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            archive.extractall(folder, filter="data")
            for member in archive.getnames():
                runs.setdefault(folder / Path(member).parent)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{path}: an archive of runs expected: {error}") from None
    return list(runs)


def _contents(run: Run, metric: str) -> dict[str, bytes]:
    """Return the contents of a run's files by their names."""
    contents = {
        files.CONFIG: _json(_without_folders(run.config)),
        files.ENVIRONMENT: _json(_public_environment(run.environment)),
        files.METRICS: "".join(json.dumps(line) + "\n" for line in run.metrics).encode(),
    }
    if run.summary is not None:
        contents[files.SUMMARY] = _json(run.summary)
    notes = run.path / files.NOTES
    if notes.exists():
        contents[files.NOTES] = notes.read_bytes()
    examples = read_examples(run.path, "valid", metric)
    if examples is not None:
        name = files.EXAMPLES.format(split="valid")
        contents[name] = encode_examples(examples.step, {metric: (examples.sums, examples.weights)})
    return contents


def _without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which the settings that name paths have only the last part of them."""
    public = dict(config)
    for section, name in PATH_SETTINGS:
        path = config.get(section, {}).get(name)
        if path:
            public[section] = {**public[section], name: Path(path).name}
    return public


def _public_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an environment that a comparison reads. A diff becomes `LEFT_OUT`."""
    public = {key: environment[key] for key in ENVIRONMENT_KEYS if key in environment}
    if public.get("uncommitted_diff"):
        public["uncommitted_diff"] = LEFT_OUT
    return public


def _json(content: Mapping[str, Any]) -> bytes:
    """Return the text of a JSON file with its schema number, as `read_json` reads it."""
    return json.dumps({"schema": files.SCHEMA, **content}, ensure_ascii=False).encode()
