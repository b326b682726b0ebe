"""Sequences from a CSV file: the values read, the splits, and the errors that name a line."""

from pathlib import Path

import numpy as np
import pytest

from nlstm_jax.data.sequences import ABSENT, read_sequence_texts, read_sequences
from nlstm_jax.errors import DataError


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_rows_go_where_the_file_says(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "class,split,sequence,note",
        "up,train,a b a,x",
        "down,train,b,y",
        "up,valid,b c a,z",
        "down,test,a a a a,",
    )
    data = read_sequences(path)
    assert (data.symbols, data.classes) == (("a", "b"), ("down", "up"))
    train, valid, test = (data.splits[split] for split in ("train", "valid", "test"))
    np.testing.assert_array_equal(train.symbols, [[0, 1, 0], [1, ABSENT, ABSENT]])
    np.testing.assert_array_equal(train.lengths, [3, 1])
    np.testing.assert_array_equal(train.classes, [1, 0])
    np.testing.assert_array_equal(valid.symbols, [[1, ABSENT, 0]])
    np.testing.assert_array_equal(test.lengths, [4])
    assert data.notes == ("columns passed over: note", "valid: read as blanks: 1 symbol that training lacks")
    assert list(data.checksums) == ["mine.csv"]


def test_columns_go_by_name_in_any_case_and_others_are_told(tmp_path: Path) -> None:
    data = read_sequences(write(tmp_path, "Sequence,CLASS,Split,id", "a,1,train,7", "b,1,train,8", "a b,1,valid,9"))
    assert {split: len(part.classes) for split, part in data.splits.items()} == {"train": 2, "valid": 1}
    assert data.notes == (
        "columns passed over: id",
        "every training sequence has one symbol: blanks are expected between symbols",
    )
    path = write(tmp_path, "sequence,class,Split,SPLIT", "a,1,train,valid")
    with pytest.raises(DataError, match=r"line 1, column split: Split and SPLIT found, one of them accepted$"):
        read_sequences(path)
    exact = read_sequences(write(tmp_path, "sequence,class,Class,split", "a,1,2,train", "a,1,2,valid"))
    assert exact.classes == ("1",)


def test_a_symbol_may_be_a_number_of_any_length(tmp_path: Path) -> None:
    data = read_sequences(write(tmp_path, "sequence,class,split", f"{'1' * 5000} 2,1,train", "2,1,valid"))
    assert data.symbols == ("2", "1" * 5000)


def test_without_a_split_equal_sequences_stay_together(tmp_path: Path) -> None:
    rows = [f"{n % 3},{n} {n + 1}" for n in range(300)]
    data = read_sequences(write(tmp_path, "class,sequence", *rows, *rows))
    sizes = {split: len(part.classes) for split, part in data.splits.items()}
    assert sum(sizes.values()) == 600
    assert 0.7 < sizes["train"] / 600 < 0.9
    assert not any("also trained on" in note for note in data.notes)
    assert data.classes == ("0", "1", "2")


def test_numbers_are_in_the_order_of_their_size(tmp_path: Path) -> None:
    path = write(tmp_path, "class,split,sequence", "10,train,2 10 x", "9,train,1", "9,valid,1")
    data = read_sequences(path)
    assert (data.symbols, data.classes) == (("1", "2", "10", "x"), ("9", "10"))
    assert data.notes == ("valid: 1 of 1 sequences are also trained on",)


@pytest.mark.parametrize(
    ("lines", "validation_error"),
    [
        (["class,sequence"], "{path} line 1: a header without rows found, at least one row accepted"),
        (["label,sequence", "1,a"], "{path} line 1, column class: no such column found in 'label, sequence'"),
        (["class,sequence", "1,a", ",b"], "{path} line 3, column class: '' found, a class accepted"),
        (["class,sequence", "1,a", "1, "], "{path} line 3, column sequence: '' found, symbols with blanks between"),
        (
            ["class,sequence,split", "1,a,train", "1,b,dev"],
            "{path} line 3, column split: 'dev' found, one of train, valid, test accepted",
        ),
        (
            ["class,sequence,split", "1,a,train", "2,b,valid"],
            "{path} line 3, column class: '2' found, a class that a training sequence has, 1, accepted",
        ),
        (
            ["class,sequence,split", "1,a,train"],
            "{path}: sequences of the split valid expected, found none among 1",
        ),
        (
            ["class,sequence", "1,a"],
            "found none among 1; a column split says which each belongs to",
        ),
    ],
)
def test_what_does_not_serve_is_named(tmp_path: Path, lines: list[str], validation_error: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read_sequences(path)
    assert validation_error.format(path=path) in str(caught.value)


def test_sequences_without_classes_are_read_as_those_with(tmp_path: Path) -> None:
    path = write(tmp_path, "Name,SEQUENCE", "x,a b", "y,b")
    assert read_sequence_texts(path) == (["a b", "b"], [f"{path} line 2", f"{path} line 3"])


@pytest.mark.parametrize(
    ("lines", "note"),
    [
        (
            ["sequence,class,split", "a,1,train", "b,1.0,train", "a,1,valid"],
            "classes: 1 and 1.0 are different names of",
        ),
        (
            ["sequence,class,split", "\"['a', 'b', 'c']\",x,train", "\"['a', 'c']\",y,train", "\"['a']\",x,valid"],
            "symbols: 'b', looks like a part of a list",
        ),
        ([",sequence,class,split", "0,a,x,train", "1,a b,x,valid"], "columns passed over: column 1 (without a name)"),
    ],
    ids=["one number twice", "a list", "no name"],
)
def test_names_that_are_probably_misread_are_told(tmp_path: Path, lines: list[str], note: str) -> None:
    notes = read_sequences(write(tmp_path, *lines)).notes
    assert any(line.startswith(note) for line in notes), notes
