"""Tests of generated data on disk."""

import numpy as np
import pytest

from nlstm_jax.data.generators.prices import generate_prices
from nlstm_jax.data.generators.verse import ENGLISH_VERSE
from nlstm_jax.data.poems import read_corpus
from nlstm_jax.data.prices import read_prices


@pytest.fixture(scope="module")
def ended(run_scripts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    cases = {}
    cases["verse"] = ["generate", "--task=poems", f"--out={folder / 'verse'}", "--poems=50", "--seed=3"]
    cases["full"] = ["generate", "--task=poems", f"--out={folder / 'full'}"]
    cases["share"] = ["generate", "--task=stocks", f"--out={folder / 'share'}", "--days=100", "--seed=3"]
    cases["crowded"] = ["generate", "--task=sales", f"--out={folder / 'crowded'}", "--pairs=100000"]
    return folder, run_scripts(cases)


def test_verse_is_read_back_as_it_was_written(ended) -> None:
    folder, _ = ended
    splits = read_corpus(folder / "verse").splits
    assert [*splits["train"], *splits["valid"], *splits["test"]] == ENGLISH_VERSE.sample(60, seed=3)


def test_what_cannot_be_written_is_refused(ended) -> None:
    folder, scripts = ended
    assert (scripts["full"].code, scripts["crowded"].code) == (2, 2)
    assert scripts["full"].err == f"--out: a new or empty folder expected, {folder / 'full'} is none\n"
    assert scripts["crowded"].err == "--test_pairs: 100000 found, at most 3000 accepted\n"
    assert not (folder / "crowded").exists()


def test_a_share_is_read_back_as_it_was_drawn(ended) -> None:
    folder, _ = ended
    read = read_prices(folder / "share" / "share.csv")
    np.testing.assert_allclose(read.values, generate_prices(100, seed=3).values, atol=5.1e-7)
