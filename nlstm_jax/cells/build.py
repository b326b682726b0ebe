"""Build a cell from its name and options, as they are in a configuration.

A factory is any callable `make(features, **options)` whose options have defaults. A factory of the user is named
`package.module:factory`. It is treated in the same way as the factories in `FACTORIES`.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import check_layer
from nlstm_jax.cells.budget import BUDGETS, fit_features
from nlstm_jax.cells.elman import Elman
from nlstm_jax.cells.gru import GRU
from nlstm_jax.cells.lstm import LSTM
from nlstm_jax.cells.nested import nested_lstm
from nlstm_jax.cells.protocol import Cell, MinimalCell, complete
from nlstm_jax.cells.regularizers import with_regularizers
from nlstm_jax.cells.stack import Stack
from nlstm_jax.types import Carry, Config, PyTree

FACTORIES: dict[str, Callable[..., MinimalCell]] = {
    "elman": Elman,
    "gru": GRU,
    "lstm": LSTM,
    "peephole": partial(LSTM, peephole=True),
    "nlstm": partial(nested_lstm, depth=2),
}
"""The factories of this package, by name."""

_STRUCTURE_OPTIONS = ("name", "features", "widths", *BUDGETS, "layers", "skip", "residual", "weights")
NOISE = ("input_dropout", "recurrent_dropout", "weight_drop", "zoneout")


def find_factory(name: str) -> Callable[..., MinimalCell]:
    """Return the factory with the given name.

    Raises:
        ValueError: There is no such name, module or attribute.
    """
    if name in FACTORIES:
        return FACTORIES[name]
    if ":" not in name:
        matches = difflib.get_close_matches(name, FACTORIES, n=1)
        hint = f"; did you mean {matches[0]!r}?" if matches else ""
        raise ValueError(
            f"cell: one of {', '.join(FACTORIES)} or package.module:factory expected, found {name!r}{hint}"
        )
    try:
        return import_attribute(name)
    except ValueError as error:
        raise ValueError(f"cell: {error}") from None


def import_attribute(name: str) -> Any:
    """Import what a user named in a configuration.

    Args:
        name: The name in the form `package.module:attribute`.

    Raises:
        ValueError: There is no such module or attribute.
    """
    module_name, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = ""
        if module_name in FACTORIES:
            hint = f"; a comma separates arguments: {module_name},{attribute}"
        raise ValueError(f"{name!r} cannot be imported: {error}{hint}") from None


def cell_options(name: str) -> dict[str, tuple[object, object]]:
    """Return the options of a cell besides its width, as a mapping of names to (default, annotation).

    Raises:
        ValueError: There is no such cell, or its factory has an option without a default.

    >>> sorted(cell_options("nlstm"))
    ['candidate_activation', 'depth', 'dtype', 'forget_bias', ...]
    """
    parameters = list(inspect.signature(find_factory(name)).parameters.values())
    options = {}
    for parameter in parameters[1:]:
        if parameter.default is parameter.empty:
            raise ValueError(f"cell: {name!r}: a default for its option {parameter.name!r} expected, none found")
        options[parameter.name] = (parameter.default, parameter.annotation)
    return options


def build(
    options: Config,
    in_features: int,
    dropout: float = 0.0,
    decoder_in_features: Callable[[Cell], int] | None = None,
) -> Cell:
    """Build the cell that the `cell` section of a configuration describes.

    Args:
        options: The entries of the section. The width comes from `features`, or from a budget (`parameters`,
            `operations` or `state`) that is > 0, or from `widths`, one for each layer. The other entries are `name`,
            `layers`, `skip`, `residual`, the rates of `with_regularizers`, and the options of the cell itself.
        in_features: The input width D. It matters only if a budget decides the width.
        dropout: The dropout rate between layers.
        decoder_in_features: The input width of a second cell as a function of the cell, see `fit_features`.

    Raises:
        ValueError: A name, width or option is invalid. The message names it.

    >>> build({"name": "nlstm", "features": 4, "depth": 2}, in_features=3).inner
    LSTM(features=4, ...)
    """
    factory = find_factory(options["name"])
    cell_arguments = {key: value for key, value in options.items() if key not in (*_STRUCTURE_OPTIONS, *NOISE)}
    noise_rates = {key: tuple(options[key]) for key in NOISE if key in options}
    layers = options.get("layers", 1)
    if options["name"] not in FACTORIES:
        _check_contract(options["name"], factory(options.get("features", 4), **cell_arguments))

    def make_layer(width: int) -> Cell:
        return with_regularizers(complete(factory(width, **cell_arguments)), **noise_rates)

    def make_cell(widths: Sequence[int]) -> Cell:
        cells = tuple(map(make_layer, widths))
        if layers == 1:
            return cells[0]
        return Stack(
            cells,
            skip=options.get("skip", False),
            residual=options.get("residual", False),
            dropout=dropout,
        )

    if "widths" in options:
        return make_cell(options["widths"])

    budget = {name: options[name] for name in BUDGETS if options.get(name)}
    if budget:
        features = fit_features(
            lambda width: make_cell([width] * layers), in_features, decoder_in_features=decoder_in_features, **budget
        )
    else:
        features = options["features"]
    return make_cell([features] * layers)


def _check_contract(name: str, cell: Any) -> None:
    """Raise a ValueError unless `cell`, made by the user's factory `name`, is a `MinimalCell` whose step serves."""
    owner = f"cell: {name!r}"
    try:
        cell = complete(cell)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None
    check_layer(owner, "what it makes", cell, Cell)

    def run_step() -> tuple[Carry, PyTree]:
        carry = cell.initial_carry((2,))
        params, _ = cell.sample_noise(cell.init(jax.random.key(0), 3), None, (1, 2, 3))
        return carry, cell.step(params, carry, cell.project(params, jnp.zeros((2, 3))))

    carry, actual = jax.eval_shape(run_step)
    expected = (carry, jax.ShapeDtypeStruct((2, cell.out_features), jnp.float32))
    if _shapes(actual) != _shapes(expected):
        raise ValueError(
            f"{owner}: step: on 2 sequences of width 3, (carry, y) of the shapes {_shapes(expected)} expected, found "
            f"{_shapes(actual)}"
        )


def _shapes(tree: PyTree) -> PyTree:
    """Return the shapes of the leaves, in the structure of `tree`."""
    return jax.tree.map(lambda leaf: leaf.shape, tree)
