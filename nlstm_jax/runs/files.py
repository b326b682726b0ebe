"""Names of the files in a run folder, and atomic reading and writing of JSON."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any

from nlstm_jax.errors import ConfigError, DataError, StorageError
from nlstm_jax.types import JsonObject

SCHEMA = 1
"""The version of the file formats; every JSON file carries it under the key "schema"."""

RUNNING = "running"
"""The status in the summary of a run that was resumed and has not ended since."""

_JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
"""The names of the types in error messages."""

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
TRACKIO = "trackio"
LOCK = "lock"


def make_folder(path: Path, what: str) -> None:
    """Make a folder and its parents, unless it already exists.

    Args:
        path: The folder.
        what: The name of the folder in the error message, as the user knows it, e.g. "workdir".

    Raises:
        ConfigError: The folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{what} {path}: a folder that can be made expected: {error.strerror}") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name `path` in the error of the operating system if it cannot be written in this context.

    Raises:
        StorageError: e.g. the disk is full or read-only.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or path}: cannot be written: {error.strerror or error}") from None


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the contents of `path` by `text` in UTF-8. See `write_atomically`."""
    write_atomically(path, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the contents of `path`. A crash or a power cut leaves the old file or the complete new one.

    Raises:
        StorageError: The file cannot be written. The old one is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from None
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and everything below it are on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def write_json(path: Path, content: JsonObject) -> None:
    """Write `content` with the schema number as JSON.

    Raises:
        StorageError: The file cannot be written.
        ValueError: `content` contains NaN or infinity, which JSON does not have.
    """
    document = {"schema": SCHEMA, **content}
    write_text_atomically(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> JsonObject:
    """Read a file that `write_json` has written, and return its content without the schema number.

    Raises:
        DataError: The file does not exist, is not JSON, or has another schema.
    """
    try:
        document = parse_json(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: a file expected: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: JSON expected: {error}") from None

    schema = None
    if isinstance(document, dict):
        schema = document.pop("schema", None)
    if schema != SCHEMA:
        raise DataError(f"{path}: schema {SCHEMA} expected, {schema} found")
    return dict(document)


def check_types(path: Path, document: JsonObject, expected: Mapping[str, type | UnionType]) -> None:
    """Check the types of the values that a document has under some keys; every key may be missing.

    Args:
        path: The file that the document was read from.
        document: The document.
        expected: The type of the value by its key.

    Raises:
        DataError: A value has another type. True and False are no numbers.
    """
    for key, expected_type in expected.items():
        if key not in document:
            continue
        value = document[key]
        is_unexpected_bool = isinstance(value, bool) and expected_type is not bool
        if is_unexpected_bool or not isinstance(value, expected_type):
            text = repr(value)
            raise DataError(f"{path}: {key}: {type_name(expected_type)} expected, found {text[:60]}")


def type_name(expected_type: type | UnionType) -> str:
    """Return the name of a JSON type, or of several with "or" between them."""
    types = expected_type.__args__ if isinstance(expected_type, UnionType) else (expected_type,)
    names = [_JSON_NAMES[one] for one in types]
    return " or ".join(dict.fromkeys(names))


def parse_json(text: str) -> Any:
    """Return the value that a text in JSON stands for.

    Raises:
        ValueError: It is not JSON, or its brackets are nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_metrics(text: str) -> list[JsonObject]:
    """Parse the lines of a metrics file.

    A last line that was cut off by a crash is left out. One that lacks nothing but its newline is whole.

    Raises:
        ValueError: Another line is not JSON.
    """
    *lines, rest = text.split("\n")
    rows = [parse_json(line) for line in lines]
    try:
        last_row = parse_json(rest)
    except ValueError:
        return rows
    # A number that was cut off is still a number, but an object ends with its brace.
    return [*rows, last_row] if isinstance(last_row, dict) else rows
