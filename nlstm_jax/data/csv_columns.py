"""Typed columns of a CSV file, read at NumPy's speed, with errors that name file, line and column.

A file is read in blocks of complete lines. A regular block has as many fields on each line as the header, no quotes
and no empty line; it is split at its separators and parsed as arrays of bytes. From the first irregular block on,
Python's `csv` module splits the rest of the file. It is slower, but it understands quotes and finds the exact line of
a fault. Both ways end in the same parsers. LF and CRLF, a byte order mark, empty lines and a missing final newline
are accepted. Columns are found by name.
"""

import contextlib
import csv
import hashlib
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Int, Int32

from nlstm_jax.data.csv_kinds import Fields, Kind
from nlstm_jax.data.decoding import clean
from nlstm_jax.errors import DataError

_BLOCK_BYTES = 1 << 21
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class CsvTable:
    """The requested columns of a file.

    Attributes:
        path: The file.
        columns: One array per requested column, all with one entry per row.
        lines: The line of the file at which each row begins.
        ignored: The names of the columns that were not requested.
    """

    path: Path
    columns: dict[str, np.ndarray]
    lines: Int32[np.ndarray, " rows"]
    ignored: tuple[str, ...]

    def error(self, row: int, column: str, value: object, accepted: str) -> DataError:
        """Return the error about one row's field, for checks that need more than one column."""
        return _field_error(self.path, int(self.lines[row]), column, value, accepted)

    def check_unique(self, *names: str) -> None:
        """Raise a DataError at the first row whose values in these columns equal those of an earlier row."""
        keys = [self.columns[name] for name in names]
        repeated = repeats(keys)
        if len(repeated):
            row = int(repeated.min())
            equal = np.all([key == key[row] for key in keys], axis=0)
            earlier_line = self.lines[equal.argmax()]
            values = ", ".join(str(key[row]) for key in keys)
            raise self.error(row, ", ".join(names), values, f"each once (line {earlier_line} has it)")

    def check_known(self, name: str, register: "CsvTable") -> None:
        """Raise a DataError at the first row whose value is not in the register's column of that name."""
        unknown = ~np.isin(self.columns[name], register.columns[name])
        if unknown.any():
            row = int(unknown.argmax())
            raise self.error(row, name, self.columns[name][row], f"one of {register.path.name}")


def read_columns(
    path: Path,
    kinds: Mapping[str, Kind],
    names: Sequence[str] | None = None,
    *,
    delimiter: str = ",",
    header_lines: int = 0,
) -> CsvTable:
    """Read the columns named in `kinds`, in any order. Other columns are listed as ignored.

    Args:
        path: A CSV file in UTF-8. Its first line names the columns, unless `names` does.
        kinds: The kind of each required column, by name.
        names: The names of all columns of a file without a header. None means that the file has a header.
        delimiter: The character between two fields.
        header_lines: The number of lines that are skipped at the beginning of a file whose `names` are given.

    Returns:
        A `CsvTable` with one array per column, all with one entry per row.

    Raises:
        DataError: The file cannot be read, is empty or has no rows, is not UTF-8, holds a NUL byte, lacks a
            column or has it twice, a line has too many or too few fields, or a field is not of its kind.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "shops.csv"
    >>> _ = path.write_text('shop_name,shop_id\\n"Harbour Street, Alderby",7\\n')
    >>> from nlstm_jax.data.csv_kinds import IntColumn
    >>> read_columns(path, {"shop_id": IntColumn(0, 99)}).columns
    {'shop_id': array([7], dtype=int32)}
    """
    with _open(path) as file:
        return _read_table(path, file, kinds, names, delimiter, header_lines)


def first_rows(path: Path, count: int, delimiter: str = ",") -> list[list[str]]:
    """Return the fields of the first rows of a file, without blanks around them: column names or values.

    Empty lines are skipped.

    Raises:
        DataError: As for `read_columns`.
    """
    return [_split_header(path, line, delimiter) for line in _first_lines(path, count)]


def find_delimiter(path: Path, delimiters: str) -> str:
    """Return the one of several delimiters that occurs most often in the first line of a file.

    Raises:
        DataError: As for `read_columns`.
    """
    (line,) = _first_lines(path, 1)
    return max(delimiters, key=line.count)


