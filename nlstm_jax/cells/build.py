"""A cell by its name and options: the way from a configuration to a specification.

A factory is any callable `make(features, **options)` whose options have defaults; a user's own is named
`package.module:factory` and treated as ours are.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import Cell, check_layer
from nlstm_jax.cells.budget import BUDGETS, fit_features
from nlstm_jax.cells.elman import Elman
from nlstm_jax.cells.gru import GRU
from nlstm_jax.cells.lstm import LSTM
from nlstm_jax.cells.nested import nested_lstm
from nlstm_jax.cells.regularizers import with_regularizers
from nlstm_jax.cells.stack import Stack

FACTORIES: dict[str, Callable[..., Cell]] = {
    "elman": Elman,
    "gru": GRU,
    "lstm": LSTM,
    "peephole": partial(LSTM, peephole=True),
    "nlstm": partial(nested_lstm, depth=2),
}

_STRUCTURE = ("name", "features", "widths", *BUDGETS, "layers", "skip", "residual", "weights")
NOISE = ("input_dropout", "recurrent_dropout", "weight_drop", "zoneout")


def find_factory(name: str) -> Callable[..., Cell]:
    """The factory of that name.

    Raises:
        ValueError: no such name, module or attribute.
    """
    if name in FACTORIES:
        return FACTORIES[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, FACTORIES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"cell: one of {', '.join(FACTORIES)} or package.module:factory expected, found {name!r}{hint}"
        )
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cell: {name!r} cannot be imported: {error}") from None


def cell_options(name: str) -> dict[str, tuple[Any, Any]]:
    """The options that a cell has beyond its width: name → (default, annotation).

    Raises:
        ValueError: no such cell, or a factory with an option that has no default.

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
    options: Mapping[str, Any],
    in_features: int,
    dropout: float = 0.0,
    decoder_in_features: Callable[[Cell], int] | None = None,
) -> Cell:
    """The cell that a configuration's `cell` section describes.

    Args:
        options: `name`, `features`, a budget (`parameters`, `operations` or `state`, if > 0, decides the width), or
            `widths` of the layers in place of these; `layers`, `skip`, `residual`, the rates of `with_regularizers`,
            and the options of that cell.
        in_features: D; it matters where a budget decides.
        dropout: between layers.
        decoder_in_features: see `fit_features`.

    Raises:
        ValueError: a name, width or option that does not serve; the message names it.

    >>> build({"name": "nlstm", "features": 4, "depth": 2}, in_features=3).inner
    LSTM(features=4, ...)
    """
    factory = find_factory(options["name"])
    own = {key: value for key, value in options.items() if key not in (*_STRUCTURE, *NOISE)}
    noise = {key: tuple(options[key]) for key in NOISE if key in options}
    layers = options.get("layers", 1)
    if options["name"] not in FACTORIES:
        _check_made(options["name"], factory(options.get("features", 4), **own))

    def make(*widths: int) -> Cell:
        made = tuple(with_regularizers(factory(width, **own), **noise) for width in widths)
        if layers == 1:
            return made[0]
        return Stack(
            made,
            skip=options.get("skip", False),
            residual=options.get("residual", False),
            dropout=dropout,
        )

    if "widths" in options:
        return make(*options["widths"])
    budget = {name: options[name] for name in BUDGETS if options.get(name)}
    if not budget:
        return make(*(options["features"],) * layers)
    features = fit_features(
        lambda width: make(*(width,) * layers), in_features, decoder_in_features=decoder_in_features, **budget
    )
    return make(*(features,) * layers)


def _check_made(name: str, cell: Any) -> None:
    """Raise a ValueError unless a user's factory has made a cell that keeps the contract."""
    owner = f"cell: {name!r}"
    check_layer(owner, "what it makes", cell, Cell)
    try:
        inspect.signature(cell.step).bind("params", "carry", "z", "noise", "recurrent_input")
    except TypeError:
        found = inspect.signature(cell.step)
        raise ValueError(
            f"{owner}: step(params, carry, z, noise=(), recurrent_input=None) expected, found step{found}"
        ) from None

    def step() -> Any:
        carry, (params, _) = (
            cell.initial_carry((2,)),
            cell.sample_noise(cell.init(jax.random.key(0), 3), None, (1, 2, 3)),
        )
        return carry, cell.step(params, carry, cell.project(params, jnp.zeros((2, 3))))

    carry, returned = jax.eval_shape(step)
    expected = (carry, jax.ShapeDtypeStruct((2, cell.out_features), jnp.float32))
    if _shapes(returned) != _shapes(expected):
        raise ValueError(
            f"{owner}: step: on 2 sequences of width 3, (carry, y) of the shapes {_shapes(expected)} expected, found "
            f"{_shapes(returned)}"
        )


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.shape, tree)
