"""Row 12: readers of files, on files that are valid by construction and on the same files with random damage.

The files come from a seeded generator, so that a case can be repeated.
"""

import json
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faults.cases import Bench, Case
from nlstm_jax.data.poems import read_corpus
from nlstm_jax.data.prices import read_prices
from nlstm_jax.data.sequences import read_sequences
from nlstm_jax.data.text import read_text
from nlstm_jax.errors import UserError
from nlstm_jax.models.vectors import read_vectors
from nlstm_jax.runs import read_run

INPUTS = 10_000
PART = 500
"""The number of inputs of one case; half of them are valid by construction."""
_LETTERS = "abcxyzÄß春風又綠🙂0123456789"
_NOISE = [
    b"\x00",
    b"\xff",
    b"\n",
    b"\r\n",
    b",",
    b'"',
    b"\t",
    b" ",
    b"-",
    b"nan",
    b"inf",
    b"1e999",
    b"{",
    b"]",
    b"\xef\xbb\xbf",
]


class Format(NamedTuple):
    """A kind of file: a maker of valid contents with what a reader returns of them, and the reader.

    Attributes:
        make: Writes a valid file or folder at a path, and returns the value.
        read: Reads it, and returns the value.
    """

    make: Callable[[random.Random, Path], object]
    read: Callable[[Path], object]


