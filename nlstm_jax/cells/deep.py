"""Recurrences that are deep in other directions than a stack (Pascanu et al. 2014, arXiv 1312.6026)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import (
    ACTIVATIONS,
    Cell,
    check_choice,
    check_features,
    check_inside,
    check_single,
    fold_in_name,
    product,
)
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class DeepTransitionParams(NamedTuple):
    """Every transition's parameters, in the order in which they are taken."""

    cells: tuple[Params, ...]


@dataclass(frozen=True)
class DeepTransition:
    """Several cells in a row within one time step, handing on one memory.

        s ← cell_1(s_{t−1}, x_t),   s ← cell_k(s) for k = 2 … K,   s_t = s

    The first cell alone reads the input; the others have no input weights (D = 0). With `Elman` cells it is the
    DT-RNN of Pascanu et al., h ← tanh(h W_h + b) once more for every further cell; with GRUs the deep transition GRU
    of Miceli Barone et al. 2017 (arXiv 1707.07631).

    Parameters: the first cell's on D inputs and the others' on none.

    Attributes:
        cells: single cells with carries of one shape.

    >>> from nlstm_jax.cells import Elman
    >>> cell = DeepTransition((Elman(4), Elman(4)))
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> params.cells[1].w_x.shape
    (0, 4)
    """

    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.cells, tuple) or not self.cells:
            raise ValueError(f"DeepTransition: cells: a tuple of at least one cell expected, found {self.cells!r}")
        for cell in self.cells:
            check_inside(self, "cells", cell)
        first, *others = (jax.eval_shape(lambda cell=cell: cell.initial_carry(())) for cell in self.cells)
        for cell, carry in zip(self.cells[1:], others, strict=True):
            if (type(carry), carry) != (type(first), first):
                raise ValueError(
                    "DeepTransition: cells: carries of one type and shape expected, "
                    f"found {first} in the first and {carry} in {type(cell).__name__}"
                )

    @property
    def features(self) -> int:
        """The cells' H."""
        return self.cells[-1].features

    @property
    def out_features(self) -> int:
        """The last cell's output width."""
        return self.cells[-1].out_features

    def init(self, key: PRNGKeyArray, in_features: int) -> DeepTransitionParams:
        """Draw every cell's parameters, those after the first without input weights."""
        return DeepTransitionParams(
            tuple(
                cell.init(fold_in_name(key, f"transition_{index}"), 0 if index else in_features)
                for index, cell in enumerate(self.cells)
            )
        )

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """The first cell's."""
        return self.cells[0].initial_carry(batch_shape)

    def sample_noise(
        self, params: DeepTransitionParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[DeepTransitionParams, Noise]:
        """Every cell's noise."""
        prepared = [
            cell.sample_noise(
                params.cells[index],
                None if key is None else fold_in_name(key, f"transition_{index}"),
                (*shape[:-1], 0) if index else shape,
            )
            for index, cell in enumerate(self.cells)
        ]
        noise = () if key is None else tuple(noise for _, noise in prepared)
        return DeepTransitionParams(tuple(cell for cell, _ in prepared)), noise

    def project(self, params: DeepTransitionParams, x: Float[Array, "*b D"]) -> Projected:
        """The first cell's projection; there is no other input."""
        return self.cells[0].project(params.cells[0], x)

    def step(
        self,
        params: DeepTransitionParams,
        carry: Carry,
        z: Projected,
        noise: Noise = (),
        recurrent_input: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """One time step: the cells in turn; the first reads `recurrent_input` in place of h."""
        carry, y = self.cells[0].step(params.cells[0], carry, z, noise[0] if noise else (), recurrent_input)
        nothing = jnp.zeros((*y.shape[:-1], 0), y.dtype)
        for index, cell in enumerate(self.cells[1:], start=1):
            own = params.cells[index]
            carry, y = cell.step(own, carry, cell.project(own, nothing), noise[index] if noise else ())
        return carry, y


class DenseParams(NamedTuple):
    """One dense layer's."""

    w: Float[Array, "I O"]
    b: Float[Array, "O"]


class DeepOutputParams(NamedTuple):
    """The cell's parameters, and those of the layers above it, lowest first."""

    cell: Params
    layers: tuple[DenseParams, ...]


@dataclass(frozen=True)
class DeepOutput:
    """A cell with dense layers between its memory and its output, at every time step.

        y_t = φ(… φ(h_t W_1 + b_1) … W_K + b_K)

    The output is not the memory, so it goes around every other wrapper, `Zoneout` too, and never inside a `Nested`.
    Initial values: glorot uniform, zero biases.

    Attributes:
        cell: a single cell.
        widths: of the layers, lowest first; the last is the output's.
        activation: φ, by name.

    >>> from nlstm_jax.cells import LSTM
    >>> cell = DeepOutput(LSTM(4), widths=(8, 5))
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jnp.ones((2, 3))))
    >>> y.shape
    (2, 5)
    """

    cell: Cell
    widths: tuple[int, ...]
    activation: str = "tanh"
    forbids_nesting: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_single(self, "cell", self.cell)
        if not isinstance(self.widths, tuple) or not self.widths:
            raise ValueError(f"DeepOutput: widths: a tuple of at least one width expected, found {self.widths!r}")
        for width in self.widths:
            check_features(self, "widths", width)
        check_choice(self, "activation", self.activation, tuple(ACTIVATIONS))

    @property
    def features(self) -> int:
        """The cell's."""
        return self.cell.features

    @property
    def out_features(self) -> int:
        """The last layer's width."""
        return self.widths[-1]

    def init(self, key: PRNGKeyArray, in_features: int) -> DeepOutputParams:
        """Draw the cell's parameters and the layers'."""
        glorot, layers, below = jax.nn.initializers.glorot_uniform(), [], self.cell.out_features
        for index, width in enumerate(self.widths):
            layers.append(DenseParams(glorot(fold_in_name(key, f"layer_{index}"), (below, width)), jnp.zeros(width)))
            below = width
        return DeepOutputParams(self.cell.init(fold_in_name(key, "cell"), in_features), tuple(layers))

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """The cell's."""
        return self.cell.initial_carry(batch_shape)

    def sample_noise(
        self, params: DeepOutputParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[DeepOutputParams, Noise]:
        """The cell's noise."""
        prepared, noise = self.cell.sample_noise(params.cell, key, shape)
        return params._replace(cell=prepared), noise

    def project(self, params: DeepOutputParams, x: Float[Array, "*b D"]) -> Projected:
        """The cell's projection."""
        return self.cell.project(params.cell, x)

    def step(
        self,
        params: DeepOutputParams,
        carry: Carry,
        z: Projected,
        noise: Noise = (),
        recurrent_input: Array | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """The cell's step, and the layers on its output."""
        carry, y = self.cell.step(params.cell, carry, z, noise, recurrent_input)
        for layer in params.layers:
            y = ACTIVATIONS[self.activation](product(y, layer.w) + layer.b)
        return carry, y
