"""The checks of the arguments of `unroll`.

Every function raises a ValueError that names the argument, what was expected and what was found.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells import Layer, spec_repr
from nlstm_jax.cells.base import leaves_with_names
from nlstm_jax.types import Carry, Params, PyTree
from nlstm_jax.unroll.blocks import block_size
from nlstm_jax.unroll.options import LayerState, StepCount

MODES = ("auto", "scan", "fused", "native", "cudnn")
KIND_NAMES: dict[object, str] = {jnp.inexact: "floats", jnp.integer: "integers", jnp.bool_: "booleans"}


def check_mode(mode: object) -> None:
    """Check that `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"unroll: mode: one of {', '.join(MODES)} expected, found {mode!r}")


def check_flag(name: str, value: object) -> None:
    """Check that the argument `name` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"unroll: {name}: True or False expected, found {value!r}")


def check_inputs(xs: Any) -> None:
    """Check that `xs` is an array of floats with three axes."""
    _check_dtype("xs", xs, jnp.inexact)
    if xs.ndim != 3:
        raise ValueError(f"unroll: xs: [T, B, D] expected, found the shape {xs.shape}")


def check_array(name: str, value: Any, kind: Any, shape: tuple[int, ...]) -> None:
    """Check that the argument `name` is None or an array of this kind and shape.

    Args:
        name: The name of the argument.
        value: The value of the argument.
        kind: The kind of the dtype: `jnp.inexact`, `jnp.integer` or `jnp.bool_`.
        shape: The expected shape.
    """
    if value is None:
        return
    _check_dtype(name, value, kind)
    if value.shape != shape:
        raise ValueError(f"unroll: {name}: the shape {shape} expected, found {value.shape}")


def check_lengths(lengths: Any, length: StepCount) -> None:
    """Check that every length is between 0 and `length`; lengths that are traced by JAX are not checked."""
    if lengths is None or isinstance(lengths, jax.core.Tracer):
        return
    values = np.asarray(lengths)
    invalid = np.flatnonzero((values < 0) | (values > length))
    if invalid.size:
        index = int(invalid[0])
        raise ValueError(f"unroll: lengths[{index}]: 0 to T = {length} expected, found {int(lengths[index])}")


def check_key(key: Any) -> None:
    """Check that `key` is None or one random key, typed or of uint32."""
    if key is None:
        return
    dtype = getattr(key, "dtype", None)
    is_typed_key = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) and key.shape == ()
    is_raw_key = dtype == jnp.uint32 and key.ndim == 1
    if is_typed_key or is_raw_key:
        return

    description = type(key).__name__
    if dtype is not None:
        description = f"an array of {dtype} of shape {key.shape}"
    raise ValueError(f"unroll: key: one key, as of jax.random.key(0), expected, found {description}")


def check_params(cell: Layer, params: Params, width: int) -> None:
    """Check that `params` has the leaves of the parameters of `cell` on inputs of this width."""
    _check_tree("params", cell, params, _parameter_shapes(cell, width), f"on inputs of width {width}")


def check_carry(cell: Layer, carry: Carry, carry_shapes: Carry, batch: int) -> None:
    """Check that `carry` is None or has the leaves of `carry_shapes`."""
    if carry is not None:
        _check_tree("carry", cell, carry, carry_shapes, f"of {batch} sequences")


def check_carry_dtypes(
    cell: Layer, next_carry: Callable[[LayerState, Any], Carry], state: LayerState, inputs: Any
) -> None:
    """Check that a step returns a carry of the types that it was given, as a loop must.

    Args:
        cell: The cell, named in the error.
        next_carry: A function that returns the carry after one step.
        state: The arrays that the cell brings.
        inputs: The inputs of all steps, with the inputs `xs` of the cell.
    """
    # In a carry of the widest type nothing can change the type. The check of one step takes longer.
    types = [jax.typeof(leaf).dtype for leaf in jax.tree.leaves((inputs.xs, state.params))]
    widest = jnp.result_type(jnp.float32, *(dtype for dtype in types if jnp.issubdtype(dtype, jnp.inexact)))
    before = {path: jax.typeof(leaf).dtype for path, leaf in leaves_with_names(state.carry)}
    if set(before.values()) == {widest}:
        return

    for path, leaf in leaves_with_names(state.initial_carry):
        if before[path] != leaf.dtype and not jnp.issubdtype(before[path], jnp.inexact):
            raise ValueError(
                f"unroll: carry: {spec_repr(cell)}: {path} of {leaf.dtype} expected, like that of the initial carry, "
                f"found {before[path]}"
            )
    one_step = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], jax.typeof(leaf).dtype), inputs)
    after = dict(leaves_with_names(jax.eval_shape(next_carry, state, one_step)))
    for path, dtype in before.items():
        if path not in after or after[path].dtype == dtype:
            continue
        if state.carry is not state.initial_carry:
            raise ValueError(
                f"unroll: carry: {spec_repr(cell)}: {path} of {after[path].dtype} expected, as a step returns it, "
                f"found {dtype}"
            )
        raise ValueError(
            f"unroll: xs: {spec_repr(cell)}: inputs of {dtype} expected, like {path} of the carry, found "
            f"{inputs.xs.dtype}, with which a step returns {after[path].dtype}"
        )


def block_sizes(remat: object, truncate: object, length: StepCount) -> tuple[int, int]:
    """Return the numbers of steps in the blocks of `remat` and of `truncate`; 0: no blocks.

    Args:
        remat: A number of steps, True for about the root of the number of steps, or None, False or 0 for no blocks.
        truncate: A number of steps, or None or 0 for no blocks.
        length: The number of steps T.
    """
    remat_size = 0
    if not isinstance(remat, bool):
        remat_size = _number_of_steps("remat", remat, "None, True, False")
    truncate_size = _number_of_steps("truncate", truncate, "None")
    for name, value in (("remat", remat), ("truncate", truncate)):
        if value and not isinstance(length, int):
            raise ValueError(
                f"unroll: {name}: none expected with the symbolic number of steps {length}, found {value}"
            )
    if remat is True:
        remat_size = block_size(truncate_size or length)
    return remat_size, truncate_size


def _number_of_steps(name: str, value: object, alternatives: str) -> int:
    """Return a number of steps as an int, and 0 for None."""
    if value is None:
        return 0
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
        raise ValueError(f"unroll: {name}: {alternatives} or a whole number of steps ≥ 0 expected, found {value!r}")
    return int(value)


def _check_dtype(name: str, value: object, kind: Any) -> None:
    """Check that `value` is an array whose dtype is of this kind."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        raise ValueError(f"unroll: {name}: an array of {KIND_NAMES[kind]} expected, found {type(value).__name__}")
    if not jnp.issubdtype(dtype, kind):
        raise ValueError(f"unroll: {name}: an array of {KIND_NAMES[kind]} expected, found one of {dtype}")


def _check_tree(name: str, cell: Layer, tree: PyTree, expected: PyTree, circumstances: str) -> None:
    """Check that a pytree has the structure, the leaves and the shapes of another one.

    Args:
        name: The name of the argument.
        cell: The cell, named in the error.
        tree: The pytree that was given.
        expected: The pytree of arrays or shapes that it must be like.
        circumstances: The inputs or sequences that `expected` depends on, named in the error.
    """
    expected_shapes = _shapes_by_path(expected)
    shapes = _shapes_by_path(tree)
    structure: object = jax.tree.structure(tree)
    if structure == jax.tree.structure(expected) and shapes == expected_shapes:
        return

    paths = [*expected_shapes, *shapes]
    path = next((path for path in paths if expected_shapes.get(path) != shapes.get(path)), "")
    if path in expected_shapes:
        message = f"{path} of shape {expected_shapes[path]} expected, found {shapes.get(path, 'none')}"
    else:
        message = f"{type(expected).__name__} expected, found {type(tree).__name__}"
        if path:
            message += f" with {path}"
    raise ValueError(f"unroll: {name}: {spec_repr(cell)} {circumstances}: {message}")


def _shapes_by_path(tree: PyTree) -> dict[str, tuple[int, ...]]:
    return {path: jnp.shape(leaf) for path, leaf in leaves_with_names(tree)}


@functools.lru_cache(maxsize=1024)
def _parameter_shapes(cell: Layer, width: int) -> Params:
    return jax.eval_shape(lambda: cell.init(jax.random.key(0), width))
