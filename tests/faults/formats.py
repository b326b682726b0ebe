"""The formats of row 12: for each a strategy of valid files with the value that they hold, and the reader."""

import csv
import hashlib
import io
import itertools
import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from nlstm_jax.data.poems import read_corpus
from nlstm_jax.data.prices import read_prices
from nlstm_jax.data.sales import read_sales
from nlstm_jax.data.sequences import read_sequences
from nlstm_jax.data.text import read_text
from nlstm_jax.models.vectors import read_vectors
from nlstm_jax.runs import files, read_run
from nlstm_jax.runs.notes import read_notes
from nlstm_jax.training.manifest import MANIFEST, Manifest

SPLITS = ("train", "valid", "test")


class Valid(NamedTuple):
    """Valid files, and the value that a reader returns of them.

    Attributes:
        contents: The content of each file by its name.
        value: The value.
    """

    contents: dict[str, bytes]
    value: object


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        valid: The valid files.
        read: Reads the files in a folder, and returns the value.
        has_digest: True if a damaged file is refused, or has the value that it had.
    """

    valid: SearchStrategy[Valid]
    read: Callable[[Path], object]
    has_digest: bool = False


_CHARACTER = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
_WORD = st.text(_CHARACTER, min_size=1, max_size=6)
_WORDS = st.lists(_WORD, min_size=1, max_size=5)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_FINITE_FLOAT32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _FINITE | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(rows)
    return output.getvalue().encode()


def _json(content: object) -> bytes:
    return (json.dumps(content) + "\n").encode()


@st.composite
def _poems(draw: st.DrawFn) -> Valid:
    poems = draw(st.lists(st.lists(_WORD, min_size=1, max_size=4), min_size=1, max_size=4))
    end = draw(st.sampled_from(["", "\n", "\n\n"]))
    text = "\n\n".join("\n".join(poem) for poem in poems) + end
    value = [tuple(tuple(unicodedata.normalize("NFC", line)) for line in poem) for poem in poems]
    return Valid({"poems.txt": text.encode()}, sorted(value))


def _read_poems(folder: Path) -> object:
    corpus = read_corpus(folder / "poems.txt")
    return sorted(itertools.chain.from_iterable(corpus.splits.values()))


@st.composite
def _quatrains(draw: st.DrawFn) -> Valid:
    width = draw(st.integers(1, 5))
    verse = st.lists(_CHARACTER, min_size=width, max_size=width).map(tuple)
    poem = st.lists(verse, min_size=4, max_size=4).map(tuple)
    value = {split: draw(st.lists(poem, min_size=1, max_size=2)) for split in SPLITS}
    contents = {}
    for split, poems in value.items():
        lines = ["\t".join(" ".join(verse) for verse in poem) for poem in poems]
        contents[f"q{split}"] = "\n".join(lines).encode()
    return Valid(contents, value)


@st.composite
def _text(draw: st.DrawFn) -> Valid:
    lines = {split: draw(st.lists(_WORDS, min_size=1, max_size=3)) for split in SPLITS}
    contents = {}
    symbols = {}
    for split, split_lines in lines.items():
        contents[f"{split}.txt"] = "".join(" ".join(line) + "\n" for line in split_lines).encode()
        symbols[split] = [word for line in split_lines for word in (*line, "<eos>")]
    known = set(symbols["train"])
    value = {split: [word if word in known else "<unk>" for word in words] for split, words in symbols.items()}
    return Valid(contents, value)


def _read_text(folder: Path) -> object:
    text = read_text(folder, "words")
    return {split: [text.symbols[index] for index in indices] for split, indices in text.splits.items()}


@st.composite
def _prices(draw: st.DrawFn) -> Valid:
    day = draw(st.dates(date(1900, 1, 1), date(2100, 1, 1)))
    rows = []
    for gap in draw(st.lists(st.integers(1, 5), min_size=1, max_size=6)):
        day += timedelta(gap)
        prices = draw(st.lists(st.floats(0.01, 1e5), min_size=4, max_size=4))
        low, first, last, high = sorted(prices)
        rows.append([str(day), first, high, low, last, float(draw(st.integers(0, 10**9)))])
    content = _csv([["Date", "Open", "High", "Low", "Close", "Volume"], *rows])
    return Valid({"prices.csv": content}, rows)


def _read_prices(folder: Path) -> object:
    prices = read_prices(folder / "prices.csv")
    return [[str(day), *row] for day, row in zip(prices.dates, prices.values.tolist(), strict=True)]


_PAIR = st.tuples(st.integers(0, 2), st.sampled_from([0, 7, 9_999_999]))
# Sums of these prices are exact.
_SALE = st.tuples(st.dates(date(2013, 1, 1), date(2014, 3, 31)), _PAIR, st.integers(0, 400), st.integers(-3, 9))


@st.composite
def _sales(draw: st.DrawFn) -> Valid:
    sales = draw(st.lists(_SALE, min_size=1, max_size=6))
    rows = []
    cells: dict[tuple[int, int], dict[int, list[tuple[float, int]]]] = {}
    first_month = min(_month(day) for day, _, _, _ in sales)
    last_month = max(_month(day) for day, _, _, _ in sales)
    for day, pair, quarters, count in sales:
        rows.append([f"{day:%d.%m.%Y}", *pair, quarters / 4, count])
        cells.setdefault(pair, {}).setdefault(_month(day), []).append((quarters / 4, count))

    value = {}
    for pair, months in cells.items():
        price = 0.0
        value[pair] = []
        for month in range(first_month, last_month + 1):
            sold = months.get(month, [])
            if sold:
                price = float(np.float32(sum(paid for paid, _ in sold) / len(sold)))
            value[pair].append((float(sum(count for _, count in sold)), price))
    content = _csv([["date", "shop_id", "item_id", "item_price", "item_cnt_day"], *rows])
    return Valid({"sales_train.csv": content}, value)


def _month(day: date) -> int:
    return 12 * day.year + day.month


def _read_sales(folder: Path) -> object:
    history = read_sales(folder)
    pairs = zip(history.shop_ids.tolist(), history.item_ids.tolist(), strict=True)
    months = zip(history.counts.tolist(), history.prices.tolist(), strict=True)
    return {pair: list(zip(*of_pair, strict=True)) for pair, of_pair in zip(pairs, months, strict=True)}


@st.composite
def _sequences(draw: st.DrawFn) -> Valid:
    classes = draw(st.lists(_WORD, min_size=1, max_size=3, unique=True))
    rows = [("train", name, draw(_WORDS)) for name in classes]
    rows.append(("valid", classes[0], draw(_WORDS)))
    rows += draw(st.lists(st.tuples(st.sampled_from(SPLITS), st.sampled_from(classes), _WORDS), max_size=4))
    lines = [[split, name, " ".join(words)] for split, name, words in rows]
    # A symbol that training lacks is read as a blank.
    known = {word for split, _, words in rows if split == "train" for word in words}
    value = [(split, name, [word if word in known else "" for word in words]) for split, name, words in rows]
    return Valid({"sequences.csv": _csv([["split", "class", "sequence"], *lines])}, sorted(value))


def _read_sequences(folder: Path) -> object:
    data = read_sequences(folder / "sequences.csv")
    rows = []
    for split, labelled in data.splits.items():
        for indices, length, number in zip(labelled.symbols, labelled.lengths, labelled.classes, strict=True):
            words = [data.symbols[index] if index >= 0 else "" for index in indices[:length]]
            rows.append((split, data.classes[number], words))
    return sorted(rows)


@st.composite
def _vectors(draw: st.DrawFn) -> Valid:
    width = draw(st.integers(1, 5))
    numbers = st.lists(_FINITE_FLOAT32, min_size=width, max_size=width)
    value = {symbol: draw(numbers) for symbol in "abc"}
    others = draw(st.dictionaries(st.text("defgh", min_size=1, max_size=4), numbers, max_size=3))
    lines = [" ".join([symbol, *map(repr, vector)]) for symbol, vector in {**value, **others}.items()]
    lines = draw(st.permutations(lines))
    if draw(st.booleans()):
        lines.insert(0, f"{len(lines)} {width}")
    return Valid({"vectors.txt": "\n".join(lines).encode()}, list(value.values()))


@st.composite
def _run(draw: st.DrawFn) -> Valid:
    config = {"name": draw(_WORD), "task": "poems", "cell": {"name": "lstm"}, "eval": {"metric": "log_loss"}}
    config["more"] = draw(_JSON)
    steps = sorted(draw(st.sets(st.integers(1, 10**9), max_size=5)))
    rows = [{"step": step, "split": draw(st.sampled_from(SPLITS)), "log_loss": draw(_FINITE)} for step in steps]
    summary = {"status": "finished", "steps": 8, "best_step": 8, "valid": {"log_loss": draw(_FINITE)}}
    contents = {
        f"{name}.json": _json({"schema": 1, **document})
        for name, document in (("config", config), ("summary", summary))
    }
    contents["metrics.jsonl"] = b"".join(map(_json, rows))
    return Valid(contents, [config, rows, summary])


def _read_run(folder: Path) -> object:
    run = read_run(folder)
    return [run.config, run.metrics, run.summary]


@st.composite
def _notes(draw: st.DrawFn) -> Valid:
    value = (draw(st.text(_CHARACTER | st.sampled_from(" \n"))), tuple(draw(st.lists(_WORD, max_size=4))))
    content = {"schema": 1, "text": value[0], "tags": value[1]}
    return Valid({files.NOTES: _json(content)}, value)


@st.composite
def _manifest(draw: st.DrawFn) -> Valid:
    checksums = draw(st.dictionaries(_WORD, st.integers(0, 2**32 - 1), max_size=4))
    shapes = draw(st.dictionaries(_WORD, st.lists(st.integers(0, 9), max_size=3), max_size=3))
    leaves = {name: {"shape": shape, "dtype": "float32", "sha256": "0" * 64} for name, shape in shapes.items()}
    metric = draw(st.none() | _FINITE)
    manifest = asdict(
        Manifest(draw(st.integers(0, 10**9)), "run", metric, draw(st.integers(0, 99)), checksums, leaves)
    )
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return Valid({MANIFEST: _json({"schema": 1, **manifest, "sha256": digest})}, manifest)


FORMATS = {
    "poems": Format(_poems(), _read_poems),
    "quatrains": Format(_quatrains(), lambda folder: read_corpus(folder).splits),
    "text": Format(_text(), _read_text),
    "prices": Format(_prices(), _read_prices),
    "sales": Format(_sales(), _read_sales),
    "sequences": Format(_sequences(), _read_sequences),
    "vectors": Format(_vectors(), lambda folder: read_vectors(folder / "vectors.txt", "abc").tolist()),
    "run files": Format(_run(), _read_run),
    "notes": Format(_notes(), lambda folder: tuple(read_notes(folder))),
    "manifests": Format(_manifest(), lambda folder: asdict(Manifest.read(folder)), has_digest=True),
}
