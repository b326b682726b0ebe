"""`nlstm_jax.data.poems` on the real files, if they are there, and on small files written here."""

import hashlib
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from requirements import real_data

from nlstm_jax.data.poems import SPLITS, Vocabulary, read_corpus, shared_lines
from nlstm_jax.errors import DataError

QUATRAIN = "春 風 又 綠 江\t南 岸 明 月 何\t時 照 我 還 家\t鄉 夢 不 成 眠"


@pytest.fixture(scope="module")
def quatrains():
    return read_corpus(real_data("poems/qtrain5").parent)


@pytest.fixture
def folder(tmp_path):
    """Write valid quatrain files: two training poems, one validation poem and one test poem."""
    write(tmp_path / "qtrain5", f"{QUATRAIN}\n{QUATRAIN[::-1]}")
    write(tmp_path / "qvalid5", QUATRAIN)
    write(tmp_path / "qtest5", QUATRAIN)
    return tmp_path


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def validation_error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_corpus(path)
    return str(caught.value)


def characters(poem: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(line) for line in poem.split("\n"))


def test_the_real_quatrains_are_counted(quatrains):
    assert {split: len(poems) for split, poems in quatrains.splits.items()} == {
        "train": 11_274,
        "valid": 1_000,
        "test": 1_025,
    }
    assert set(quatrains.checksums) == {"qtrain5", "qvalid5", "qtest5"}
    folder = real_data("poems/qtrain5").parent
    for name, checksum in quatrains.checksums.items():
        assert checksum == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_the_real_quatrains_have_24_targets_and_5261_symbols(quatrains):
    vocabulary = Vocabulary.from_poems(quatrains.splits["train"])
    assert len(vocabulary.symbols) == 5_261
    assert vocabulary.symbols[:3] == ("<bos>", "<eol>", "<eos>")
    assert "<R>" in vocabulary.symbols
    numbers = vocabulary.numbers()
    for split in SPLITS:
        tokens, lengths, _ = vocabulary.encode(quatrains.splits[split])
        assert tokens.shape == (len(quatrains.splits[split]), 25)
        assert set(lengths.tolist()) == {24}
        assert set(tokens[:, 0].tolist()) == {numbers["<bos>"]}
        assert set(tokens[:, [6, 12, 18]].reshape(-1).tolist()) == {numbers["<eol>"]}
        assert set(tokens[:, 24].tolist()) == {numbers["<eos>"]}
    train = vocabulary.encode(quatrains.splits["train"])
    assert train[2] == 0
    assert (train[0] == numbers["<R>"]).sum() == 187


def test_the_real_quatrains_leak_as_disclosed(quatrains):
    assert shared_lines(quatrains.splits["train"], quatrains.splits["valid"]) == 15
    assert shared_lines(quatrains.splits["train"], quatrains.splits["test"]) == 17


def test_a_unigram_model_reaches_the_disclosed_log_loss(quatrains):
    """The model counts all 24 targets of all training poems, plus ½ for each of the 5,261 symbols (with `<bos>`)."""
    vocabulary = Vocabulary.from_poems(quatrains.splits["train"])
    targets = {split: vocabulary.encode(quatrains.splits[split])[0][:, 1:] for split in SPLITS}
    counts = np.bincount(targets["train"].reshape(-1), minlength=len(vocabulary.symbols)) + 0.5
    log_loss = {split: -np.log(counts / counts.sum())[targets[split]].mean() for split in SPLITS}
    assert round(log_loss["valid"], 4) == 6.3427
    assert round(log_loss["test"], 4) == 6.3236


def test_the_real_sonnets_are_154_poems_of_which_each_is_in_one_split():
    path = real_data("poems/sonnets.txt")
    splits = read_corpus(path).splits
    poems = [poem for split in SPLITS for poem in splits[split]]
    assert len(poems) == len(set(poems)) == 154
    assert all(splits.values())
    lines = {line.rstrip() for line in path.read_text("utf-8-sig").splitlines()} - {""}
    assert {"".join(line) for poem in poems for line in poem} == lines


def test_quatrains_are_read_as_they_stand(folder):
    corpus = read_corpus(folder)
    lines = ("春風又綠江", "南岸明月何", "時照我還家", "鄉夢不成眠")
    assert corpus.splits["train"][0] == characters("\n".join(lines))
    assert {split: len(poems) for split, poems in corpus.splits.items()} == {"train": 2, "valid": 1, "test": 1}
    assert corpus.separator == ""


