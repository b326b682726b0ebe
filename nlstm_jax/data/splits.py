"""The splits of a data set, and the split that an example belongs to."""

import hashlib

SPLITS = ("train", "valid", "test")


def hashed_split(text: str, valid: float, test: float) -> str:
    """Choose a split by a fixed hash of the example's text.

    The split does not depend on the other examples, so equal examples stay together.

    Args:
        text: The text of the example.
        valid: The approximate share of the examples in the split `valid`.
        test: The approximate share of the examples in the split `test`. All others are in `train`.

    >>> hashed_split("a rose", 0.1, 0.1), hashed_split("is a rose", 0.1, 0.1)
    ('train', 'train')
    """
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    if share < 1 - valid - test:
        return "train"
    if share < 1 - test:
        return "valid"
    return "test"
