"""What each example of a split adds to a trained run's metrics, in the run folder."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlstm_jax.errors import DataError
from nlstm_jax.runs.files import EXAMPLES
from nlstm_jax.types import Float


class ExampleSums(NamedTuple):
    """Of one metric.

    Attributes:
        step: of the checkpoint that was measured.
        sums: what each example adds.
        weights: to how many targets.
    """

    step: int
    sums: Float[np.ndarray, "N"]
    weights: Float[np.ndarray, "N"]


def write_examples(folder: Path, split: str, step: int, means: Mapping[str, Any]) -> Path:
    """Write a split's sums and weights, by metric; the file is returned."""
    path = folder / EXAMPLES.format(split=split)
    arrays = {f"{name}.{part}": getattr(mean, part) for name, mean in means.items() for part in ("sum", "weight")}
    with path.open("wb") as file:
        np.savez_compressed(file, step=np.int64(step), **arrays)
    return path


def read_examples(folder: Path, split: str, metric: str) -> ExampleSums | None:
    """What `write_examples` has written; None where it has not, or not of this metric.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / EXAMPLES.format(split=split)
    if not path.exists():
        return None
    try:
        with np.load(path) as found:
            if f"{metric}.sum" not in found:
                return None
            read = ExampleSums(int(found["step"]), found[f"{metric}.sum"], found[f"{metric}.weight"])
        whole = np.stack([read.sums, read.weights]).astype(float)
        if whole.ndim != 2 or not np.isfinite(whole).all():
            raise ValueError("a finite sum and a weight of every example expected")
        return read
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: what `experiments.evaluate --examples` writes expected: {error}") from None
