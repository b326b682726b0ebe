"""Split a model into its graph and its parameters, so that training is a pure function of arrays."""

from typing import TypeAlias, TypeVar

from flax import nnx

from nlstm_jax.types import Array

Model = TypeVar("Model", bound=nnx.Module)

Parameters: TypeAlias = dict[str, Array]
"""The parameter arrays of a model, by their path in the model, such as `cell/params/inner/w_h`."""


def split(model: Model) -> tuple[nnx.GraphDef[Model], Parameters]:
    """Split a model into its graph and its parameters by name. `merge` is the inverse.

    >>> parameters: Parameters
    >>> graph, parameters = split(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> sorted(parameters)
    ['bias', 'kernel']
    """
    graph, state = nnx.split(model, nnx.Param)
    return graph, {_name(path): variable[...] for path, variable in nnx.to_flat_state(state)}


def merge(graph: nnx.GraphDef[Model], parameters: Parameters) -> Model:
    """Combine a graph and parameters into a model. This costs little inside a traced function.

    Args:
        graph: The graph from `split`.
        parameters: The parameters by name, such as those from `split` after training.
    """
    flat = [(_path(name), nnx.Param(value)) for name, value in parameters.items()]
    return nnx.merge(graph, nnx.from_flat_state(flat))


def count_parameters(model: nnx.Module) -> int:
    """Count the parameters of a model."""
    _, parameters = split(model)
    return sum(value.size for value in parameters.values())


def is_recurrent(name: str) -> bool:
    """Return True if a parameter of that name belongs to a recurrent cell.

    >>> is_recurrent("cell/params/inner/w_h"), is_recurrent("head/kernel")
    (True, False)
    """
    return "/params/" in name


def _name(path: tuple[object, ...]) -> str:
    """Return the name of a parameter from its path in the state of the model."""
    return "/".join(map(str, path))


def _path(name: str) -> tuple[str | int, ...]:
    """Return the path of a parameter from its name, the inverse of `_name`."""
    return tuple(int(part) if part.isdigit() else part for part in name.split("/"))
