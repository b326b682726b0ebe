"""Helpers that all converters share: checked access to named tensors, gate order, and layer structure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells import (
    Bidirectional,
    BidirectionalParams,
    Layer,
    Stack,
    StackParams,
    VariationalDropout,
    Zoneout,
)
from nlstm_jax.cells.protocol import class_name
from nlstm_jax.errors import DataError
from nlstm_jax.types import Array, Params

Converted: TypeAlias = tuple[Layer, Params]
"""A layer and its parameters."""

NamedTensors: TypeAlias = Mapping[str, Any]
"""Arrays of any framework by name. A value may be a dictionary of the same kind."""

_WRITTEN_BY = re.compile(r":0$|/\.ATTRIBUTES/VARIABLE_VALUE$")
"""The ends that are no part of a name: of an operation's output, `kernel:0`, and in TensorFlow 2's checkpoints."""

_MAX_LISTED = 8
"""The number of names that an error message lists."""


class Tensors:
    """A collection of another framework's named arrays, from which each array is taken by name and expected shape.

    A tensor that is missing, has another shape, or is never taken is an error that names the tensor.

    Attributes:
        names: All names without the prefix, in the order in which they were passed.
    """

    def __init__(
        self,
        tensors: NamedTensors,
        owner: str,
        prefix: str,
        options: Mapping[str, tuple[object, object]] | None = None,
    ) -> None:
        """Flatten the tensors, and keep those whose names begin with `prefix`.

        Args:
            tensors: The arrays by name; dictionaries may be nested.
            owner: The name that begins every error message: a function or a file.
            prefix: The beginning of the names to keep.
            options: The options that cannot be read off the tensors. Each name maps to the caller's value (None if
                the caller passed none) and the other framework's default.

        Raises:
            DataError: `tensors` is not a dictionary, or no name begins with `prefix`.
        """
        if not isinstance(tensors, Mapping):
            raise DataError(f"{owner}: a dictionary of arrays by name expected, found {type(tensors).__name__}")
        self._owner = owner
        self._prefix = prefix
        self._options = options or {}
        self._unread_options = set(self._options)

        flat = dict(flatten(tensors))
        self._arrays = {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}
        if not self._arrays:
            raise DataError(f"{owner}: tensors whose names begin with {prefix!r} expected, found {_join_names(flat)}")
        self.names = list(self._arrays)
        self._untaken = set(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an existing tensor."""
        return tuple(np.shape(self._arrays[name]))

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """Return a tensor, and mark it as taken.

        Args:
            name: The tensor's name without the prefix.
            *shape: The expected size of each axis; None accepts any size.

        Raises:
            DataError: The tensor is missing, or has another shape.
        """
        if name not in self._arrays:
            missing = f"{self._owner}: {self._prefix}{name}: missing among {_join_names(self._arrays)}"
            raise DataError(f"{missing}{self._prefix_hint(name)}")
        array = np.asarray(self._arrays[name])
        if not _shape_matches(array.shape, shape):
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise self.tensor_error(name, f"the shape [{expected}] expected, found {list(array.shape)}")
        self._untaken.discard(name)
        return array

    def explicit_option(self, name: str) -> Any:
        """Return the caller's value of an option, or None if the caller passed none."""
        self._unread_options.discard(name)
        value, _ = self._options[name]
        return value

    def option(self, name: str) -> Any:
        """Return the caller's value of an option, or the other framework's default."""
        value = self.explicit_option(name)
        if value is None:
            _, value = self._options[name]
        return value

    def ignore_all_but(self, prefixes: tuple[str, ...]) -> None:
        """Do not require that tensors are taken whose names begin with none of `prefixes`."""
        self._untaken = {name for name in self._untaken if name.startswith(prefixes)}

    def drop(self, pattern: re.Pattern[str]) -> None:
        """Forget the tensors whose names match, such as an optimizer's."""
        self._arrays = {name: value for name, value in self._arrays.items() if not pattern.search(name)}
        self.names = list(self._arrays)
        self._untaken &= set(self.names)

    def tensor_error(self, name: str, text: str) -> DataError:
        """Return an error about the named tensor."""
        return DataError(f"{self._owner}: {self._prefix}{name}: {text}")

    def check_all_used(self) -> None:
        """Check that every tensor was taken and that every option had an effect.

        Raises:
            DataError: A tensor was not taken; or an option that was never read has a value other than its default.
        """
        untaken = [self._prefix + name for name in self.names if name in self._untaken]
        if untaken:
            raise DataError(
                f"{self._owner}: no place for {_join_names(untaken)}; a prefix picks one layer's tensors out of a "
                "model's, and layers= those of several Keras layers"
            )
        for name in sorted(self._unread_options):
            value, default = self._options[name]
            if value not in (None, default):
                raise DataError(
                    f"{self._owner}: {name}: none expected, as there is nothing here that it could tell of; "
                    f"found {value!r}"
                )

    def _prefix_hint(self, name: str) -> str:
        """Suggest a longer prefix if a name ends in the missing one; otherwise return an empty text."""
        for candidate in self._arrays:
            if candidate.endswith(name):
                return f"; is the prefix {self._prefix + candidate.removesuffix(name)!r}?"
        return ""


