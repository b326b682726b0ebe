"""Several processes that train one run, each with devices of its own: what they must agree on.

All run the same program on the same data. What they compute together is the same in all, so that all decide alike;
what one of them alone knows (a signal, a mistake, the run folder, which is the first's) is told to the others here. A
process by itself is the first of one, and nothing is exchanged.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nlstm_jax import errors
from nlstm_jax.errors import ConfigError, UserError
from nlstm_jax.runs import differences


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """What each process gives here, something of JSON, in order; all of them must call it."""
    if jax.process_count() == 1:
        return [value]
    given = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = _rows(np.array([given.size], np.int32))[:, 0]
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: given.size] = given
    return [json.loads(bytes(row[:size])) for row, size in zip(_rows(padded), sizes.tolist(), strict=True)]


def _rows(row: np.ndarray) -> np.ndarray:
    """Every process' row, by one device of each, as some may have more than others."""
    firsts: dict[int, jax.Device] = {}
    for device in jax.devices():
        firsts.setdefault(device.process_index, device)
    mesh = Mesh(np.array([firsts[index] for index in sorted(firsts)]), ("process",))
    split, whole = NamedSharding(mesh, PartitionSpec("process")), NamedSharding(mesh, PartitionSpec())
    rows = jax.make_array_from_callback((len(firsts), row.size), split, lambda index: row[None])
    return np.asarray(jax.jit(lambda rows: rows, out_shardings=whole)(rows))


@contextmanager
def raise_everywhere() -> Iterator[None]:
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


def assert_equal_across_processes(own: Mapping[str, Any]) -> None:
    """Raise a ConfigError in all that names the first key in which a process has not what the first one has."""
    first, *others = gather(dict(own))
    for index, other in enumerate(others, start=1):
        for key in differences(first, other):
            raise ConfigError(
                f"{key}: {first.get(key)!r}, as in process 0, expected in process {index}, found {other.get(key)!r}"
            )


def device_get(tree: Any) -> Any:
    """Arrays that every process has whole, as its own."""
    return jax.tree.map(np.asarray, tree)


def broadcast_from_first(tree: Any) -> Any:
    """The first process' arrays, in all."""
    return multihost_utils.broadcast_one_to_all(tree)
