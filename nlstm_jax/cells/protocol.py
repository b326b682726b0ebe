"""The protocols of cells, and `complete`, which supplies what a cell of the user lacks."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, overload, runtime_checkable

import jax

from nlstm_jax.types import Array, Carry, Noise, Params, PRNGKeyArray, Projected, PyTree


@runtime_checkable
class MinimalCell(Protocol):
    """A cell with the three methods that every cell must have, and its width.

    The width is an attribute `features`, `out_features` or both; one stands for the other. A cell can also have
    `sample_noise` and `project` of `Cell`, and its `step` can take the arguments `noise` and `recurrent_input`, each
    independently of the others. `complete` supplies what is missing.
    """

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        """Draw the initial parameters, a NamedTuple of float32 arrays."""

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """Return the carry before the first step, a NamedTuple of float32 zeros."""

    @property
    def step(self) -> Callable[..., tuple[Carry, Array]]:
        """The method `step(params, carry, x)`, which returns the carry after a step and the output y [..., O]."""


@runtime_checkable
class Layer(Protocol):
    """A layer that `unroll` can run: every `Cell`, a `Bidirectional`, and a `Stack` of either.

    Implementations are frozen dataclasses. A layer is therefore hashable, and it can be a static argument of `jit`.
    """

    def __hash__(self) -> int:
        """Return a hash; equal specifications have equal hashes, so that `jit` compiles them once."""

    @property
    def features(self) -> int:
        """The number of hidden units H."""

    @property
    def out_features(self) -> int:
        """The width of the output O: H, or the width of the projection."""

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        """Draw the initial parameters, a NamedTuple of float32 arrays."""

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """Return the carry before the first step, a NamedTuple of float32 zeros."""

    def sample_noise(self, params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]) -> tuple[Params, Noise]:
        """Draw the noise of a sequence, once and outside the scan.

        Args:
            params: The parameters from `init`.
            key: The random key that the noise is drawn from. Without a key there is no noise.
            shape: The shape of the inputs, `[T, *batch_shape, D]`.

        Returns:
            The prepared parameters, which include the noise that is constant over the sequence, and the noise of
            every time step: a pytree with leading axes `[T, *batch_shape]`, or `()` if there is none.
        """


@runtime_checkable
class Cell(Layer, Protocol):
    """A recurrent cell: a frozen specification with pure functions that compute one step.

    Arrays can have any leading axes (`batch_shape`). The loop over time belongs to `unroll`.
    """

    def project(self, params: Params, x: Array) -> Projected:
        """Compute the part of a step that does not depend on the carry.

        The input `x` can have any leading axes. Usually one call covers all time steps.
        """

    def step(
        self, params: Params, carry: Carry, z: Projected, noise: Noise = (), recurrent_input: Array | None = None
    ) -> tuple[Carry, Array]:
        """Compute one step on a projected input.

        Args:
            params: The prepared parameters from `sample_noise`.
            carry: The carry before the step.
            z: The projected input `project(params, x)` of this step.
            noise: The noise of this step, a slice of the noise from `sample_noise`.
            recurrent_input: The array that the recurrent product uses instead of `carry.h`. The carry itself is not
                replaced.

        Returns:
            The carry after the step, and the output y [..., O].
        """


if TYPE_CHECKING:
    CellField: TypeAlias = Cell
    LayerField: TypeAlias = Layer
else:
    CellField = MinimalCell
    LayerField = Layer | MinimalCell
"""The types of the fields of wrappers that hold cells: any cell is accepted, and `complete` makes it a `Cell`."""

CellLayer = TypeVar("CellLayer", bound=Layer)


@dataclass(frozen=True)
class CompleteCell:
    """A `Cell` made of a `MinimalCell`: what the cell lacks has a default. See `complete`.

    Attributes:
        cell: The cell of the user. Its parameters and its carry are those of this cell.
    """

    cell: MinimalCell

    def __repr__(self) -> str:
        """Return the representation of the user's cell."""
        return repr(self.cell)

    @property
    def features(self) -> int:
        """The number of hidden units H of the cell, or its output width."""
        return _first_attribute(self.cell, "features", "out_features")

    @property
    def out_features(self) -> int:
        """The output width of the cell, or its number of hidden units H."""
        return _first_attribute(self.cell, "out_features", "features")

    @property
    def forbids_nesting(self) -> bool:
        """True if the cell must be outermost, see `check_inside`."""
        return getattr(self.cell, "forbids_nesting", False)

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        """Draw the initial parameters of the cell."""
        return self.cell.init(key, in_features)

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """Return the initial carry of the cell."""
        return self.cell.initial_carry(batch_shape)

    def sample_noise(self, params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]) -> tuple[Params, Noise]:
        """Draw the noise of the cell. By default there is none."""
        if hasattr(self.cell, "sample_noise"):
            return self.cell.sample_noise(params, key, shape)
        return params, ()

    def project(self, params: Params, x: Array) -> Projected:
        """Compute the input projection of the cell. By default it is the input itself."""
        if hasattr(self.cell, "project"):
            return self.cell.project(params, x)
        return x

    def step(
        self, params: Params, carry: Carry, z: Projected, noise: Noise = (), recurrent_input: Array | None = None
    ) -> tuple[Carry, Array]:
        """Compute one step of the cell, with those of the optional arguments that its `step` takes.

        Raises:
            ValueError: There is noise, or a recurrent input, and the cell's `step` takes none.
        """
        options: dict[str, PyTree] = {"noise": noise, "recurrent_input": recurrent_input}
        accepted = _step_options(self.cell)
        for name in options.keys() - accepted:
            if jax.tree.leaves(options[name]):
                raise ValueError(
                    f"{class_name(self)}: step: an argument `{name}` expected, as there is {_OPTION_SOURCES[name]}; "
                    f"found step{inspect.signature(self.cell.step)}"
                )
        return self.cell.step(params, carry, z, **{name: options[name] for name in accepted})


