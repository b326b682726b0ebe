"""Pretrained vectors from a text file are in the model to the bit, and an error names an invalid line."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlstm_jax.cells import LSTM
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models import Classifier, Seq2Seq, load_vectors
from nlstm_jax.models.vectors import read_vectors

KEY = jax.random.key(0)
NAMES = ("0", "1", "2")
LINES = ("1 0.5 -2", "0 1e-3 3.25", "unused 7 7", "2 0 0.1")
VECTORS = np.array([[1e-3, 3.25], [0.5, -2], [0, 0.1]], np.float32)


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    "lines",
    [LINES, ("4 2", *LINES), ("\ufeff" + LINES[0], *LINES[1:]), ("", *LINES, "")],
    ids=["GloVe", "word2vec", "BOM", "empty lines"],
)
def test_a_file_of_vectors_is_in_the_model(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = write(tmp_path, *lines)
    np.testing.assert_array_equal(read_vectors(path, NAMES), VECTORS)
    for model in (Seq2Seq(3, LSTM(4), embedding=2, key=KEY), Classifier(3, 2, LSTM(4), embedding=2, key=KEY)):
        load_vectors(model, path, NAMES)
        np.testing.assert_array_equal(model.symbols(jnp.array([0, 1, 2, -1])), [*VECTORS, [0, 0]])


@pytest.mark.parametrize(
    ("lines", "validation_error"),
    [
        (LINES[:3], ": a vector of each of 3 symbols expected, none found of 1, '2' for one"),
        ((*LINES, "0 1 1"), " line 5: '0' found twice, once expected"),
        (("0 1 2", "1 1"), " line 2: a symbol and 2 finite numbers expected, found '1 1'"),
        (("0 1 2", "1 1 x"), " line 2: a symbol and 2 finite numbers expected, found '1 1 x'"),
        (("0 1 nan",), " line 1: a symbol and 2 finite numbers expected, found '0 1 nan'"),
        (("0 1 1e39",), " line 1: a symbol and 2 finite numbers expected, found '0 1 1e39'"),
        (("word",), " line 1: a symbol and finite numbers expected, found 'word'"),
    ],
)
def test_a_line_that_does_not_serve_is_named(tmp_path: Path, lines: tuple[str, ...], validation_error: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read_vectors(path, NAMES)
    assert str(caught.value) == f"config.model.vectors: {path}{validation_error}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^config\.model\.vectors: .*none\.txt: a readable file expected, found: No such file"
    ):
        read_vectors(tmp_path / "none.txt", NAMES)


@pytest.mark.parametrize("embedding", [None, 5], ids=["one-hot", "width"])
def test_vectors_that_do_not_fit_the_model_are_refused(tmp_path: Path, embedding: int | None) -> None:
    path = write(tmp_path, *LINES)
    with pytest.raises(ConfigError) as caught:
        load_vectors(Classifier(3, 2, LSTM(4), embedding=embedding, key=KEY), path, NAMES)
    assert str(caught.value) == (
        f"config.model.embedding: 2, the width of the vectors of {path}, expected, found {embedding or 0}"
    )
