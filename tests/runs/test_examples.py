import numpy as np
import pytest

from nlstm_jax.errors import DataError
from nlstm_jax.runs import read_examples, write_examples
from nlstm_jax.tasks import WeightedSum


def test_what_is_written_is_read(tmp_path) -> None:
    path = write_examples(tmp_path, "valid", 30, {"log_loss": WeightedSum(np.array([1.5, 2.5]), np.array([1.0, 2.0]))})
    assert path.name == "examples_valid.npz"
    step, sums, weights = read_examples(tmp_path, "valid", "log_loss")
    assert (step, sums.tolist(), weights.tolist()) == (30, [1.5, 2.5], [1.0, 2.0])
    assert read_examples(tmp_path, "valid", "accuracy") is None
    assert read_examples(tmp_path, "test", "log_loss") is None


def test_what_is_damaged_is_named(tmp_path) -> None:
    (tmp_path / "examples_valid.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match=r"examples_valid\.npz: what `experiments\.evaluate --examples` writes"):
        read_examples(tmp_path, "valid", "log_loss")
