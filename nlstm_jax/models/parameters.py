"""A model as a graph and its parameters by name, so that training is a pure function of arrays."""

from typing import Any, TypeAlias

from flax import nnx

from nlstm_jax.types import Array

Parameters: TypeAlias = dict[str, Array]
"""Arrays by the path of their place in the model, e.g. `cell/params/inner/w_h`."""


def split(model: nnx.Module) -> tuple[Any, Parameters]:
    """The model's graph, and its parameters by name; `merge` puts them together again.

    >>> graph, parameters = split(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> sorted(parameters)
    ['bias', 'kernel']
    """
    graph, state = nnx.split(model, nnx.Param)
    return graph, {_name(path): variable[...] for path, variable in nnx.to_flat_state(state)}


def merge(graph: Any, parameters: Parameters) -> Any:
    """The model with these parameters; cheap under a trace."""
    flat = [(_path(name), nnx.Param(value)) for name, value in parameters.items()]
    return nnx.merge(graph, nnx.from_flat_state(flat))


def count_parameters(model: nnx.Module) -> int:
    """The number of parameters of a model."""
    return sum(value.size for value in split(model)[1].values())


def is_recurrent(name: str) -> bool:
    """Whether a parameter of that name is a recurrent cell's.

    >>> is_recurrent("cell/params/inner/w_h"), is_recurrent("head/kernel")
    (True, False)
    """
    return "/params/" in name


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))


def _path(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in name.split("/"))
