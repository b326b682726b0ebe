"""Per-example sums and weights of the metrics of a trained run, stored in its run folder."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlstm_jax.errors import DataError
from nlstm_jax.runs.files import EXAMPLES, writing
from nlstm_jax.types import AnyArray, Float


class ExampleSums(NamedTuple):
    """The sums and weights of one metric, one of each per example [N].

    Attributes:
        step: The step of the checkpoint that was evaluated.
        sums: The sum that each example contributes to the metric.
        weights: The weight of each example, e.g. its number of targets.
    """

    step: int
    sums: Float[np.ndarray, "N"]
    weights: Float[np.ndarray, "N"]


def examples_path(folder: Path, split: str) -> Path:
    """Return the path of the file of a split in a run folder."""
    return folder / EXAMPLES.format(split=split)


def write_examples(folder: Path, split: str, step: int, means: Mapping[str, tuple[AnyArray, AnyArray]]) -> Path:
    """Write the per-example sums and weights of a split, and return the path of the file.

    Args:
        folder: The run folder.
        split: The name of the split.
        step: The step of the checkpoint that was evaluated.
        means: For every metric the sums and the weights, both [N].
    """
    path = examples_path(folder, split)
    content = encode_examples(step, means)
    with writing(path):
        path.write_bytes(content)
    return path


def encode_examples(step: int, means: Mapping[str, tuple[AnyArray, AnyArray]]) -> bytes:
    """Return the content of the file that `write_examples` writes. The same sums give the same bytes."""
    arrays: dict[str, Any] = {}
    for metric, (sums, weights) in means.items():
        arrays[f"{metric}.sum"] = sums
        arrays[f"{metric}.weight"] = weights
    buffer = io.BytesIO()
    np.savez_compressed(buffer, step=np.int64(step), **arrays)
    return buffer.getvalue()


def read_examples(folder: Path, split: str, metric: str) -> ExampleSums | None:
    """Read the sums and weights that `write_examples` has written.

    Returns:
        The sums and weights, or None if there is no file for the split or the file lacks the metric.

    Raises:
        DataError: The file is damaged.
    """
    path = examples_path(folder, split)
    if not path.exists():
        return None
    try:
        with np.load(path) as arrays:
            if f"{metric}.sum" not in arrays:
                return None
            examples = ExampleSums(int(arrays["step"]), arrays[f"{metric}.sum"], arrays[f"{metric}.weight"])
        values = np.stack([examples.sums, examples.weights]).astype(float)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError("a finite sum and a weight of every example expected")
        return examples
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: what `experiments.evaluate --examples` writes expected: {error}") from None