def _first_lines(path: Path, count: int) -> list[str]:
    """Return the first lines of a file that are not blank. Raises a DataError if there is none."""
    with _open(path) as file:
        chunk = next(_read_chunks(path, file), None)
    lines = [] if chunk is None else chunk[1].decode().split("\n")
    first = list(itertools.islice((line for line in lines if line.strip()), count))
    if not first:
        raise DataError(f"{path}: an empty file found, lines of columns accepted")
    return first


def match_column_names(path: Path, header: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Map each name to the column of the header that has this name, exactly or in another case.

    A name without such a column is mapped to itself, so that reading the column fails.

    Raises:
        DataError: Several columns differ from a name in their case alone.
    """
    columns = {}
    for name in names:
        columns[name] = name
        if name in header:
            continue
        matches = [column for column in header if column.lower() == name.lower()]
        if len(matches) > 1:
            raise DataError(f"{path} line 1, column {name}: {' and '.join(matches)} found, one of them accepted")
        if matches:
            columns[name] = matches[0]
    return columns


def repeats(columns: Sequence[np.ndarray]) -> Int[np.ndarray, " repeats"]:
    """Return the rows that equal an earlier row in all columns, in no particular order."""
    order = np.lexsort(columns)
    equal = [column[order[1:]] == column[order[:-1]] for column in columns]
    return order[1:][np.all(equal, axis=0)]


def file_sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal. Raises a DataError if the file cannot be read."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _open(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading bytes. An OSError becomes a DataError."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: {error.strerror} found, a readable file accepted") from error


def _read_table(
    path: Path,
    file: io.BufferedReader,
    kinds: Mapping[str, Kind],
    names: Sequence[str] | None,
    delimiter: str,
    header_lines: int,
) -> CsvTable:
    """Read the columns of an open file, see `read_columns`."""
    chunks = _read_chunks(path, file)
    first = next(chunks, None)
    if first is None:
        raise DataError(f"{path}: an empty file found, a line with {', '.join(kinds)} and rows accepted")

    line, data = first
    while data.startswith(b"\n"):
        data = data[1:]
        line += 1
    if names is None:
        head, _, data = data.partition(b"\n")
        header = _split_header(path, head.decode(), delimiter)
        line += 1
    else:
        header = list(names)
        for _ in range(header_lines):
            data = data.partition(b"\n")[2]
            line += 1
    _check_header(path, header, kinds)

    columns = [header.index(name) for name in kinds]
    chunks = itertools.chain([(line, data)], chunks)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in kinds}
    lines: list[Int32[np.ndarray, " rows"]] = []
    for block, block_lines in _split_blocks(path, chunks, header, columns, delimiter):
        lines.append(block_lines)
        for (name, kind), fields in zip(kinds.items(), block, strict=True):
            values, wrong = kind.parse(fields)
            if wrong.any():
                row = int(wrong.argmax())
                raise _field_error(path, int(block_lines[row]), name, fields.text(row), kind.accepted)
            parts[name].append(values)
    if not lines:
        raise DataError(f"{path} line 1: a header without rows found, at least one row accepted")

    # `pop` frees a column's blocks as soon as they are joined, which halves the peak memory.
    joined = {name: np.concatenate(parts.pop(name)) for name in kinds}
    ignored = tuple(
        name or f"column {index} (without a name)" for index, name in enumerate(header, 1) if name not in kinds
    )
    return CsvTable(path, joined, np.concatenate(lines), ignored)


def _split_header(path: Path, line: str, delimiter: str) -> list[str]:
    """Split the first line of a file into its fields, without blanks around them."""
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise DataError(f"{path} line 1: {error}; the names of the columns accepted") from error


def _check_header(path: Path, header: list[str], kinds: Mapping[str, Kind]) -> None:
    """Raise a DataError if the header lacks a required column or has it twice."""
    for name in kinds:
        if header.count(name) != 1:
            fault = "twice" if name in header else "no such column"
            raise DataError(
                f"{path} line 1, column {name}: {fault} found in {', '.join(header)!r}, "
                f"each of {', '.join(kinds)} once accepted"
            )


Chunk: TypeAlias = tuple[int, bytes]
"""The number of the first line, and complete lines that end in LF."""


def _read_chunks(path: Path, file: io.BufferedReader) -> Iterator[Chunk]:
    """Yield chunks of complete lines in valid UTF-8, without NUL bytes and without the byte order mark."""
    line = 1
    rest = b""
    at_end = False
    while not at_end:
        new_bytes = file.read(_BLOCK_BYTES)
        at_end = not new_bytes
        data = rest + new_bytes
        if at_end and data:
            data += b"\n"

        # The incomplete last line waits for the next bytes.
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        data = data[:end]

        data = clean(data, str(path), line)
        if data:
            yield line, data
        line += data.count(b"\n")


Block: TypeAlias = tuple[list[Fields], Int32[np.ndarray, " rows"]]
"""The fields of each requested column, and the line of each row."""


def _split_blocks(
    path: Path, chunks: Iterator[Chunk], header: list[str], columns: list[int], delimiter: str
) -> Iterator[Block]:
    """Split chunks into fields: with NumPy as long as the chunks are regular, with `csv` from then on.

    Args:
        path: The file, for error messages.
        chunks: The chunks of the file, without the header.
        header: The names of all columns.
        columns: The indices of the requested columns.
        delimiter: The character between two fields.
    """
    for line, data in chunks:
        if not data:
            continue
        bounds = _split_regular(data, len(header), delimiter)
        if bounds is None:
            chunks = itertools.chain([(line, data)], chunks)
            yield from _split_with_csv(path, chunks, header, columns, delimiter)
            return
        starts, ends = bounds
        fields = [Fields(data, starts[:, column], ends[:, column]) for column in columns]
        yield fields, np.arange(line, line + len(ends), dtype=np.int32)


def _split_regular(
    data: bytes, width: int, delimiter: str
) -> tuple[Int[np.ndarray, "rows width"], Int[np.ndarray, "rows width"]] | None:
    """Return the starts and ends of all fields, or None if the block is not a regular one."""
    if b'"' in data or b"\r" in data or b"\n\n" in data or data.startswith(b"\n"):
        return None
    characters = np.frombuffer(data, np.uint8)
    is_newline = characters == ord("\n")
    ends = np.flatnonzero(is_newline | (characters == ord(delimiter)))
    rows = int(is_newline.sum())
    if len(ends) != rows * width or not is_newline[ends[width - 1 :: width]].all():
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    return starts.reshape(rows, width), ends.reshape(rows, width)


def _split_with_csv(
    path: Path, chunks: Iterator[Chunk], header: list[str], columns: list[int], delimiter: str
) -> Iterator[Block]:
    """Split chunks into fields with Python's `csv` module."""
    numbered_rows = _read_csv_rows(path, chunks, header, delimiter)
    while batch := list(itertools.islice(numbered_rows, _BLOCK_ROWS)):
        lines = [line for line, _ in batch]
        rows = [row for _, row in batch]
        fields = [_join_fields([row[column] for row in rows]) for column in columns]
        yield fields, np.array(lines, dtype=np.int32)


def _read_csv_rows(
    path: Path, chunks: Iterator[Chunk], header: list[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line. Empty lines are skipped."""
    first, data = next(chunks)
    blocks = itertools.chain([data], (data for _, data in chunks))
    reader = csv.reader(_decode_lines(blocks), delimiter=delimiter, strict=True)
    line = first
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path} line {line}: {error}; comma-separated values accepted") from error
        if row is None:
            return
        if row and len(row) != len(header):
            raise DataError(
                f"{path} line {line}: {len(row)} fields found, {len(header)} accepted ({', '.join(header)})"
            )
        if row:
            yield line, row
        line = first + reader.line_num


def _decode_lines(blocks: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines of blocks of bytes, each with its LF."""
    for data in blocks:
        yield from io.StringIO(data.decode(), newline="\n")


def _join_fields(texts: list[str]) -> Fields:
    """Return texts as fields of one block of bytes."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded])
    starts = np.concatenate([[0], ends[:-1]])
    return Fields(b"".join(encoded) + b"\n", starts, ends)


def _field_error(path: Path, line: int, column: str, value: object, accepted: str) -> DataError:
    """Return the error about a field that is not acceptable. Long values are shortened."""
    shown = repr(str(value))
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return DataError(f"{path} line {line}, column {column}: {shown} found, {accepted} accepted")