@pytest.mark.parametrize(
    ("before", "between", "after"),
    [("", "\r\n", ""), ("\ufeff", "\n", ""), ("", "\n", "\n"), ("\ufeff", "\r\n", "\r\n")],
    ids=["CRLF", "BOM", "last newline", "all of it"],
)
def test_line_ends_byte_order_marks_and_a_last_newline_change_nothing(folder, before, between, after):
    plain = read_corpus(folder).splits
    write(folder / "qtrain5", before + between.join([QUATRAIN, QUATRAIN[::-1]]) + after)
    assert read_corpus(folder).splits == plain
    poems = "ab\ncd\n\nef"
    file = write(folder / "poems.txt", poems)
    plain = read_corpus(file).splits
    write(file, before + poems.replace("\n", between) + after)
    assert read_corpus(file).splits == plain


def test_a_verse_of_any_length_and_number_serves_where_all_poems_agree(folder):
    for split in SPLITS:
        write(folder / f"q{split}5", "a b\tc d e")
    assert read_corpus(folder).splits["test"] == [(("a", "b"), ("c", "d", "e"))]


def test_bytes_that_are_not_utf8_are_placed(folder):
    file = folder / "qtrain5"
    first = f"{QUATRAIN}\n".encode()
    write(file, first + b"\xff" + QUATRAIN.encode())
    assert validation_error(folder) == f"poems: {file} line 2: byte 0xff found, text in UTF-8 accepted"
    file = write(folder / "poems.txt", b"\xef\xbb\xbfab\n\ncaf\xe9\n")
    assert validation_error(file) == f"poems: {file} line 3: byte 0xe9 found, text in UTF-8 accepted"


def test_a_nul_is_placed(folder):
    file = write(folder / "qvalid5", QUATRAIN.encode() + b"\n\0")
    assert validation_error(folder) == f"poems: {file} line 2: a NUL byte found, text accepted"


@pytest.mark.parametrize("text", ["", "\n", " \t\r\n \n"])
def test_a_file_without_poems_is_empty(tmp_path, text):
    file = write(tmp_path / "poems.txt", text)
    assert validation_error(file) == f"poems: {file}: poems expected, the file is empty"


def test_a_file_of_nothing_but_blanks_beyond_ascii_has_no_poems(tmp_path):
    file = write(tmp_path / "poems.txt", "\u3000\n\u00a0\n")
    assert validation_error(file) == f"poems: {file}: poems parted by blank lines expected, found none"


@pytest.mark.parametrize("split", SPLITS)
def test_a_poem_with_a_verse_line_too_few_is_placed(folder, split):
    three = QUATRAIN.rpartition("\t")[0]
    file = write(folder / f"q{split}5", f"{QUATRAIN}\n{QUATRAIN}\n{three}\n{QUATRAIN}")
    assert validation_error(folder) == f"poems: {file} line 3: 4 verse lines expected, 3 found"


def test_a_verse_line_with_a_character_too_many_is_placed(folder):
    file = write(folder / "qtest5", QUATRAIN + "\n" + QUATRAIN.replace("我", "我 我"))
    assert validation_error(folder) == f"poems: {file} line 2: 5 characters in verse line 3 expected, 6 found"


def test_a_split_of_another_form_than_the_training_poems_is_refused(folder):
    file = write(folder / "qvalid5", "a b\tc d\te f\tg h")
    assert validation_error(folder) == f"poems: {file} line 1: 5 characters in verse line 1 expected, 2 found"


def test_a_blank_line_among_quatrains_is_placed(folder):
    file = write(folder / "qtrain5", f"{QUATRAIN}\n\n{QUATRAIN}")
    assert validation_error(folder).startswith(f"poems: {file} line 2: ")


def test_an_empty_verse_line_in_the_first_quatrain_is_placed(folder):
    file = write(folder / "qtrain5", "a b\t\tc d")
    assert validation_error(folder) == (
        f"poems: {file} line 1: verse lines parted by TAB expected, found {'a b' + chr(9) * 2 + 'c d'!r}"
    )


def test_a_split_without_a_file_or_with_two_is_named(folder):
    (folder / "qvalid5").unlink()
    assert validation_error(folder) == f"poems: {folder}: one file qvalid… expected, found none"
    write(folder / "qvalid5", QUATRAIN)
    write(folder / "qtrain7", QUATRAIN)
    assert validation_error(folder) == f"poems: {folder}: one file qtrain… expected, found qtrain5, qtrain7"


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    path = tmp_path / "nowhere.txt"
    assert validation_error(path) == (
        f"poems: {path}: a file of poems, or a folder of quatrain files, expected; there is none"
    )


def test_blank_lines_part_poems_and_symbols_are_code_points_after_nfc(tmp_path):
    decomposed = unicodedata.normalize("NFD", "été\n dû 1\n")
    assert len(decomposed) > len("été\n dû 1\n")
    file = write(tmp_path / "poems.txt", f"\n\n{decomposed}\n \t\n\n夜𠮷\n")
    poems = [poem for poems in read_corpus(file).splits.values() for poem in poems]
    assert sorted(poems) == [characters("été\n dû 1"), characters("夜𠮷")]