def count_gates(width: int, features: int) -> int | None:
    """Return the number of gates of `features` units in `width`: 1, 3 or 4. Return None for any other width."""
    return {features: 1, 3 * features: 3, 4 * features: 4}.get(width)


def widen(array: np.ndarray) -> np.ndarray:
    """Return an array in float32 or a wider dtype, so that a sum of half-precision arrays is not rounded to half."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def to_parameter(array: np.ndarray) -> Array:
    """Return a JAX array of the values, in float32 or a wider dtype."""
    return jnp.asarray(widen(array))


def to_numpy(array: Array) -> np.ndarray:
    """Return a parameter as a NumPy array."""
    return np.asarray(array)


def reorder_gates(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Return the array with the gate blocks of its last axis in another order.

    Args:
        array: The array [..., G·H] of G equal blocks.
        order: The indices of the blocks [G] in their new order.
    """
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[index] for index in order], axis=-1)


def stack_layers(layers: Sequence[Converted]) -> Converted:
    """Return several layers as one `Stack`, or a single layer unchanged."""
    if len(layers) == 1:
        return layers[0]
    cells, params = zip(*layers, strict=True)
    return Stack(cells), StackParams(params)


def make_bidirectional(forward: Converted, backward: Converted, merge: str = "concat") -> Converted:
    """Return two cells as one `Bidirectional`."""
    forward_cell, forward_params = forward
    backward_cell, backward_params = backward
    layer = Bidirectional(forward_cell, backward_cell, merge)
    return layer, BidirectionalParams(forward_params, backward_params)


def split_stack(owner: str, layer: Layer, params: Params) -> list[Converted]:
    """Return the layers of a stack, lowest first, or the single layer.

    Raises:
        ValueError: The stack has skip or residual connections.
    """
    if not isinstance(layer, Stack):
        return [(layer, params)]
    check_options(owner, layer, skip=False, residual=False)
    return list(zip(layer.cells, params.layers, strict=True))


def split_directions(layer: Layer, params: Params) -> list[Converted]:
    """Return the forward and the backward cell of a `Bidirectional`, or the single cell."""
    if not isinstance(layer, Bidirectional):
        return [(layer, params)]
    return [(layer.forward, params.forward), (layer.backward, params.backward)]


def without_dropout(cell: Layer) -> Layer:
    """Return the cell inside any dropout wrappers. Dropout has no parameters and no effect in an evaluation."""
    while isinstance(cell, VariationalDropout):
        cell = cell.cell
    return cell


def check_options(owner: str, cell: Layer, **options: object) -> None:
    """Check that a cell's options have values that the other framework supports.

    Args:
        owner: The name of the converter, which begins the error message.
        cell: The cell to check.
        **options: The supported value of each option, or a tuple of several.

    Raises:
        ValueError: An option has another value.
    """
    for name, expected in options.items():
        accepted = expected if isinstance(expected, tuple) else (expected,)
        value = getattr(cell, name)
        if value not in accepted:
            raise ValueError(f"{owner}: {type(cell).__name__}: {name}={expected!r} expected, found {value!r}")


def unsupported_cell_error(owner: str, cell: Layer, accepted: str) -> ValueError:
    """Return an error for a cell that the other framework lacks."""
    reason = ", which takes part in an evaluation too" if isinstance(cell, Zoneout) else ""
    return ValueError(f"{owner}: {accepted} expected, found {class_name(cell)}{reason}")


def natural_sort_key(name: str) -> list[int | str]:
    """Return a sort key under which layer_10 comes after layer_9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def flatten(tensors: NamedTensors, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays of nested dictionaries, with the names of the levels joined by `/`."""
    for name, value in tensors.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}/")
        else:
            yield _WRITTEN_BY.sub("", f"{prefix}{name}").lstrip("/"), value


def _shape_matches(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Return True if every size is the expected one; an expected size of None matches any."""
    if len(shape) != len(expected):
        return False
    return all(want is None or want == size for want, size in zip(expected, shape, strict=True))


def _join_names(names: Iterable[str]) -> str:
    """Return the first names, separated by commas, and the number of the others."""
    all_names = list(names)
    text = ", ".join(all_names[:_MAX_LISTED])
    if len(all_names) > _MAX_LISTED:
        text += f" and {len(all_names) - _MAX_LISTED} more"
    return text