def cases(sample: bool) -> list[Case]:
    """Return the cases of the row; of a sample each reads fewer files."""
    made = []
    for name, kind in FORMATS.items():
        for part in range(INPUTS // PART):
            made.append(Case(12, f"{name} {part}", partial(_check, kind, part, 60 if sample else PART)))
    return made


def _check(kind: Format, part: int, count: int, bench: Bench, folder: Path) -> str:
    draw = random.Random(part)
    path = folder / "input"
    for number in range(count):
        value = kind.make(draw, path)
        if number % 2 == 0:
            found = kind.read(path)
            assert found == value, f"input {number}: {str(value)[:100]} expected, found {str(found)[:100]}"
            continue
        _damage(draw, path)
        message = ""
        try:
            kind.read(path)
        except UserError as error:
            message = str(error)
        except Exception as error:
            content = draw.choice(_files(path)).read_bytes()[:200]
            raise AssertionError(f"input {number}: {type(error).__name__}: {error}; {content!r}") from error
        assert "\n" not in message, f"input {number}: an error of one line expected"
    return f"{count} inputs"


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _damage(draw: random.Random, path: Path) -> None:
    """Change a file in one to three places: other bytes, missing bytes, bytes between, a repeated part, its end."""
    file = draw.choice(_files(path))
    content = file.read_bytes()
    for _ in range(draw.randint(1, 3)):
        start = draw.randint(0, len(content))
        stop = min(len(content), start + draw.choice([0, 1, 1, 5, 50]))
        inserted = draw.choice([b"", draw.randbytes(draw.randint(1, 4)), draw.choice(_NOISE), content[start:stop] * 2])
        content = content[:start] + inserted + content[stop:]
        if draw.random() < 0.1:
            content = content[:start]
    file.write_bytes(content)


def _word(draw: random.Random, letters: str = _LETTERS) -> str:
    return "".join(draw.choices(letters, k=draw.randint(1, 6)))


def _words(draw: random.Random, least: int = 1) -> list[str]:
    return [_word(draw) for _ in range(draw.randint(least, 8))]


def _make_poems(draw: random.Random, path: Path) -> object:
    poems = [tuple(tuple(_word(draw)) for _ in range(draw.randint(1, 4))) for _ in range(draw.randint(40, 60))]
    text = "\n\n".join("\n".join("".join(line) for line in poem) for poem in poems)
    path.write_text(text + draw.choice(["", "\n", "\n\n"]), "utf-8")
    return sorted(set(poems))


def _read_poems(path: Path) -> object:
    return sorted({poem for poems in read_corpus(path).splits.values() for poem in poems})


def _make_text(draw: random.Random, path: Path) -> object:
    path.mkdir(exist_ok=True)
    value = {}
    for split in ("train", "valid", "test"):
        lines = [_words(draw) for _ in range(draw.randint(1, 6))]
        (path / f"{split}.txt").write_text("".join(" ".join(line) + "\n" for line in lines), "utf-8")
        value[split] = [word for line in lines for word in (*line, "<eos>")]
    known = set(value["train"])
    return {split: [word if word in known else "<unk>" for word in words] for split, words in value.items()}


def _read_text(path: Path) -> object:
    text = read_text(path, "words")
    return {split: [text.symbols[index] for index in indices] for split, indices in text.splits.items()}


def _make_prices(draw: random.Random, path: Path) -> object:
    days = np.datetime64("2013-01-01") + np.cumsum([draw.randint(1, 4) for _ in range(draw.randint(1, 12))])
    rows = []
    for _ in days:
        low, first, last, high = sorted(round(draw.uniform(0.01, 1e5), 4) for _ in range(4))
        rows.append([first, high, low, last, float(draw.randint(0, 10**9))])
    lines = ["Date,Open,High,Low,Close,Volume"]
    lines += [",".join([str(day), *map(repr, row)]) for day, row in zip(days, rows, strict=True)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return [list(map(str, days)), rows]


def _read_prices(path: Path) -> object:
    prices = read_prices(path)
    return [list(map(str, prices.dates)), prices.values.tolist()]


def _make_sequences(draw: random.Random, path: Path) -> object:
    rows = [("train", "zero", ["a"]), ("train", "one", ["b"])]
    rows += [(draw.choice(["train", "valid", "test"]), draw.choice(["zero", "one"]), _words(draw)) for _ in range(8)]
    # A symbol that training lacks is read as a blank.
    known = sorted({word for split, _, words in rows if split == "train" for word in words})
    rows += [("valid", "one", [draw.choice(known)]), ("test", "one", [draw.choice(known)])]
    lines = ["split,class,sequence"] + [f"{split},{name},{' '.join(words)}" for split, name, words in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return _by_split([(split, name, [word if word in known else "" for word in words]) for split, name, words in rows])


def _by_split(rows: Sequence[tuple[str, str, list[str]]]) -> object:
    return {split: [row[1:] for row in rows if row[0] == split] for split in ("train", "valid", "test")}


def _read_sequences(path: Path) -> object:
    data = read_sequences(path)
    rows = []
    for split, labelled in data.splits.items():
        for symbols, length, number in zip(labelled.symbols, labelled.lengths, labelled.classes, strict=True):
            words = [data.symbols[i] if 0 <= i < len(data.symbols) else "" for i in symbols[:length]]
            rows.append((split, data.classes[number], words))
    return _by_split(rows)


def _make_vectors(draw: random.Random, path: Path) -> object:
    width = draw.randint(2, 6)
    rows = [[float(np.float32(draw.uniform(-9, 9))) for _ in range(width)] for _ in "abc"]
    order = draw.sample([0, 1, 2], 3)
    header = [f"3 {width}"] if draw.random() < 0.5 else []
    path.write_text("\n".join([*header, *(" ".join(["abc"[i], *map(repr, rows[i])]) for i in order)]), "utf-8")
    return rows


def _make_run(draw: random.Random, path: Path) -> object:
    path.mkdir(exist_ok=True)
    config = {"name": _word(draw), "task": "poems", "cell": {"name": "lstm"}, "eval": {"metric": "log_loss"}}
    rows = [
        {"step": step, "split": "valid", "log_loss": draw.random()} for step in range(8, 8 * draw.randint(2, 9), 8)
    ]
    summary = {"status": "finished", "steps": 8, "best_step": 8, "valid": {"log_loss": draw.random()}}
    for name, document in (("config", config), ("summary", summary)):
        (path / f"{name}.json").write_text(json.dumps({"schema": 1, **document}), "utf-8")
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return [config, rows, summary]


def _read_run(path: Path) -> object:
    run = read_run(path)
    return [run.config, run.metrics, run.summary]


FORMATS = {
    "poems": Format(_make_poems, _read_poems),
    "text": Format(_make_text, _read_text),
    "prices": Format(_make_prices, _read_prices),
    "sequences": Format(_make_sequences, _read_sequences),
    "vectors": Format(_make_vectors, lambda path: read_vectors(path, "abc").tolist()),
    "run files": Format(_make_run, _read_run),
}
