"""Which part of the data an example belongs to."""

import hashlib

SPLITS = ("train", "valid", "test")


def hashed_split(text: str, valid: float, test: float) -> str:
    """By a fixed hash of the example's text: the same whatever other examples there are, so equal ones stay together.

    Args:
        text: of the example.
        valid, test: about what shares of the examples are to be there; the others train.

    >>> hashed_split("a rose", 0.1, 0.1), hashed_split("is a rose", 0.1, 0.1)
    ('train', 'train')
    """
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    bounds = (("train", 1 - valid - test), ("valid", 1 - test))
    return next((split for split, bound in bounds if share < bound), "test")
