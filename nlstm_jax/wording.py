"""Words of the messages that people read."""


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, which ends with an s unless the number is 1.

    >>> count_of(1, "row"), count_of(1200, "row")
    ('1 row', '1,200 rows')
    """
    ending = "" if number == 1 else "s"
    return f"{number:,} {noun}{ending}"
