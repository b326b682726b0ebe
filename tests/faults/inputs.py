"""Row 12: readers of files, on files that are valid by construction and on the same files with random damage.

The files come from Hypothesis with a fixed seed for each case.
"""

import importlib.util
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from faults.cases import Bench, Case
from nlstm_jax.errors import UserError

INPUTS = 10_000
PART = 1000
"""The number of inputs of one case; half of them are valid by construction."""
READERS = (
    "poems",
    "quatrains",
    "text",
    "prices",
    "sales",
    "sequences",
    "vectors",
    "run files",
    "notes",
    "manifests",
)
TIME_LIMIT = 20.0
"""The seconds after which a reader counts as hanging."""
_NOISE = (
    b"",
    b"\x00",
    b"\xff",
    b"\n",
    b"\n\n",
    b"\r\n",
    b",",
    b'"',
    b"\t",
    b" ",
    b"-",
    b".",
    b"0",
    b"nan",
    b"inf",
    b"1e999",
    b"9" * 400,
    b"null",
    b"{",
    b"]",
    b"[" * 10_000,
    b"\xef\xbb\xbf",
)


class Edit(NamedTuple):
    """A change of a file.

    Attributes:
        place: The place, as a share of the file's length.
        removed: The number of bytes that are removed.
        inserted: The bytes that take their place.
        has_end: False if all bytes behind are removed.
    """

    place: float
    removed: int
    inserted: bytes
    has_end: bool

    def apply(self, content: bytes) -> bytes:
        """Return the content after the change."""
        start = round(self.place * len(content))
        end = content[start + self.removed :] if self.has_end else b""
        return content[:start] + self.inserted + end


def cases(sample: bool) -> list[Case]:
    """Return the cases of the row; of a sample each reads fewer files."""
    reason = "" if importlib.util.find_spec("hypothesis") else "hypothesis is not installed"
    made = []
    for name in READERS:
        for part in range(INPUTS // PART):
            check = partial(_check, name, part, 60 if sample else PART)
            made.append(Case(12, f"{name} {part}", check, reason))
    return made


def _check(name: str, part: int, count: int, bench: Bench, folder: Path) -> str:
    import hypothesis
    from hypothesis import strategies as st
    from hypothesis.configuration import set_hypothesis_home_dir

    from faults.formats import FORMATS, Valid

    set_hypothesis_home_dir(bench.work / "hypothesis")
    kind = FORMATS[name]
    edit = st.builds(
        Edit,
        place=st.floats(0, 1),
        removed=st.sampled_from([0, 1, 2, 5, 50]),
        inserted=st.sampled_from(_NOISE) | st.binary(min_size=1, max_size=4),
        has_end=st.sampled_from([True] * 9 + [False]),
    )
    inputs = 0

    @hypothesis.seed(part)
    @hypothesis.settings(
        max_examples=count // 2,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.given(valid=kind.valid, number=st.integers(0, 2), edits=st.lists(edit, min_size=1, max_size=3))
    def check_input(valid: Valid, number: int, edits: Sequence[Edit]) -> None:
        nonlocal inputs
        inputs += 2
        shutil.rmtree(folder)
        folder.mkdir()
        for file, content in valid.contents.items():
            (folder / file).write_bytes(content)
        found = kind.read(folder)
        assert found == valid.value, f"{valid.value} expected, found {found} in {valid.contents}"

        file = list(valid.contents)[number % len(valid.contents)]
        content = valid.contents[file]
        for change in edits:
            content = change.apply(content)
        (folder / file).write_bytes(content)
        shown = f"{file}: {content[:200]!r}"
        message = ""
        started = time.monotonic()
        try:
            found = kind.read(folder)
        except UserError as error:
            message = str(error)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}; {shown}") from error
        else:
            assert not kind.has_digest or found == valid.value, f"damage not noticed; {shown}"
        assert "\n" not in message, f"an error of one line expected, found {message}; {shown}"
        seconds = time.monotonic() - started
        assert seconds < TIME_LIMIT, f"{seconds:.0f} s; {shown}"

    check_input()
    assert inputs >= count, f"{count} inputs expected, {inputs} made"
    return f"{count} inputs"
