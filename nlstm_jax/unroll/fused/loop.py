"""The forward loop, which records values for the backward loop, and their union by `jax.custom_vjp`."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from nlstm_jax.types import Array, PyTree
from nlstm_jax.unroll.fused.backward import Scan, record_step, trace_backward
from nlstm_jax.unroll.fused.equations import Values, is_float, shapes_of, with_leaves
from nlstm_jax.unroll.fused.operations import GateActivations, Pattern, WeightMatmul
from nlstm_jax.unroll.fused.step import Handler, apply_operation, sorted_step
from nlstm_jax.unroll.options import StepCount
from nlstm_jax.unroll.scan import constant_length


class Loop(NamedTuple):
    """What runs the forward loop and the backward loop.

    Attributes:
        scan: The loop, with the arguments and results of `jax.lax.scan`.
        apply: The function that computes a `WeightMatmul` or `GateActivations`; None: that which XLA runs fastest.
    """

    scan: Scan
    apply: Handler | None


XLA_LOOP = Loop(jax.lax.scan, None)

CarryT = TypeVar("CarryT")
Outputs = TypeVar("Outputs")


def scan(
    body: Callable[[PyTree, CarryT, PyTree], tuple[CarryT, Outputs]],
    constants: PyTree,
    carry: CarryT,
    xs: PyTree,
    length: StepCount,
    reverse: bool,
    loop: Loop = XLA_LOOP,
) -> tuple[CarryT, Outputs]:
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
        # XLA splits the one pass over all gates among threads. Two such splits a step cost more than they save.
        fastest = _apply_unrecorded if step.gated_operations == 1 else apply_operation
        apply = loop.apply or fastest

        def run_step(carry: Values, inputs: Values) -> tuple[Values, Values]:
            return step.run(prepared, carry, inputs, apply)

        return loop.scan(run_step, carry, xs, constant_length(length), reverse)

    def forward(*perturbed_groups: Values) -> tuple[tuple[Values, Values], PyTree]:
        perturbed_xs = perturbed_groups[2]
        needs_cotangent = [leaf.perturbed and is_float(leaf.value) for leaf in perturbed_xs]
        constants, carry, xs = ([leaf.value for leaf in group] for group in perturbed_groups)
        prepared = step.prepare_constants(constants)
        backward_loop = trace_backward(
            step, needs_cotangent, shapes_of(prepared), shapes_of(carry), shapes_of(xs, skipped_axes=1), loop.scan
        )

        def run_and_record(carry: Values, inputs: Values) -> tuple[Values, tuple[Values, Values]]:
            next_carry, ys, record = record_step(step, prepared, carry, inputs, loop.apply or apply_operation)
            stored = list(itertools.compress(record, backward_loop.is_stored))
            return next_carry, (ys, stored)

        last_carry, (ys, stored) = loop.scan(run_and_record, carry, xs, constant_length(length), reverse)
        residuals = (jax.tree_util.Partial(backward_loop.run), constants, xs, stored)
        return (last_carry, ys), residuals

    def backward(residuals: PyTree, cotangents: PyTree) -> tuple[Values, Values, Values]:
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
    return with_leaves(next_carry, last_carry), with_leaves(outputs, ys)


def hoisted(function: Callable[[PyTree, PyTree], Outputs], constants: PyTree, xs: PyTree) -> Outputs:
    """Compute `function(constants, xs)` outside of any loop, with the gradients of weights as fast as in `scan`."""

    def body(constants: PyTree, carry: PyTree, xs: PyTree) -> tuple[tuple[()], Outputs]:
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
    return with_leaves(outputs, results)


class BodyArguments(NamedTuple):
    """The arguments of a body: pytrees of arrays, or of their shapes and dtypes.

    Attributes:
        constants: The arrays that are the same at every step.
        carry: The arrays that are passed from step to step.
        xs: The inputs.
    """

    constants: PyTree
    carry: PyTree
    xs: PyTree


def _apply_unrecorded(operation: Pattern, *operands: Array) -> Values:
    """Compute an operation whose results no backward loop needs."""
    if isinstance(operation, GateActivations):
        return operation.apply_unrecorded(*operands)
    return operation.apply(*operands)


def apply_each_gate(operation: Pattern, *operands: Array) -> Values:
    """Compute an operation, with the activation of each gate as an operation of its own."""
    if isinstance(operation, GateActivations):
        return operation.apply_each(*operands)
    return operation.apply(*operands)


def _apply_hoisted(operation: Pattern, *operands: Array) -> Values:
    if isinstance(operation, WeightMatmul):
        return operation.apply_hoisted(*operands)
    return operation.apply(*operands)


def _instantiate_zeros(cotangent: Array | SymbolicZero) -> Array:
    if isinstance(cotangent, SymbolicZero):
        return jnp.zeros(cotangent.shape, cotangent.dtype)
    return cotangent
