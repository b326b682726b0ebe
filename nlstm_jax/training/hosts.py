"""Several processes that train one run, each with devices of its own: the exchange between them.

All run the same program on the same data. Results that they compute together are the same in all, so that all decide
alike. Facts that one of them alone knows (a signal, a user's mistake, the run folder, which is the first's) are sent
to the others here. A process by itself is the first of one, and exchanges nothing.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nlstm_jax import errors
from nlstm_jax.errors import ConfigError, UserError
from nlstm_jax.runs import differences
from nlstm_jax.types import Config

Tree = TypeVar("Tree")
Value = TypeVar("Value")


def is_first() -> bool:
    """Return True if this process is the one that writes."""
    return jax.process_index() == 0


def gather(value: Value) -> list[Value]:
    """Return the values of all processes, in their order; every process must call this.

    Args:
        value: The value of this process, of JSON types.
    """
    if jax.process_count() == 1:
        return [value]
    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = _gather_rows(np.array([encoded.size], np.int32))[:, 0]
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: encoded.size] = encoded
    rows = _gather_rows(padded)
    return [json.loads(bytes(row[:size])) for row, size in zip(rows, sizes.tolist(), strict=True)]


def _gather_rows(row: np.ndarray) -> np.ndarray:
    """Return the rows of all processes, by one device of each, as some may have more devices than others."""
    first_devices: dict[int, jax.Device] = {}
    for device in jax.devices():
        first_devices.setdefault(device.process_index, device)
    mesh = Mesh(np.array([first_devices[index] for index in sorted(first_devices)]), ("process",))
    by_process = NamedSharding(mesh, PartitionSpec("process"))
    replicated = NamedSharding(mesh, PartitionSpec())
    shape = (len(first_devices), row.size)
    rows = jax.make_array_from_callback(shape, by_process, lambda index: row[None])
    return np.asarray(jax.jit(lambda rows: rows, out_shardings=replicated)(rows))


@contextmanager
def raise_everywhere() -> Iterator[None]:
    """If one process raises a UserError in this context, raise it on all processes at its end."""
    mistake: UserError | None = None
    try:
        yield
    except UserError as error:
        mistake = error
    messages = gather(None if mistake is None else [type(mistake).__name__, str(mistake)])
    if mistake is not None:
        raise mistake
    for index, message in enumerate(messages):
        if message is not None:
            kind, text = message
            raise getattr(errors, kind)(f"process {index}: {text}")


def assert_equal_across_processes(values: Config) -> None:
    """Raise a ConfigError, on all processes, that names the first key whose value differs from the first process'."""
    first, *others = gather(dict(values))
    for index, other in enumerate(others, start=1):
        for key in differences(first, other):
            raise ConfigError(
                f"{key}: {first.get(key)!r}, as in process 0, expected in process {index}, found {other.get(key)!r}"
            )


def device_get(tree: Tree) -> Tree:
    """Return arrays that lie whole on every process as host arrays."""
    return jax.tree.map(np.asarray, tree)


def broadcast_from_first(tree: Tree) -> Tree:
    """Return the first process' arrays, on all processes."""
    return multihost_utils.broadcast_one_to_all(tree)
