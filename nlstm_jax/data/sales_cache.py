"""The pivoted table of a folder of sales as one .npz file, which is read faster than the folder."""

import contextlib
import json
import lzma
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from nlstm_jax.data.sales_history import PairMonths, SalesHistory, TestPairs

# All exceptions that were observed when an .npz file with changed or missing bytes was read.
_BROKEN_CACHE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)


def load_history(path: Path, checksums: dict[str, str]) -> SalesHistory | None:
    """Return the history that `store_history` wrote, or None if the file is missing or broken."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            known = json.loads(arrays["known"].tobytes())
            test = TestPairs(*arrays["test"]) if known["has_test"] else None
            pairs = PairMonths(*(arrays[name] for name in PairMonths._fields))
    except _BROKEN_CACHE:
        return None
    return SalesHistory(
        *pairs,
        rows=known["rows"],
        test=test,
        item_names=dict(known["item_names"]),
        checksums=checksums,
        notes=tuple(known["notes"]),
        has_prices=known["has_prices"],
        text_item_ids=tuple(known["text_item_ids"]),
    )


def store_history(path: Path, history: SalesHistory) -> None:
    """Write a history as an .npz file."""
    test = history.test
    known = {
        "rows": history.rows,
        "has_test": test is not None,
        "item_names": list(history.item_names.items()),
        "notes": history.notes,
        "has_prices": history.has_prices,
        "text_item_ids": history.text_item_ids,
    }
    arrays = {name: getattr(history, name) for name in PairMonths._fields}
    test_columns = [] if test is None else [test.ids, test.shop_ids, test.item_ids]
    arrays["test"] = np.array(test_columns, np.int32)
    arrays["known"] = np.frombuffer(json.dumps(known).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
        np.savez(file, **arrays)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block ends, and is deleted if the block raises."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
