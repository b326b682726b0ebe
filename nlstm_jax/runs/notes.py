"""Notes on a run: a text and tags that a researcher keeps in the run folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nlstm_jax.errors import DataError
from nlstm_jax.runs import files


class Notes(NamedTuple):
    """A text and tags on one run.

    Attributes:
        text: The text, empty if there is none.
        tags: The tags, in the order in which they were added.
    """

    text: str = ""
    tags: tuple[str, ...] = ()


def read_notes(folder: Path) -> Notes:
    """Read the notes on a run. They are empty if nothing has been written.

    Raises:
        DataError: The file does not have the form that `write_notes` writes.
    """
    path = folder / files.NOTES
    if not path.exists():
        return Notes()

    document = files.read_json(path)
    text = document.get("text", "")
    tags = document.get("tags", [])
    if not isinstance(text, str) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise DataError(f"{path}: a text and a list of tags expected, found {text!r} and {tags!r}")
    return Notes(text, tuple(tags))


def write_notes(
    folder: Path, *, text: str | None = None, tags: Iterable[str] = (), without: Iterable[str] = ()
) -> Notes:
    """Replace the text, add tags and remove tags. This is allowed while the run is being trained.

    Args:
        folder: The run folder.
        text: The new text. None keeps the old text.
        tags: The tags to add.
        without: The tags to remove.

    Returns:
        The notes as they were written.
    """
    old = read_notes(folder)
    if text is None:
        text = old.text
    removed = set(without)
    # A dict keeps the order of the tags and drops duplicates.
    all_tags = dict.fromkeys((*old.tags, *tags))
    new_tags = [tag for tag in all_tags if tag not in removed]

    files.write_json(folder / files.NOTES, {"text": text, "tags": new_tags})
    return Notes(text, tuple(new_tags))
