"""Several processes that train one run, each with devices of its own: what they must agree on.

All run the same program on the same data. What they compute together is the same in all, so that all decide alike;
what one of them alone knows (a signal, a mistake, the run folder, which is the first's) is told to the others here. A
process by itself is the first of one, and nothing is exchanged.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from nlstm_jax import errors
from nlstm_jax.errors import UserError


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """What each process gives here, something of JSON, in order; all of them must call it."""
    if jax.process_count() == 1:
        return [value]
    given = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.array(given.size)))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: given.size] = given
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes.tolist(), strict=True)]


@contextmanager
def all_or_none() -> Iterator[None]:
    """A user's mistake that comes out in one process ends all of them, and all say it."""
    mistake: UserError | None = None
    try:
        yield
    except UserError as error:
        mistake = error
    told = gather(None if mistake is None else [type(mistake).__name__, str(mistake)])
    if mistake is not None:
        raise mistake
    for number, found in enumerate(told):
        if found is not None:
            raise getattr(errors, found[0])(f"process {number}: {found[1]}")


def to_host(tree: Any) -> Any:
    """Arrays that every process has whole, as its own."""
    return jax.tree.map(np.asarray, tree)


def arrays_of_first(tree: Any) -> Any:
    """The first process' arrays, in all."""
    return multihost_utils.broadcast_one_to_all(tree)
