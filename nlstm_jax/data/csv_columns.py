"""Typed columns of a CSV file: read as fast as NumPy can, and every complaint names file, line and column.

A file is read in blocks of whole lines. An ordinary block (as many fields on each line as the header has, no
quotes, no empty line) is cut at its separators and parsed as arrays of bytes. From the first block that is not
ordinary on, Python's `csv` does the cutting: it is slower, knows quotes, and finds the exact line of a fault.
Both ways end in the same parsers. LF and CRLF, a byte order mark, empty lines and a missing final newline are
accepted; columns go by name.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int, Int32

from nlstm_jax.errors import DataError

_BLOCK_BYTES = 1 << 21
_BLOCK_ROWS = 1 << 16
# 15 digits fit float64's mantissa, and 10^15 is exact too: one division rounds as Python's float() does.
_MOST_DIGITS = 15
_POWERS = 10.0 ** np.arange(_MOST_DIGITS + 1)
_NUMBER = re.compile(r"[ \t]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*", re.ASCII)


class Fields(NamedTuple):
    """One column of one block: field i is `data[starts[i]:ends[i]]`, UTF-8; something follows the last one."""

    data: bytes
    starts: Int[np.ndarray, " rows"]
    ends: Int[np.ndarray, " rows"]

    def text(self, row: int) -> str:
        return self.data[self.starts[row] : self.ends[row]].decode()


class Parsed(NamedTuple):
    """A block's values, and which of its fields are not acceptable (their values mean nothing)."""

    values: np.ndarray
    wrong: Bool[np.ndarray, " rows"]


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, as int32; `2.0` is one."""

    low: int
    high: int

    @property
    def accepted(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def parse(self, fields: Fields) -> Parsed:
        values, wrong = _numbers(fields)
        wrong |= (values < self.low) | (values > self.high) | (values != np.floor(values))
        return Parsed(np.where(wrong, 0, values).astype(np.int32), wrong)


@dataclass(frozen=True)
class Decimal:
    """Finite numbers from `low` to `high`, as float64, the same double that Python's `float` gives."""

    low: float
    high: float

    @property
    def accepted(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def parse(self, fields: Fields) -> Parsed:
        values, wrong = _numbers(fields)
        return Parsed(values, wrong | (values < self.low) | (values > self.high))


@dataclass(frozen=True)
class Date:
    """Days of the calendar written dd.mm.yyyy, as datetime64[D]."""

    accepted: str = "a day of the calendar written dd.mm.yyyy"

    def parse(self, fields: Fields) -> Parsed:
        data, starts, ends = fields
        characters = np.frombuffer(data, np.uint8).take(starts[:, None] + np.arange(10), mode="clip")
        digits = (characters - ord("0"))[:, [0, 1, 3, 4, 6, 7, 8, 9]]
        wrong = (ends - starts != 10) | (digits > 9).any(axis=1)
        wrong |= (characters[:, [2, 5]] != ord(".")).any(axis=1)
        day, month, year = digits[:, :2] @ [10, 1], digits[:, 2:4] @ [10, 1], digits[:, 4:] @ [1000, 100, 10, 1]
        wrong |= (month < 1) | (month > 12) | (year < 1)
        months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
        dates = months.astype("datetime64[D]") + (day - 1)
        # a day 0, or one past its month's end, is a day of a neighbouring month
        return Parsed(dates, wrong | (dates.astype("datetime64[M]") != months))


@dataclass(frozen=True)
class Text:
    """Any text, as an object array of str."""

    accepted: str = "text"

    def parse(self, fields: Fields) -> Parsed:
        texts = [fields.text(row) for row in range(len(fields.starts))]
        return Parsed(np.array(texts, dtype=object), np.zeros(len(texts), bool))


Kind: TypeAlias = Whole | Decimal | Date | Text
"""What a column holds; `accepted` is for the error line."""


@dataclass(frozen=True, eq=False)
class Table:
    """The asked columns of a file, and where each row stands in it."""

    path: Path
    columns: dict[str, np.ndarray]
    lines: Int32[np.ndarray, " rows"]
    ignored: tuple[str, ...]

    def error(self, row: int, column: str, found: object, accepted: str) -> DataError:
        """The complaint about one row's field, for checks that a column alone cannot make."""
        return _field_error(self.path, int(self.lines[row]), column, found, accepted)

    def check_unique(self, *names: str) -> None:
        """Raises a DataError at the first row whose values in these columns an earlier row has."""
        keys = [self.columns[name] for name in names]
        repeated = repeats(keys)
        if len(repeated):
            row = int(repeated.min())
            first = self.lines[np.all([key == key[row] for key in keys], axis=0).argmax()]
            found = ", ".join(str(key[row]) for key in keys)
            raise self.error(row, ", ".join(names), found, f"each once (line {first} has it)")

    def check_known(self, name: str, register: "Table") -> None:
        """Raises a DataError at the first row whose value is not in the register's column of that name."""
        unknown = ~np.isin(self.columns[name], register.columns[name])
        if unknown.any():
            row = int(unknown.argmax())
            raise self.error(row, name, self.columns[name][row], f"one of {register.path.name}")


def read_columns(path: Path, kinds: Mapping[str, Kind], names: Sequence[str] | None = None) -> Table:
    """Reads the columns named in `kinds`, in whatever order the file has them; others are listed as ignored.

    Args:
        path: a CSV file in UTF-8 whose first line names the columns, unless `names` does.
        kinds: what each required column holds.
        names: of the columns of a file whose first line is a row.

    Returns:
        a `Table` with one array a column, all with one entry a row.

    Raises:
        DataError: the file cannot be read, is empty or has no rows, is not UTF-8, holds a NUL byte, lacks a
            column or has it twice, a line has too many or too few fields, or a field is not of its kind.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "shops.csv"
    >>> _ = path.write_text('shop_name,shop_id\\n"Harbour Street, Alderby",7\\n')
    >>> read_columns(path, {"shop_id": Whole(0, 99)}).columns
    {'shop_id': array([7], dtype=int32)}
    """
    with _readable(path) as file:
        return _read(path, file, kinds, names)


def first_line(path: Path) -> list[str]:
    """The fields of a file's first line: names, or the values of the first row.

    Raises:
        DataError: as of `read_columns`.
    """
    with _readable(path) as file:
        chunk = next(_chunks(path, file), None)
    if chunk is None:
        raise DataError(f"{path}: an empty file found, lines of columns accepted")
    return _split(path, chunk[1].partition(b"\n")[0].decode())


def named_alike(path: Path, header: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """What each of the wanted columns is called in a header: exactly so, or in other case.

    A name that the header has not got stands for itself, and reading it is refused.

    Raises:
        DataError: several columns differ from a wanted one in their case alone.
    """
    found = {}
    for name in wanted:
        alike = [name] if name in header else [other for other in header if other.lower() == name.lower()]
        if len(alike) > 1:
            raise DataError(f"{path} line 1, column {name}: {' and '.join(alike)} found, one of them accepted")
        found[name] = alike[0] if alike else name
    return found


def repeats(columns: Sequence[np.ndarray]) -> Int[np.ndarray, " repeats"]:
    """The rows that equal an earlier row in all of the columns, in no order."""
    order = np.lexsort(columns)
    return order[1:][np.all([column[order[1:]] == column[order[:-1]] for column in columns], axis=0)]


def file_sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal; a DataError where it cannot be read."""
    with _readable(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[io.BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: {error.strerror} found, a readable file accepted") from error


def _read(path: Path, file: io.BufferedReader, kinds: Mapping[str, Kind], given_names: Sequence[str] | None) -> Table:
    chunks = _chunks(path, file)
    first = next(chunks, None)
    if first is None:
        raise DataError(f"{path}: an empty file found, a line with {', '.join(kinds)} and rows accepted")
    line, head, body = 1, b"", first[1]
    if given_names is None:
        line, (head, _, body) = 2, first[1].partition(b"\n")
    names = _header(path, _split(path, head.decode()) if given_names is None else list(given_names), kinds)
    places = [names.index(name) for name in kinds]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in kinds}
    lines: list[Int32[np.ndarray, " rows"]] = []
    for block, block_lines in _blocks(path, itertools.chain([(line, body)], chunks), names, places):
        lines.append(block_lines)
        for (name, kind), fields in zip(kinds.items(), block, strict=True):
            values, wrong = kind.parse(fields)
            if wrong.any():
                row = int(wrong.argmax())
                raise _field_error(path, int(block_lines[row]), name, fields.text(row), kind.accepted)
            parts[name].append(values)
    if not lines:
        raise DataError(f"{path} line 1: a header without rows found, at least one row accepted")
    # pop: a column's blocks are freed as soon as they are joined, which halves the peak memory
    columns = {name: np.concatenate(parts.pop(name)) for name in kinds}
    ignored = tuple(name for name in names if name not in kinds)
    return Table(path, columns, np.concatenate(lines), ignored)


def _split(path: Path, line: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], strict=True), [])]
    except csv.Error as error:
        raise DataError(f"{path} line 1: {error}; the names of the columns accepted") from error


def _header(path: Path, names: list[str], kinds: Mapping[str, Kind]) -> list[str]:
    for name in kinds:
        if names.count(name) != 1:
            fault = "twice" if name in names else "no such column"
            raise DataError(
                f"{path} line 1, column {name}: {fault} found in {', '.join(names)!r}, "
                f"each of {', '.join(kinds)} once accepted"
            )
    return names


Chunk: TypeAlias = tuple[int, bytes]
"""The number of the first line, and whole lines that end in LF."""


def _chunks(path: Path, file: io.BufferedReader) -> Iterator[Chunk]:
    """Blocks of whole lines, free of NUL bytes, the byte order mark, and what is not UTF-8."""
    line, rest = 1, b""
    at_end = False
    while not at_end:
        read = file.read(_BLOCK_BYTES)
        at_end = not read
        data = rest + read
        if at_end and data:
            data += b"\n"
        cut = data.rfind(b"\n") + 1
        data, rest = data[:cut], data[cut:]
        if line == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        _check_bytes(path, line, data)
        if data:
            yield line, data.replace(b"\r\n", b"\n")
        line += data.count(b"\n")


def _check_bytes(path: Path, line: int, data: bytes) -> None:
    nul = data.find(b"\0")
    if nul >= 0:
        raise DataError(f"{path} line {line + data.count(bytes([10]), 0, nul)}: a NUL byte found, text accepted")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise DataError(f"{path} line {line}: byte 0x{data[error.start]:02x} found, text in UTF-8 accepted") from error


Block: TypeAlias = tuple[list[Fields], Int32[np.ndarray, " rows"]]
"""The fields of each asked column, and the line of each row."""


def _blocks(path: Path, chunks: Iterator[Chunk], names: list[str], places: list[int]) -> Iterator[Block]:
    for line, data in chunks:
        if not data:
            continue
        cut = _cut(data, len(names))
        if cut is None:
            yield from _careful_blocks(path, itertools.chain([(line, data)], chunks), names, places)
            return
        starts, ends = cut
        fields = [Fields(data, starts[:, place], ends[:, place]) for place in places]
        yield fields, np.arange(line, line + len(ends), dtype=np.int32)


def _cut(data: bytes, width: int) -> tuple[Int[np.ndarray, "rows width"], Int[np.ndarray, "rows width"]] | None:
    """Starts and ends of all fields, or None where the block is not an ordinary one."""
    if b'"' in data or b"\r" in data or b"\n\n" in data or data.startswith(b"\n"):
        return None
    characters = np.frombuffer(data, np.uint8)
    is_end = characters == ord("\n")
    ends = np.flatnonzero(is_end | (characters == ord(",")))
    rows = int(is_end.sum())
    if len(ends) != rows * width or not is_end[ends[width - 1 :: width]].all():
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    return starts.reshape(rows, width), ends.reshape(rows, width)


def _careful_blocks(path: Path, chunks: Iterator[Chunk], names: list[str], places: list[int]) -> Iterator[Block]:
    numbered = _numbered_rows(path, chunks, names)
    while rows := list(itertools.islice(numbered, _BLOCK_ROWS)):
        fields = [_joined([row[place] for _, row in rows]) for place in places]
        yield fields, np.array([line for line, _ in rows], dtype=np.int32)


def _numbered_rows(path: Path, chunks: Iterator[Chunk], names: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its first line; empty lines are passed over."""
    first, data = next(chunks)
    texts = itertools.chain([data], (data for _, data in chunks))
    reader = csv.reader((line for text in texts for line in io.StringIO(text.decode(), newline="\n")), strict=True)
    line = first
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path} line {line}: {error}; comma-separated values accepted") from error
        if row is None:
            return
        if row and len(row) != len(names):
            raise DataError(f"{path} line {line}: {len(row)} fields found, {len(names)} accepted ({', '.join(names)})")
        if row:
            yield line, row
        line = first + reader.line_num


def _joined(texts: list[str]) -> Fields:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded])
    return Fields(b"".join(encoded) + b"\n", np.concatenate([[0], ends[:-1]]), ends)


