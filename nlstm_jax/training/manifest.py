"""The manifest of a checkpoint: digests of its arrays and files, so that damage is noticed."""

import hashlib
import json
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np

from nlstm_jax.errors import DamagedCheckpointError, DataError
from nlstm_jax.runs import files
from nlstm_jax.types import AnyArray, Array, JsonObject, PyTree

MANIFEST = "manifest.json"
"""The file in the folder of a checkpoint; it is written after all others."""


@dataclass(frozen=True)
class Manifest:
    """The description of one checkpoint.

    Attributes:
        step: The number of steps made.
        run: The identity of the run, the same in all of its checkpoints.
        metric: The validation metric, lower is better; None without an evaluation.
        rows: The number of lines that `metrics.jsonl` had when the checkpoint was made.
        files: The CRC-32 of every file, by its path in the checkpoint's folder. It is checked before orbax opens
            the files, as orbax prints a long traceback for each array of a damaged file.
        leaves: The shape, dtype and SHA-256 of every array, by its path in the tree.
        loop: The loop over time that trained the last steps; None in a checkpoint of an earlier version.
    """

    step: int
    run: str
    metric: float | None
    rows: int
    files: Mapping[str, int]
    leaves: Mapping[str, JsonObject]
    loop: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of the checkpoint in a folder.

        Raises:
            DamagedCheckpointError: there is none, or it is not as it was written.
        """
        try:
            content = files.read_json(folder / MANIFEST)
            expected = content.pop("sha256", None)
            if expected != _text_digest(content):
                raise ValueError(f"{MANIFEST} is not as it was written")
            return cls(**content)
        except (DataError, ValueError, TypeError) as error:
            raise DamagedCheckpointError(f"{folder}: the checkpoint is damaged: {error}") from None

    def write(self, folder: Path) -> None:
        """Write the manifest into the folder of its checkpoint."""
        content = asdict(self)
        files.write_json(folder / MANIFEST, {**content, "sha256": _text_digest(content)})

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array by its path in the tree."""
        return {name: tuple(leaf["shape"]) for name, leaf in self.leaves.items()}

    def check_files(self, folder: Path) -> None:
        """Compare the files of a checkpoint with the manifest.

        Raises:
            DamagedCheckpointError: a file is missing or differs.
        """
        for name, expected in self.files.items():
            try:
                checksum = zlib.crc32((folder / name).read_bytes())
            except OSError as error:
                raise DamagedCheckpointError(
                    f"{folder}: the checkpoint is damaged: {name}: {error.strerror}"
                ) from None
            if checksum != expected:
                raise DamagedCheckpointError(f"{folder}: the checkpoint is damaged: {name} is not as it was written")

    def check_arrays(self, folder: Path, tree: PyTree) -> None:
        """Compare restored arrays with the manifest; those that were converted to another dtype are left out.

        Raises:
            DamagedCheckpointError: an array is missing or differs.
        """
        leaves = describe_leaves(tree)
        for name, expected in self.leaves.items():
            if name not in leaves:
                raise DamagedCheckpointError(f"{folder}: the checkpoint is damaged: {name} is missing")
            if leaves[name]["dtype"] == expected["dtype"] and leaves[name] != expected:
                raise DamagedCheckpointError(f"{folder}: the checkpoint is damaged: {name} is not as it was saved")


def named_leaves(tree: PyTree) -> dict[str, Array]:
    """Return every leaf by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def describe_leaves(tree: PyTree) -> dict[str, JsonObject]:
    """Return what `describe_leaf` says of every array, by its path in the tree."""
    leaves = named_leaves(tree)
    # SHA-256 runs without the interpreter's lock, so that several arrays have theirs computed at once.
    with ThreadPoolExecutor() as threads:
        described = threads.map(describe_leaf, leaves.values())
        return dict(zip(leaves, described, strict=True))


def describe_leaf(leaf: AnyArray) -> JsonObject:
    """Return the shape, the dtype and the SHA-256 of an array's bytes."""
    flat = np.ascontiguousarray(leaf).reshape(-1)
    digest = hashlib.sha256(flat.view(np.uint8).data)
    return {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "sha256": digest.hexdigest()}


def file_checksums(folder: Path) -> dict[str, int]:
    """Return the CRC-32 of every file below a folder, by its relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes()) for path in paths}


def _text_digest(content: JsonObject) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