_OPTION_SOURCES = {"noise": "noise from sample_noise", "recurrent_input": "dropout of the recurrent input"}
"""For each optional argument of `step`, where a value for it comes from."""


@overload
def complete(layer: CellLayer) -> CellLayer: ...


@overload
def complete(layer: MinimalCell) -> Cell: ...


def complete(layer: Any) -> Any:
    """Return a cell with everything that `Cell` has, made of one that has at least what `MinimalCell` has.

    By default the input is not projected (`project` returns it), there is no noise, and `step` takes neither `noise`
    nor `recurrent_input`. A cell that lacks nothing, and anything that is no cell, is returned as it is.

    Raises:
        ValueError: `step` cannot be called as `step(params, carry, x)` with the optional arguments by name.
    """
    if not _is_minimal_cell(layer) or isinstance(layer, CompleteCell):
        return layer

    signature = inspect.signature(layer.step)
    accepted = _step_options(layer)
    try:
        signature.bind("params", "carry", "x", **dict.fromkeys(accepted))
    except TypeError:
        raise ValueError(
            f"{class_name(layer)}: step: step(params, carry, x), where `noise` and `recurrent_input` may follow, "
            f"expected, found step{signature}"
        ) from None

    is_positional = list(signature.parameters)[3:5] == list(_OPTION_SOURCES)
    if isinstance(layer, Cell) and is_positional:
        return layer
    return CompleteCell(layer)


def class_name(layer: object) -> str:
    """Return the name of the class of a layer, as the user knows it."""
    if isinstance(layer, CompleteCell):
        return type(layer.cell).__name__
    return type(layer).__name__


def missing_members(layer: object) -> list[str]:
    """Return the names of what `layer` lacks of a `MinimalCell`."""
    missing = [name for name in ("init", "initial_carry", "step") if not hasattr(layer, name)]
    if not hasattr(layer, "features") and not hasattr(layer, "out_features"):
        missing.insert(0, "features")
    return missing


def _is_minimal_cell(layer: object) -> bool:
    """Return True for a hashable object that lacks nothing of a `MinimalCell`."""
    is_instance = not isinstance(layer, type)
    is_hashable = type(layer).__hash__ is not None
    return is_instance and is_hashable and not missing_members(layer)


def _step_options(cell: MinimalCell) -> list[str]:
    """Return those of the optional arguments that the `step` of `cell` takes: all of them if it has `**kwargs`."""
    parameters = inspect.signature(cell.step).parameters
    accepts_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return [name for name in _OPTION_SOURCES if accepts_all or name in parameters]


def _first_attribute(cell: object, *names: str) -> int:
    """Return the value of the first attribute that `cell` has."""
    return next(getattr(cell, name) for name in names if hasattr(cell, name))
