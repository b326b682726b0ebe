"""What a researcher has to say of a run: a note and tags, in its folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nlstm_jax.errors import DataError
from nlstm_jax.runs import files


class Notes(NamedTuple):
    """Of one run."""

    text: str = ""
    tags: tuple[str, ...] = ()


def read_notes(folder: Path) -> Notes:
    """What is written there.

    Raises:
        DataError: the file is not what `write_notes` writes.
    """
    path = folder / files.NOTES
    if not path.exists():
        return Notes()
    found = files.read_json(path)
    text, tags = found.get("text", ""), found.get("tags", [])
    if not isinstance(text, str) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise DataError(f"{path}: a text and a list of tags expected, found {text!r} and {tags!r}")
    return Notes(text, tuple(tags))


def write_notes(
    folder: Path, *, text: str | None = None, tags: Iterable[str] = (), without: Iterable[str] = ()
) -> Notes:
    """Put a text in the place of the old one, add tags and take tags away; training may go on meanwhile.

    Args:
        folder: of a run.
        text: None: the old one stays.
        tags: added.
        without: taken away.
    """
    old = read_notes(folder)
    kept = dict.fromkeys((*old.tags, *tags))
    new = Notes(old.text if text is None else text, tuple(tag for tag in kept if tag not in set(without)))
    files.write_json(folder / files.NOTES, {"text": new.text, "tags": list(new.tags)})
    return new
