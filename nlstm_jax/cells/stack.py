"""Cells on top of each other."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from nlstm_jax.cells.base import check_layer, check_rate, dropout_mask, fold_in_name, fold_in_name_if_key
from nlstm_jax.cells.protocol import Cell, LayerField, complete
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class StackParams(NamedTuple):
    """Every layer's parameters, lowest first."""

    layers: tuple[Params, ...]


class StackCarry(NamedTuple):
    """Every layer's carry, lowest first."""

    layers: tuple[Carry, ...]


class StackNoise(NamedTuple):
    """Every layer's noise, and the dropout masks (0 or 1/(1−rate)) between layer l and l+1, `[T, *b, O_l]`."""

    layers: tuple[Noise, ...]
    dropout: tuple[Float[Array, "*b O"], ...]


class StackProjected(NamedTuple):
    """The first layer's projection, and the input itself where later layers see it too (`skip`)."""

    first: Projected
    x: Float[Array, "*b D"] | None


@dataclass(frozen=True)
class Stack:
    """A stack of cells: layer l+1 reads the output y_l of layer l. Widths may differ.

    A stack of cells is itself a cell; one with a `Bidirectional` layer cannot be stepped, but `unroll` runs it.

    Attributes:
        cells: The layers, lowest first; any cells, nested ones too, or layers.
        skip: True if every later layer also reads the stack's input: [y_l, x] (Graves 2013, arXiv 1308.0850).
        residual: True for y_{l+1} += y_l, for equal widths (Wu et al. 2016, arXiv 1609.08144).
        dropout: The dropout rate of what goes from layer to layer, drawn anew at every time step (Zaremba et al. 2014,
            arXiv 1409.2329).

    Raises:
        ValueError: A field has an invalid value. The message names the field, the value and what is accepted.

    >>> import jax
    >>> from nlstm_jax.cells import LSTM
    >>> cell = Stack((LSTM(4), LSTM(5)))
    >>> params = cell.init(jax.random.key(0), in_features=6)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jax.numpy.ones((2, 6))))
    >>> y.shape
    (2, 5)
    """

    cells: tuple[LayerField, ...]
    skip: bool = False
    residual: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.cells, tuple) or not self.cells:
            raise ValueError(f"Stack: cells: a tuple of at least one cell expected, found {self.cells!r}")
        object.__setattr__(self, "cells", tuple(map(complete, self.cells)))
        for cell in self.cells:
            check_layer("Stack", "cells", cell)
        check_rate(self, "dropout", self.dropout)

    @property
    def features(self) -> int:
        """The last layer's H."""
        return self.cells[-1].features

    @property
    def out_features(self) -> int:
        """The last layer's output width."""
        return self.cells[-1].out_features

    def init(self, key: PRNGKeyArray, in_features: int) -> StackParams:
        """Draw every layer's parameters."""
        widths = self._widths(in_features)
        params = [
            cell.init(fold_in_name(key, f"layer_{index}"), widths[index]) for index, cell in enumerate(self.cells)
        ]
        return StackParams(tuple(params))

    def initial_carry(self, batch_shape: tuple[int, ...]) -> StackCarry:
        """Every layer's."""
        return StackCarry(tuple(cell.initial_carry(batch_shape) for cell in self.cells))

    def sample_noise(
        self, params: StackParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[StackParams, Noise]:
        """Every layer's noise, and the dropout between them."""
        *leading, in_features = shape
        widths = self._widths(in_features)
        prepared = []
        layer_noises = []
        for index, (cell, layer) in enumerate(zip(self.cells, params.layers, strict=True)):
            layer_key = fold_in_name_if_key(key, f"layer_{index}")
            layer_params, layer_noise = cell.sample_noise(layer, layer_key, (*leading, widths[index]))
            prepared.append(layer_params)
            layer_noises.append(layer_noise)
        if key is None:
            return StackParams(tuple(prepared)), ()

        masks = []
        if self.dropout > 0:
            for index, cell in enumerate(self.cells[:-1]):
                mask_key = fold_in_name(key, f"dropout_{index}")
                masks.append(dropout_mask(mask_key, self.dropout, (*leading, cell.out_features)))
        return StackParams(tuple(prepared)), StackNoise(tuple(layer_noises), tuple(masks))

    def project(self, params: StackParams, x: Float[Array, "*b D"]) -> StackProjected:
        """Compute the projection of the first layer. The inputs of later layers are not known yet."""
        first = self._steppable[0].project(params.layers[0], x)
        return StackProjected(first, x if self.skip else None)

    def step(
        self,
        params: StackParams,
        carry: StackCarry,
        z: StackProjected,
        noise: Noise = (),
        recurrent_input: Array | None = None,
    ) -> tuple[StackCarry, Float[Array, "*b O"]]:
        """Every layer's step, lowest first.

        Raises:
            ValueError: `recurrent_input` is given; a stack has no single h to read in place of. Or a layer is no cell.
        """
        if recurrent_input is not None:
            raise ValueError("Stack: recurrent_input: None expected, as a stack has no single h; give it to its cells")

        carries = []
        projected = z.first
        y = None
        for index, cell in enumerate(self._steppable):
            if y is not None:
                projected = cell.project(params.layers[index], self.layer_input(index, y, z.x, noise))
            layer_noise = noise.layers[index] if noise else ()
            layer_carry, out = cell.step(params.layers[index], carry.layers[index], projected, layer_noise)
            carries.append(layer_carry)
            y = self.layer_output(y, out)
        assert y is not None
        return StackCarry(tuple(carries)), y

    def layer_input(self, index: int, below: Array, x: Array | None, noise: Noise) -> Array:
        """Return the input of layer `index` ≥ 1: the output below it with dropout, and with `skip` the stack's own."""
        if noise and noise.dropout:
            below = below * noise.dropout[index - 1]
        if x is None or not self.skip:
            return below
        return jnp.concatenate([below, x], axis=-1)

    def layer_output(self, below: Array | None, out: Array) -> Array:
        """Return the output of a layer. With `residual` and equal widths, the output below it is added."""
        if self.residual and below is not None and below.shape == out.shape:
            return out + below
        return out

    @property
    def _steppable(self) -> list[Cell]:
        """The layers, if all of them are cells."""
        cells = [cell for cell in self.cells if isinstance(cell, Cell)]
        for layer in self.cells:
            if layer not in cells:
                raise ValueError(
                    f"Stack: cells: cells expected, as it is stepped, found {type(layer).__name__}; unroll can run it"
                )
        return cells

    def _widths(self, in_features: int) -> list[int]:
        """How many features each layer reads."""
        skip_features = in_features if self.skip else 0
        return [in_features] + [cell.out_features + skip_features for cell in self.cells[:-1]]
