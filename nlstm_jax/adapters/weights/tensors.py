"""What all converters share: tensors taken by name and shape, gate blocks put in another order, structures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells import (
    Bidirectional,
    BidirectionalParams,
    Cell,
    Layer,
    Stack,
    StackParams,
    VariationalDropout,
    Zoneout,
)
from nlstm_jax.errors import DataError
from nlstm_jax.types import Array, Params

Converted: TypeAlias = tuple[Any, Params]
"""A layer and its parameters."""


class Tensors:
    """Named arrays of another framework, taken one by one: a mistake is an error that names the tensor.

    Attributes:
        names: all of them, without the prefix, in the order in which they were given.
    """

    def __init__(
        self, given: Mapping[str, Any], owner: str, prefix: str, options: Mapping[str, Any] | None = None
    ) -> None:
        """Flatten and keep what begins with `prefix`.

        Args:
            given: the arrays by name, nested or not.
            owner: whose errors they are.
            prefix: what the names begin with.
            options: what the tensors do not tell: name → (what was told or None, the other framework's default).

        Raises:
            DataError: nothing does, or it is no dictionary.
        """
        if not isinstance(given, Mapping):
            raise DataError(f"{owner}: a dictionary of arrays by name expected, found {type(given).__name__}")
        self._options = options or {}
        self._idle = set(self._options)
        flat = dict(_flat(given))
        self._owner, self._prefix = owner, prefix
        self._arrays = {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}
        if not self._arrays:
            raise DataError(f"{owner}: tensors whose names begin with {prefix!r} expected, found {_listed(flat)}")
        self.names = list(self._arrays)
        self._left = set(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that is there."""
        return tuple(np.shape(self._arrays[name]))

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """The tensor of that name; None in `shape` is any size.

        Raises:
            DataError: it is missing, or of another shape.
        """
        if name not in self._arrays:
            longer = next((each for each in self._arrays if each.endswith(name)), None)
            hint = "" if longer is None else f"; is the prefix {self._prefix + longer.removesuffix(name)!r}?"
            raise DataError(f"{self._owner}: {self._prefix}{name}: missing among {_listed(self._arrays)}{hint}")
        array = np.asarray(self._arrays[name])
        if len(array.shape) != len(shape) or any(
            want is not None and want != size for want, size in zip(shape, array.shape, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise self.validation_error(name, f"the shape [{wanted}] expected, found {list(array.shape)}")
        self._left.discard(name)
        return array

    def told(self, name: str) -> Any:
        """What was told of that name, or None."""
        self._idle.discard(name)
        return self._options[name][0]

    def option(self, name: str) -> Any:
        """What was told of that name, or the default of the other framework."""
        told = self.told(name)
        return self._options[name][1] if told is None else told

    def only(self, places: tuple[str, ...]) -> None:
        """Leave out of account what is not in one of these places."""
        self._left = {name for name in self._left if name.startswith(places)}

    def validation_error(self, name: str, text: str) -> DataError:
        """An error about the tensor of that name."""
        return DataError(f"{self._owner}: {self._prefix}{name}: {text}")

    def finish(self) -> None:
        """Raise a DataError if a tensor was not taken or an option tells of nothing: none is dropped in silence."""
        left = [self._prefix + name for name in self.names if name in self._left]
        if left:
            raise DataError(
                f"{self._owner}: no place for {_listed(left)}; a prefix picks one layer's tensors out of a model's, "
                "and layers= those of several Keras layers"
            )
        for name in sorted(self._idle):
            told, default = self._options[name]
            if told not in (None, default):
                raise DataError(
                    f"{self._owner}: {name}: none expected, as there is nothing here that it could tell of; "
                    f"found {told!r}"
                )


def gates_of(width: int, features: int) -> int | None:
    """How many gates of `features` units stand side by side in `width`: 1, 3 or 4, or None."""
    return {features: 1, 3 * features: 3, 4 * features: 4}.get(width)


def parameter(array: np.ndarray) -> Array:
    """An array as a parameter: float32 at least."""
    values = jnp.asarray(array)
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def numpy(array: Array) -> np.ndarray:
    """A parameter as a NumPy array."""
    return np.asarray(array)


def reordered(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The gate blocks of the last axis in another order."""
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[index] for index in order], axis=-1)


def stacked(layers: Sequence[Converted]) -> Converted:
    """Several layers as a `Stack`; one as it is."""
    if len(layers) == 1:
        return layers[0]
    cells, params = zip(*layers, strict=True)
    return Stack(cells), StackParams(params)


def both_ways(forward: Converted, backward: Converted, merge: str = "concat") -> Converted:
    """Two cells as a `Bidirectional`."""
    return Bidirectional(forward[0], backward[0], merge), BidirectionalParams(forward[1], backward[1])


def layers_of(owner: str, layer: Layer, params: Params) -> list[Converted]:
    """The layers of a stack, lowest first, or the one.

    Raises:
        ValueError: a stack with skip or residual connections.
    """
    if not isinstance(layer, Stack):
        return [(layer, params)]
    expect(owner, layer, skip=False, residual=False)
    return list(zip(layer.cells, params.layers, strict=True))


def directions_of(layer: Layer, params: Params) -> list[Converted]:
    """The forward and the backward cell, or the one."""
    if not isinstance(layer, Bidirectional):
        return [(layer, params)]
    return [(layer.forward, params.forward), (layer.backward, params.backward)]


def bare(cell: Layer) -> Layer:
    """The cell without dropout, which has no parameters and no part in an evaluation."""
    return bare(cell.cell) if isinstance(cell, VariationalDropout) else cell


def expect(owner: str, cell: Any, **options: Any) -> None:
    """Raise a ValueError unless the cell's options are those that the other framework has."""
    for name, accepted in options.items():
        found = getattr(cell, name)
        if found not in (accepted if isinstance(accepted, tuple) else (accepted,)):
            raise ValueError(f"{owner}: {type(cell).__name__}: {name}={accepted!r} expected, found {found!r}")


def no_such_cell(owner: str, cell: Cell | Layer, accepted: str) -> ValueError:
    """An error for a cell that the other framework lacks."""
    why = ", which takes part in an evaluation too" if isinstance(cell, Zoneout) else ""
    return ValueError(f"{owner}: {accepted} expected, found {type(cell).__name__}{why}")


def natural(name: str) -> list[Any]:
    """What to sort names by, so that layer_10 comes after layer_9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _flat(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries as one, names joined by /."""
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
