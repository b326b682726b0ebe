"""Cells with a deep transition or a deep output within one time step (Pascanu et al. 2014, arXiv 1312.6026)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import (
    ACTIVATIONS,
    check_choice,
    check_features,
    check_inside,
    check_single,
    fold_in_name,
    fold_in_name_if_key,
    product,
)
from nlstm_jax.cells.protocol import Cell, CellField, class_name, complete
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class DeepTransitionParams(NamedTuple):
    """A tuple of the parameters of all transitions, in the order in which they are computed."""

    cells: tuple[Params, ...]


@dataclass(frozen=True)
class DeepTransition:
    """A sequence of cells that update one shared carry within each time step.

        s ← cell_1(s_{t−1}, x_t),   s ← cell_k(s) for k = 2 … K,   s_t = s

    Only the first cell reads the input. The others have no input weights (D = 0). With `Elman` cells this is the
    DT-RNN of Pascanu et al., where each additional cell computes h ← tanh(h W_h + b). With GRUs it is the deep
    transition GRU of Miceli Barone et al. 2017 (arXiv 1707.07631).

    Parameters: those of the first cell with D inputs, and those of the other cells without inputs.

    Attributes:
        cells: The cells in the order of computation. They are single cells whose carries have the same type and shape.

    Raises:
        ValueError: There is no cell, a cell is not single, or the carries differ.

    Source: Pascanu et al. 2014, "How to construct deep recurrent neural networks" (arXiv 1312.6026).

    >>> from nlstm_jax.cells import Elman
    >>> cell = DeepTransition((Elman(4), Elman(4)))
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> params.cells[1].w_x.shape
    (0, 4)
    """

    cells: tuple[CellField, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.cells, tuple) or not self.cells:
            raise ValueError(f"DeepTransition: cells: a tuple of at least one cell expected, found {self.cells!r}")
        object.__setattr__(self, "cells", tuple(map(complete, self.cells)))
        for cell in self.cells:
            check_inside(self, "cells", cell)

        first_carry = _carry_shapes(self.cells[0])
        for cell in self.cells[1:]:
            carry = _carry_shapes(cell)
            if (type(carry), carry) != (type(first_carry), first_carry):
                raise ValueError(
                    "DeepTransition: cells: carries of one type and shape expected, "
                    f"found {first_carry} in the first and {carry} in {class_name(cell)}"
                )

    @property
    def features(self) -> int:
        """The number of hidden units H of the cells."""
        return self.cells[-1].features

    @property
    def out_features(self) -> int:
        """The output width of the last cell."""
        return self.cells[-1].out_features

    def init(self, key: PRNGKeyArray, in_features: int) -> DeepTransitionParams:
        """Draw the initial parameters of all cells. Cells after the first have no input weights."""
        widths = self._input_widths(in_features)
        params = []
        for index, cell in enumerate(self.cells):
            cell_key = fold_in_name(key, f"transition_{index}")
            params.append(cell.init(cell_key, widths[index]))
        return DeepTransitionParams(tuple(params))

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """Return the initial carry of the first cell."""
        return self.cells[0].initial_carry(batch_shape)

    def sample_noise(
        self, params: DeepTransitionParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[DeepTransitionParams, Noise]:
        """Draw the noise of all cells."""
        *leading, in_features = shape
        widths = self._input_widths(in_features)
        prepared = []
        noises = []
        for index, cell in enumerate(self.cells):
            cell_key = fold_in_name_if_key(key, f"transition_{index}")
            cell_shape = (*leading, widths[index])
            cell_params, cell_noise = cell.sample_noise(params.cells[index], cell_key, cell_shape)
            prepared.append(cell_params)
            noises.append(cell_noise)

        if key is None:
            return DeepTransitionParams(tuple(prepared)), ()
        return DeepTransitionParams(tuple(prepared)), tuple(noises)

    def project(self, params: DeepTransitionParams, x: Float[Array, "*b D"]) -> Projected:
        """Compute the input projection of the first cell, the only cell with an input."""
        return self.cells[0].project(params.cells[0], x)

    def step(
        self,
        params: DeepTransitionParams,
        carry: Carry,
        z: Projected,
        noise: Noise = (),
        recurrent_input: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """Compute one time step, cell by cell. The first cell uses `recurrent_input` instead of h."""
        noises = noise if noise else ((),) * len(self.cells)
        carry, y = self.cells[0].step(params.cells[0], carry, z, noises[0], recurrent_input)

        empty_input = jnp.zeros((*y.shape[:-1], 0), y.dtype)
        for index, cell in enumerate(self.cells[1:], start=1):
            cell_params = params.cells[index]
            cell_z = cell.project(cell_params, empty_input)
            carry, y = cell.step(cell_params, carry, cell_z, noises[index])
        return carry, y

    def _input_widths(self, in_features: int) -> list[int]:
        """Return the input width of each cell: `in_features` for the first one, 0 for the others."""
        return [in_features] + [0] * (len(self.cells) - 1)


def _carry_shapes(cell: Cell) -> Carry:
    """Return the carry of one example with shapes and dtypes in place of arrays."""
    return jax.eval_shape(lambda: cell.initial_carry(()))


class DenseParams(NamedTuple):
    """A weight matrix and a bias, the parameters of one dense layer."""

    w: Float[Array, "I O"]
    b: Float[Array, "O"]


class DeepOutputParams(NamedTuple):
    """A bundle of the cell's parameters and those of the dense layers above it, lowest first."""

    cell: Params
    layers: tuple[DenseParams, ...]


