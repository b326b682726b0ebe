"""Arrays in any order of memory are written as they are."""

from pathlib import Path

import numpy as np
import pytest
from requirements import requires

from nlstm_jax.adapters.weights import read_tensors, write_tensors

VALUES = np.arange(24.0, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize(
    "array",
    [VALUES.T, VALUES[::2, ::-1], np.asfortranarray(VALUES), VALUES[0, 0]],
    ids=["T", "strided", "F", "scalar"],
)
def test_an_array_of_another_memory_order_is_written_as_it_is(array: np.ndarray, tmp_path: Path) -> None:
    """safetensors itself writes the memory of a transposed array, and so another array."""
    requires("safetensors")
    write_tensors(tmp_path / "a.safetensors", {"a": array})
    again = read_tensors(tmp_path / "a.safetensors")["a"]
    assert again.shape == array.shape
    np.testing.assert_array_equal(again, array)
