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
from nlstm_jax.unroll.fused.step import Step, trace_step


def scan(
    body: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, xs: Any, length: int, reverse: bool
) -> tuple[Any, Any]:
    """Run `jax.lax.scan(partial(body, constants), carry, xs, length, reverse)`, with a fast gradient in reverse mode.

    The carry must be of floats. A body with effects, for example one that prints, is run by `jax.lax.scan` itself.
    """
    traced = _trace_body(body, constants, carry, xs, time_axes=1)
    step = traced.step
    if step.has_effects:
        return jax.lax.scan(partial(body, constants), carry, xs, length, reverse)

    @jax.custom_vjp
    def fused_scan(constants: Values, carry: Values, xs: Values) -> tuple[Values, Values]:
        prepared = step.prepare_constants(constants)

        def run_step(carry: Values, inputs: Values) -> tuple[Values, Values]:
            return step.run(prepared, carry, inputs, _apply)

        return jax.lax.scan(run_step, carry, xs, length, reverse)

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

        last_carry, (ys, stored) = jax.lax.scan(run_and_record, carry, xs, length, reverse)
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
    last_carry, ys = fused_scan(traced.constants, traced.carry, traced.xs)
    return traced.unflatten_results(last_carry, ys)


def hoisted(function: Callable[[Any, Any], Any], constants: Any, xs: Any) -> Any:
    """Compute `function(constants, xs)` outside of any loop, with the gradients of weights as fast as in `scan`."""

    def body(constants: Any, carry: Any, xs: Any) -> tuple[Any, Any]:
        del carry
        return (), function(constants, xs)

    traced = _trace_body(body, constants, (), xs, time_axes=0)
    step = traced.step
    if step.has_effects:
        return function(constants, xs)

    prepared = step.prepare_constants(traced.constants)
    carry, outputs = step.run(prepared, traced.carry, traced.xs, _apply_hoisted)
    _, results = traced.unflatten_results(carry, outputs)
    return results


class TracedBody(NamedTuple):
    """A body of pytrees as a step of lists, and its arguments as lists.

    Attributes:
        step: The step.
        constants: The leaves of the constants.
        carry: The leaves of the carry.
        xs: The leaves of the inputs.
        unflatten_results: The function that rebuilds the pytrees of a carry and outputs from their leaves.
    """

    step: Step
    constants: Values
    carry: Values
    xs: Values
    unflatten_results: Callable[[Values, Values], tuple[Any, Any]]


def _trace_body(
    body: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, xs: Any, time_axes: int
) -> TracedBody:
    """Trace a body of pytrees.

    Args:
        body: The function (constants, carry, inputs) → (carry, outputs).
        constants: The arrays that are the same at every step.
        carry: The arrays that are passed from step to step.
        xs: The inputs.
        time_axes: The number of leading axes that `xs` has and the inputs of the body have not: 1 for steps of a loop,
            0 for all steps at once.
    """
    arguments = jax.tree.map(jnp.asarray, (constants, carry, xs))
    leaves, structures = zip(*map(jax.tree.flatten, arguments), strict=True)
    constant_leaves, carry_leaves, xs_leaves = leaves
    result_structures: list[Any] = []

    def body_of_lists(*groups: Values) -> tuple[Values, Values]:
        next_carry, outputs = body(*map(jax.tree.unflatten, structures, groups))
        result_structures[:] = [jax.tree.structure(next_carry), jax.tree.structure(outputs)]
        return jax.tree.leaves(next_carry), jax.tree.leaves(outputs)

    step = trace_step(
        body_of_lists, shapes_of(constant_leaves), shapes_of(carry_leaves), shapes_of(xs_leaves, time_axes)
    )

    def unflatten_results(next_carry: Values, outputs: Values) -> tuple[Any, Any]:
        carry_structure, outputs_structure = result_structures
        return jax.tree.unflatten(carry_structure, next_carry), jax.tree.unflatten(outputs_structure, outputs)

    return TracedBody(step, constant_leaves, carry_leaves, xs_leaves, unflatten_results)


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