@dataclass(frozen=True)
class DeepOutput:
    """A cell with dense layers between its memory and its output at every time step.

        y_t = φ(… φ(h_t W_1 + b_1) … W_K + b_K)

    The output is not the memory. Therefore `DeepOutput` goes around every other wrapper, `Zoneout` too, and never
    inside a `Nested`. The initial weights are glorot uniform, the initial biases zero.

    Attributes:
        cell: The single cell below the dense layers.
        widths: The widths of the dense layers, lowest first. The last one is the output width.
        activation: The name of φ.

    Raises:
        ValueError: The cell is not single, there is no width, or the activation is unknown.

    Source: Pascanu et al. 2014, "How to construct deep recurrent neural networks" (arXiv 1312.6026).

    >>> from nlstm_jax.cells import LSTM
    >>> cell = DeepOutput(LSTM(4), widths=(8, 5))
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jnp.ones((2, 3))))
    >>> y.shape
    (2, 5)
    """

    cell: CellField
    widths: tuple[int, ...]
    activation: str = "tanh"
    forbids_nesting: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", complete(self.cell))
        check_single(self, "cell", self.cell)
        if not isinstance(self.widths, tuple) or not self.widths:
            raise ValueError(f"DeepOutput: widths: a tuple of at least one width expected, found {self.widths!r}")
        for width in self.widths:
            check_features(self, "widths", width)
        check_choice(self, "activation", self.activation, tuple(ACTIVATIONS))

    @property
    def features(self) -> int:
        """The number of hidden units H of the cell."""
        return self.cell.features

    @property
    def out_features(self) -> int:
        """The width of the last dense layer."""
        return self.widths[-1]

    def init(self, key: PRNGKeyArray, in_features: int) -> DeepOutputParams:
        """Draw the initial parameters of the cell and the dense layers."""
        glorot = jax.nn.initializers.glorot_uniform()
        layers = []
        width_below = self.cell.out_features
        for index, width in enumerate(self.widths):
            w = glorot(fold_in_name(key, f"layer_{index}"), (width_below, width))
            layers.append(DenseParams(w, jnp.zeros(width)))
            width_below = width
        return DeepOutputParams(self.cell.init(fold_in_name(key, "cell"), in_features), tuple(layers))

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """Return the initial carry of the cell."""
        return self.cell.initial_carry(batch_shape)

    def sample_noise(
        self, params: DeepOutputParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[DeepOutputParams, Noise]:
        """Draw the noise of the cell."""
        prepared, noise = self.cell.sample_noise(params.cell, key, shape)
        return params._replace(cell=prepared), noise

    def project(self, params: DeepOutputParams, x: Float[Array, "*b D"]) -> Projected:
        """Compute the input projection of the cell."""
        return self.cell.project(params.cell, x)

    def step(
        self,
        params: DeepOutputParams,
        carry: Carry,
        z: Projected,
        noise: Noise = (),
        recurrent_input: Array | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """Compute one step of the cell, and apply the dense layers to its output."""
        carry, y = self.cell.step(params.cell, carry, z, noise, recurrent_input)
        for layer in params.layers:
            y = ACTIVATIONS[self.activation](product(y, layer.w) + layer.b)
        return carry, y