def _numbers(fields: Fields) -> Parsed:
    """Decimal numbers as float64; the few with exponents, plus signs, blanks or many digits go one by one."""
    characters = np.frombuffer(fields.data, np.uint8)
    width = fields.ends - fields.starts
    negative = characters[fields.starts] == ord("-")
    mantissa = np.zeros(len(width), np.int64)
    digits, points, decimals = np.zeros((3, len(width)), np.int8)
    for place in range(min(int(width.max()), _MOST_DIGITS + 2)):
        inside = width > place
        character = characters.take(fields.starts + place, mode="clip")
        digit = character - np.uint8(ord("0"))
        is_digit = inside & (digit < 10)
        mantissa = np.where(is_digit, mantissa * 10 + digit, mantissa)
        digits += is_digit
        decimals += is_digit & (points > 0)
        points += inside & (character == ord("."))
    ordinary = (digits + points + negative == width) & (points <= 1) & (digits >= 1) & (digits <= _MOST_DIGITS)
    values = np.where(negative, -mantissa, mantissa) / _POWERS[np.minimum(decimals, _MOST_DIGITS)]
    wrong = ~ordinary
    for row in np.flatnonzero(wrong).tolist():
        text = fields.text(row)
        if _NUMBER.fullmatch(text) and np.isfinite(float(text)):
            values[row], wrong[row] = float(text), False
    return Parsed(values, wrong)


def _field_error(path: Path, line: int, column: str, found: object, accepted: str) -> DataError:
    shown = repr(str(found))
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return DataError(f"{path} line {line}, column {column}: {shown} found, {accepted} accepted")
