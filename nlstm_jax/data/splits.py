"""The splits of a data set, and the split that an example belongs to."""

import hashlib
from collections.abc import Sequence

SPLITS = ("train", "valid", "test")


def split_by_hash(texts: Sequence[str], valid: float, test: float) -> dict[str, list[int]]:
    """Choose a split for each example by a fixed hash of its text.

    Equal examples stay together, and an example keeps its split when others are added. There is one exception: if few
    examples leave `valid` or `test` empty, the training examples with the largest hash fill it.

    Args:
        texts: The text of each example.
        valid: The approximate share of the examples in the split `valid`.
        test: The approximate share of the examples in the split `test`. All others are in `train`.

    Returns:
        The indices of the examples of each split, ascending. A split is empty if there are not enough different texts.

    >>> split_by_hash(["a rose", "is a rose", "is"], 0.1, 0.1)
    {'train': [1], 'valid': [0], 'test': [2]}
    """
    split_of = {text: _split_of_share(_hash_share(text), valid, test) for text in texts}
    for split in ("test", "valid"):
        train = [text for text, chosen in split_of.items() if chosen == "train"]
        if split not in split_of.values() and len(train) > 1:
            split_of[max(train, key=_hash_share)] = split
    indices: dict[str, list[int]] = {split: [] for split in SPLITS}
    for index, text in enumerate(texts):
        indices[split_of[text]].append(index)
    return indices


def _split_of_share(share: float, valid: float, test: float) -> str:
    """Return the split of a share between 0 and 1."""
    if share < 1 - valid - test:
        return "train"
    if share < 1 - test:
        return "valid"
    return "test"


def _hash_share(text: str) -> float:
    """Return a number between 0 and 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
