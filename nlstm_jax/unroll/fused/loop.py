"""The forward loop, which records values for the backward loop, and their union by `jax.custom_vjp`."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from nlstm_jax.types import Array
from nlstm_jax.unroll.fused.backward import record_step, trace_backward
from nlstm_jax.unroll.fused.equations import Values, is_float, shapes_of
from nlstm_jax.unroll.fused.operations import WeightMatmul
from nlstm_jax.unroll.fused.step import sorted_step
from nlstm_jax.unroll.options import StepCount
from nlstm_jax.unroll.scan import constant_length


def scan(
    body: Callable[[Any, Any, Any], tuple[Any, Any]],
    constants: Any,
    carry: Any,
    xs: Any,
    length: StepCount,
    reverse: bool,
) -> tuple[Any, Any]:
    """Run `jax.lax.scan(partial(body, constants), carry, xs, length, reverse)`, with a fast gradient in reverse mode.

    The carry must be of floats. A body with effects, for example one that prints, is run by `jax.lax.scan` itself.
    """
    arrays = jax.tree.map(jnp.asarray, BodyArguments(constants, carry, xs))
    one_step = BodyArguments(
        shapes_of(arrays.constants), shapes_of(arrays.carry), shapes_of(arrays.xs, skipped_axes=1)
    )
    closed, (next_carry, outputs) = jax.make_jaxpr(body, return_shape=True)(*one_step)
    step = sorted_step(closed, *map(jax.tree.leaves, one_step))
    if step.has_effects:
        return jax.lax.scan(partial(body, constants), carry, xs, constant_length(length), reverse)

    @jax.custom_vjp
    def fused_scan(constants: Values, carry: Values, xs: Values) -> tuple[Values, Values]:
        prepared = step.prepare_constants(constants)

        def run_step(carry: Values, inputs: Values) -> tuple[Values, Values]:
            return step.run(prepared, carry, inputs, _apply)

        return jax.lax.scan(run_step, carry, xs, constant_length(length), reverse)

    def forward(*perturbed_groups: Any) -> Any:
        perturbed_xs = perturbed_groups[2]
        needs_cotangent = [leaf.perturbed and is_float(leaf.value) for leaf in perturbed_xs]
        constants, carry, xs = ([leaf.value for leaf in group] for group in perturbed_groups)
        prepared = step.prepare_constants(constants)
        backward_loop = trace_backward(
            step, needs_cotangent, shapes_of(prepared), shapes_of(carry), shapes_of(xs, skipped_axes=1)
        )

        def run_and_record(carry: Values, inputs: Values) -> Any:
            next_carry, ys, record = record_step(step, prepared, carry, inputs)
            stored = list(itertools.compress(record, backward_loop.is_stored))
            return next_carry, (ys, stored)

        last_carry, (ys, stored) = jax.lax.scan(run_and_record, carry, xs, constant_length(length), reverse)
        residuals = (jax.tree_util.Partial(backward_loop.run), constants, xs, stored)
        return (last_carry, ys), residuals

    def backward(residuals: Any, cotangents: Any) -> Any:
        run_backward, constants, xs, stored = residuals
        last_carry_bar, ys_bar = jax.tree.map(
            _instantiate_zeros, cotangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero)
        )
        prepared, transpose_preparation = jax.vjp(step.prepare_constants, constants)
        prepared_bar, carry_bar, xs_bar = run_backward(
            prepared, xs, stored, last_carry_bar, ys_bar, length, not reverse
        )
        (constants_bar,) = transpose_preparation(prepared_bar)
        return constants_bar, carry_bar, xs_bar

    fused_scan.defvjp(forward, backward, symbolic_zeros=True)
    last_carry, ys = fused_scan(*map(jax.tree.leaves, arrays))
    return _like(next_carry, last_carry), _like(outputs, ys)


def hoisted(function: Callable[[Any, Any], Any], constants: Any, xs: Any) -> Any:
    """Compute `function(constants, xs)` outside of any loop, with the gradients of weights as fast as in `scan`."""

    def body(constants: Any, carry: Any, xs: Any) -> tuple[Any, Any]:
        del carry
        return (), function(constants, xs)

    arrays = jax.tree.map(jnp.asarray, BodyArguments(constants, (), xs))
    all_steps = BodyArguments(*map(shapes_of, arrays))
    closed, (_, outputs) = jax.make_jaxpr(body, return_shape=True)(*all_steps)
    step = sorted_step(closed, *map(jax.tree.leaves, all_steps))
    if step.has_effects:
        return function(constants, xs)

    prepared = step.prepare_constants(jax.tree.leaves(arrays.constants))
    _, results = step.run(prepared, [], jax.tree.leaves(arrays.xs), _apply_hoisted)
    return _like(outputs, results)


class BodyArguments(NamedTuple):
    """The arguments of a body: pytrees of arrays, or of their shapes and dtypes.

    Attributes:
        constants: The arrays that are the same at every step.
        carry: The arrays that are passed from step to step.
        xs: The inputs.
    """

    constants: Any
    carry: Any
    xs: Any


def _like(tree: Any, leaves: Values) -> Any:
    """Return the leaves in the structure of a pytree."""
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _apply(operation: Any, *operands: Array) -> Values:
    return operation.apply(*operands)


def _apply_hoisted(operation: Any, *operands: Array) -> Values:
    if isinstance(operation, WeightMatmul):
        return operation.apply_hoisted(*operands)
    return operation.apply(*operands)


def _instantiate_zeros(cotangent: Any) -> Array:
    if isinstance(cotangent, SymbolicZero):
        return jnp.zeros(cotangent.shape, cotangent.dtype)
    return cotangent