@pytest.mark.parametrize("count", [3, 10, 40])
def test_a_few_poems_have_all_splits_and_equal_poems_are_in_one(tmp_path, count: int) -> None:
    poems = [f"the river waits\nfor lantern {number}" for number in range(count)]
    splits = read_corpus(write(tmp_path / "few.txt", "\n\n".join([*poems, *poems]))).splits
    assert all(splits[split] for split in SPLITS)
    assert sum(len(part) for part in splits.values()) == 2 * count
    assert sum(len(set(part)) for part in splits.values()) == count


def test_adding_a_poem_moves_no_other_to_another_split(tmp_path):
    def split_of_each(poems: list[str]) -> dict[str, str]:
        corpus = read_corpus(write(tmp_path / "poems.txt", "\n\n".join(poems)))
        return {"\n".join(map("".join, poem)): split for split in SPLITS for poem in corpus.splits[split]}

    poems = [f"a poem about\nnumber {number}" for number in range(400)]
    whole = split_of_each(poems)
    assert len(whole) == 400
    counts = {split: list(whole.values()).count(split) for split in SPLITS}
    # Binomial with p = 0.05: 20 ± 4.4; four deviations.
    assert 3 <= counts["valid"] <= 38
    assert 3 <= counts["test"] <= 38
    assert split_of_each(["something new", *reversed(poems)]).items() >= whole.items()
    assert split_of_each(poems[::7]).items() <= whole.items()
    # Written down when the hash was chosen: other numbers move every user's poems between splits.
    elsewhere = {number: whole[poem] for number, poem in enumerate(poems[:60]) if whole[poem] != "train"}
    assert elsewhere == {5: "valid", 14: "valid", 41: "valid", 45: "test", 50: "valid"}


def test_encoding_and_decoding_is_a_round_trip():
    poems = [characters("abc\nab"), characters("a\nb\nc"), characters("c")]
    vocabulary = Vocabulary.from_poems(poems)
    assert vocabulary.symbols == ("<bos>", "<eol>", "<eos>", "a", "b", "c", "<R>")
    tokens, lengths, unknown = vocabulary.encode(poems)
    assert (tokens.dtype, lengths.dtype, unknown) == (np.int32, np.int32, 0)
    assert lengths.tolist() == [7, 6, 2]
    assert tokens.tolist() == [
        [0, 3, 4, 5, 1, 3, 4, 2],
        [0, 3, 1, 4, 1, 5, 2, 2],
        [0, 5, 2, 2, 2, 2, 2, 2],
    ]
    for poem, row, length in zip(poems, tokens, lengths, strict=True):
        symbols = [vocabulary.symbols[number] for number in row[1:length]]
        assert characters("".join(symbols).replace("<eol>", "\n")) == poem


def test_the_frequent_symbols_come_first_and_ties_by_code_point():
    poems = [characters("bbac"), (("<R>", "<R>", "<R>"),)]
    assert Vocabulary.from_poems(poems).symbols[3:] == ("<R>", "b", "a", "c")
    assert Vocabulary.from_poems(reversed(poems)).symbols == Vocabulary.from_poems(poems).symbols


def test_what_training_lacks_becomes_the_rare_symbol_and_is_counted():
    vocabulary = Vocabulary.from_poems([characters("ab")])
    tokens, lengths, unknown = vocabulary.encode([characters("axb\nyx")])
    assert unknown == 3
    assert [vocabulary.symbols[number] for number in tokens[0]] == [
        *("<bos>", "a", "<R>", "b", "<eol>", "<R>", "<R>", "<eos>")
    ]
    assert lengths.tolist() == [7]


def test_a_leak_is_two_lines_of_one_training_poem():
    train = [characters("ab\ncd\nef"), characters("gh\nij")]
    assert shared_lines(train, [characters("ab\nxx\nef")]) == 1
    assert shared_lines(train, [characters("ab\ngh")]) == 0
    assert shared_lines(train, [characters("ab\nab\nxx")]) == 0
    assert shared_lines(train, train) == 2


@pytest.mark.parametrize("symbol", ["<bos>", "<eol>", "<eos>"])
def test_a_reserved_symbol_is_refused(folder, symbol):
    file = write(folder / "qtrain5", f"{QUATRAIN}\n{QUATRAIN.replace(QUATRAIN[0], symbol, 1)}")
    assert validation_error(folder) == f"poems: {file} line 2: characters expected, found {symbol}, which is reserved"
