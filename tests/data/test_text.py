"""Text files as indices, and the errors for invalid files."""

import numpy as np
import pytest
from requirements import real_data

from nlstm_jax.data.text import cut, encode, read_text
from nlstm_jax.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    for name, text in (
        ("my.train.txt", " a rose is a rose \n\n is\n"),
        ("my.valid.txt", "a nose\n"),
        ("test.txt", "a"),
    ):
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def symbols_of(text, split: str) -> list[str]:
    return [text.symbols[number] for number in text.splits[split]]


def test_words_and_ends_of_lines_the_frequent_first(folder) -> None:
    text = read_text(folder, "words")
    assert symbols_of(text, "train") == ["a", "rose", "is", "a", "rose", "<eos>", "is", "<eos>"]
    assert text.symbols == ("<eos>", "a", "is", "rose", "<unk>")
    assert symbols_of(text, "valid") == ["a", "<unk>", "<eos>"]
    assert text.unknown == {"train": 0, "valid": 1, "test": 0}
    assert set(text.checksums) == {"my.train.txt", "my.valid.txt", "test.txt"}


def test_a_byte_order_mark_is_no_part_of_the_first_word(folder) -> None:
    (folder / "my.train.txt").write_text(" a rose is a rose \n\n is\n", "utf-8-sig")
    text = read_text(folder, "words")
    assert text.symbols == ("<eos>", "a", "is", "rose", "<unk>")


def test_characters_have_a_sign_for_blanks(folder) -> None:
    text = read_text(folder, "characters")
    assert "".join(symbols_of(text, "train")) == "a_rose_is_a_rose<eos>is<eos>"
    assert symbols_of(text, "valid") == ["a", "_", "<unk>", "o", "s", "e", "<eos>"]


def test_a_bounded_vocabulary_keeps_the_frequent_words(folder) -> None:
    text = read_text(folder, "words", largest=3)
    assert text.symbols == ("<eos>", "a", "<unk>")
    assert symbols_of(text, "train") == ["a", "<unk>", "<unk>", "a", "<unk>", "<eos>", "<unk>", "<eos>"]
    assert text.unknown == {"train": 4, "valid": 1, "test": 0}


def test_an_unknown_sign_of_the_text_s_own_is_used() -> None:
    symbols = {"train": ["b", "<unk>", "b", "c"], "valid": ["d"], "test": ["c"]}
    text = encode(symbols)
    assert text.symbols == ("b", "<unk>", "c")
    assert symbols_of(text, "valid") == ["<unk>"]
    assert encode(symbols, largest=2).symbols == ("b", "<unk>")


def test_nothing_is_unknown_where_nothing_is(folder) -> None:
    assert "<unk>" not in encode({"train": cut([["a", "b"]], "words"), "valid": ["a"], "test": ["b"]}).symbols


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "test.txt").unlink(), r"one file \*test\*\.txt expected, found none"),
        (
            lambda path: (path / "a.train.txt").touch(),
            r"one file \*train\*\.txt expected, found a.train.txt, my.train.txt; --config.data.files=a.{split}.txt",
        ),
        (lambda path: (path / "test.txt").write_text("\n \n"), r"test\.txt: text expected, found none"),
        (
            lambda path: (path / "test.txt").write_bytes(b"abc\xff"),
            r"test\.txt line 1: byte 0xff found, text in UTF-8 accepted",
        ),
    ],
)
def test_what_is_not_a_text_is_named(folder, change, message) -> None:
    change(folder)
    with pytest.raises(DataError, match=message):
        read_text(folder, "words")


def test_a_folder_that_is_none_is_named(tmp_path) -> None:
    with pytest.raises(DataError, match="a folder expected, found none"):
        read_text(tmp_path / "nowhere", "words")


def test_penn_treebank_has_its_sizes() -> None:
    """Mikolov's version of Penn Treebank has 10,000 words and 50 characters."""
    path = real_data("ptb/ptb.train.txt").parent
    words, characters = read_text(path, "words"), read_text(path, "characters")
    assert {split: len(numbers) for split, numbers in words.splits.items()} == {
        "train": 929_589,
        "valid": 73_760,
        "test": 82_430,
    }
    assert (len(words.symbols), len(characters.symbols)) == (10_000, 50)
    assert np.bincount(words.splits["train"])[words.symbols.index("<eos>")] == 42_068
    assert set(words.unknown.values()) == {0}


def write_splits(folder, name: str, text: str) -> None:
    for split in ("train", "valid", "test"):
        (folder / name.replace("{split}", split)).write_text(text, "utf-8")


def test_characters_parted_by_blanks_are_words(tmp_path) -> None:
    """As words such a file has the symbols that the same text without blanks between them has as characters."""
    write_splits(tmp_path, "{split}.txt", "t h e _ c a t\na _ < u n k >\n")
    with pytest.raises(DataError, match=r"train\.txt: words of several .*; --config\.data\.unit=words serves$"):
        read_text(tmp_path, "characters")
    spaced = read_text(tmp_path, "words")
    write_splits(tmp_path, "{split}.txt", "the cat\na <unk>\n")
    plain = read_text(tmp_path, "characters")
    assert symbols_of(spaced, "train") == symbols_of(plain, "train")
    assert spaced.notes == plain.notes == ()


def test_lines_without_blanks_are_told_under_words(tmp_path) -> None:
    write_splits(tmp_path, "{split}.txt", "春風\n花鳥\n")
    (note,) = read_text(tmp_path, "words").notes
    assert note.startswith("no line has a blank: each is read as one word (config.data.unit=characters ")
    assert read_text(tmp_path, "characters").notes == ()


def test_of_two_texts_in_a_folder_a_setting_chooses_one(tmp_path) -> None:
    write_splits(tmp_path, "my.{split}.txt", "the cat\n")
    write_splits(tmp_path, "my.char.{split}.txt", "t h e _ c a t\n")
    with pytest.raises(DataError, match=r"--config\.data\.files=my\.{split}\.txt chooses$"):
        read_text(tmp_path, "words")
    assert read_text(tmp_path, "words", pattern="my.{split}.txt").symbols == ("<eos>", "cat", "the")
    assert "_" in read_text(tmp_path, "words", pattern="*char*{split}*").symbols
    with pytest.raises(
        ConfigError, match=r"^config\.data\.files: a file name with {split} .* found 'my\.train\.txt'$"
    ):
        read_text(tmp_path, "words", pattern="my.train.txt")
