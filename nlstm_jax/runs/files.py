"""Names of the files in a run folder, and JSON that is either written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

from nlstm_jax.errors import ConfigError, DataError

SCHEMA = 1

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
CHECKPOINTS = "checkpoints"
LOG = "log.txt"
SAMPLES = "samples"
EXAMPLES = "examples_{split}.npz"
NOTES = "notes.json"
FORECAST = "forecast.csv"
RANKING = "ranking.csv"
TENSORBOARD = "tensorboard"
WANDB = "wandb"
LOCK = "lock"


def make_folder(path: Path, what: str) -> None:
    """Make a folder with its parents, unless it is there.

    Args:
        path: the folder.
        what: what the user calls it, for the message.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{what} {path}: a folder that can be made expected: {error.strerror}") from None


def write_text_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` so that a crash leaves the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` under the schema number; NaN and infinity are refused (ValueError), as JSON has none."""
    document = {"schema": SCHEMA, **content}
    write_text_atomically(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` has written, without the schema number.

    Raises:
        DataError: there is no such file, it is not JSON, or its schema is another.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: a file expected: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: JSON expected: {error}") from None
    schema = document.pop("schema", None) if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: schema {SCHEMA} expected, {schema} found")
    return dict(document)


def parse_metrics(text: str) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; a last line cut off by a crash is left out."""
    lines = text.split("\n")[:-1]
    return [json.loads(line) for line in lines]
