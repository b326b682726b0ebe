"""The choice of the loop, and layers over time: a stack layer by layer, a bidirectional layer in both directions."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from nlstm_jax.cells import (
    Bidirectional,
    BidirectionalCarry,
    BidirectionalNoise,
    Cell,
    Layer,
    Stack,
    StackCarry,
    spec_repr,
)
from nlstm_jax.types import Array, Bool, Carry, Float, Noise, Params, Projected, PyTree
from nlstm_jax.unroll import cudnn, fused, native, validate
from nlstm_jax.unroll.blocks import ScanChunk, rematerialized, truncated
from nlstm_jax.unroll.options import LayerState, ScanOptions, StepCount
from nlstm_jax.unroll.scan import StepConstants, StepInputs, scan, select

AUTO = "fused"
"""The loop that `mode="auto"` chooses for carries that it serves: "fused" or "scan"."""

LayerOutputs: TypeAlias = tuple[Carry, Float[Array, "T B O"], Carry | None]
"""(last carry, outputs, carries after every step [T, B, ...] or None)."""


class SequenceInputs(NamedTuple):
    """The arrays of a run that have the leading axis T.

    Attributes:
        xs: The inputs.
        noise: The noise, or an empty tuple.
        valid: False at steps that are skipped; None: nowhere.
        resets: True at steps before which the carry is reset; None: nowhere.
    """

    xs: Float[Array, "T B D"]
    noise: Noise
    valid: Bool[Array, "T B"] | None
    resets: Bool[Array, "T B"] | None


def choose_loop(cell: Layer, carry_shapes: Carry, mode: str) -> str:
    """Return the loop that serves: "scan", "fused", "native" or "cudnn".

    The fused loop differentiates every leaf of the carry, so it serves carries of floats only, as the native one.

    Args:
        cell: The layer, named in the error.
        carry_shapes: The shapes and dtypes of its carry.
        mode: The mode that the caller asked for.

    Raises:
        ValueError: `mode` is "fused" or "native" and a leaf of the carry is not of floats.
    """
    if mode == "cudnn":
        return "cudnn"

    dtypes = {leaf.dtype for leaf in jax.tree.leaves(carry_shapes)}
    all_floats = all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes)
    if mode in ("fused", "native") and not all_floats:
        names = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"unroll: mode={mode!r}: a carry of floats expected, found {names} in {spec_repr(cell)}'s")

    if mode == "auto":
        mode = AUTO
    if mode in ("fused", "native") and all_floats:
        return mode
    return "scan"


def run_layer(layer: Layer, xs: Float[Array, "T B D"], state: LayerState, options: ScanOptions) -> LayerOutputs:
    """Run a cell, a stack or a bidirectional layer along a batch of sequences."""
    if isinstance(layer, Stack):
        return _run_stack(layer, xs, state, options)
    if isinstance(layer, Bidirectional):
        return _run_bidirectional(layer, xs, state, options)
    assert isinstance(layer, Cell)
    if options.mode == "cudnn":
        return _run_cudnn(layer, xs, state, options)

    project: Callable[[Params, Array], Projected] = layer.project
    loop: Callable[..., tuple[Carry, PyTree]] = scan
    if options.mode in ("fused", "native"):
        project = partial(fused.hoisted, layer.project)
        loop = fused.scan
    if options.mode == "native":
        loop = partial(fused.scan, loop=native.LOOP)
    body = partial(masked_step, layer, options.return_carries)
    constants = StepConstants(state.params, state.initial_carry)

    def scan_chunk(
        carry: Carry, inputs: SequenceInputs, length: StepCount
    ) -> tuple[Carry, tuple[Float[Array, "T B O"], Carry | None]]:
        z = project(state.params, inputs.xs)
        steps = StepInputs(z, inputs.noise, inputs.valid, inputs.resets)
        return loop(body, constants, carry, steps, length, options.reverse)

    run: ScanChunk = scan_chunk
    if options.remat:
        run = rematerialized(run, options.remat, options.reverse)
    if options.truncate:
        run = truncated(run, options.truncate, options.reverse)

    masks = options.masks
    step_inputs = SequenceInputs(xs, state.noise, masks.valid, masks.resets)
    validate.check_carry_dtypes(layer, partial(_next_carry, layer), state, step_inputs)
    inputs = SequenceInputs(_without_padding(xs, options), state.noise, masks.valid, masks.resets)
    last_carry, (ys, carries) = run(state.carry, inputs, xs.shape[0])
    return last_carry, ys, carries


def _next_carry(layer: Cell, state: LayerState, inputs: SequenceInputs) -> Carry:
    """Return the carry after one step."""
    z = layer.project(state.params, inputs.xs)
    constants = StepConstants(state.params, state.initial_carry)
    steps = StepInputs(z, inputs.noise, inputs.valid, inputs.resets)
    next_carry, _ = masked_step(layer, False, constants, state.carry, steps)
    return next_carry


def masked_step(
    cell: Cell, return_carry: bool, constants: StepConstants, carry: Carry, inputs: StepInputs
) -> tuple[Carry, tuple[Float[Array, "B O"], Carry | None]]:
    """Take one step of `cell`: reset the carry, step, and skip the sequences whose step is not valid.

    A skipped sequence keeps its carry, and its output is zero.

    Returns:
        The next carry; and the output, with the next carry or None, which the loop stacks over time.
    """
    if inputs.reset is not None:
        carry = select(inputs.reset, constants.initial_carry, carry)

    next_carry, y = cell.step(constants.params, carry, inputs.z, inputs.noise)

    if inputs.valid is not None:
        next_carry = select(inputs.valid, next_carry, carry)
        y = select(inputs.valid, y, jnp.zeros_like(y))
    return next_carry, (y, next_carry if return_carry else None)


def _run_stack(stack: Stack, xs: Float[Array, "T B D"], state: LayerState, options: ScanOptions) -> LayerOutputs:
    last_carries = []
    carries_of_layers = []
    ys = None
    for index, layer in enumerate(stack.cells):
        layer_noise = state.noise.layers[index] if state.noise else ()
        layer_state = LayerState(
            state.params.layers[index],
            layer_noise,
            state.carry.layers[index],
            state.initial_carry.layers[index],
        )
        layer_xs = xs if ys is None else stack.layer_input(index, ys, xs, state.noise)
        last_carry, layer_ys, carries = run_layer(layer, layer_xs, layer_state, options)
        last_carries.append(last_carry)
        carries_of_layers.append(carries)
        ys = stack.layer_output(ys, layer_ys)

    assert ys is not None
    all_carries = StackCarry(tuple(carries_of_layers)) if options.return_carries else None
    return StackCarry(tuple(last_carries)), ys, all_carries


def _run_bidirectional(
    layer: Bidirectional, xs: Float[Array, "T B D"], state: LayerState, options: ScanOptions
) -> LayerOutputs:
    if not state.noise:
        state = state._replace(noise=BidirectionalNoise((), ()))
    forward_state = LayerState(*(pair.forward for pair in state))
    backward_state = LayerState(*(pair.backward for pair in state))

    forward = run_layer(layer.forward, xs, forward_state, options)
    backward = run_layer(layer.backward, xs, backward_state, options.reversed_in_time())

    last_carries, ys, carries = zip(forward, backward, strict=True)
    all_carries = BidirectionalCarry(*carries) if options.return_carries else None
    return BidirectionalCarry(*last_carries), layer.merged(*ys), all_carries


def _run_cudnn(cell: Cell, xs: Float[Array, "T B D"], state: LayerState, options: ScanOptions) -> LayerOutputs:
    xs = _without_padding(xs, options)
    lengths = None
    if options.masks.in_sequence is not None:
        lengths = options.masks.in_sequence.sum(0)
    last_carry, ys = cudnn.lstm(state.params, xs, state.carry, lengths, options.reverse)
    return last_carry, ys, None


def _without_padding(xs: Float[Array, "T B D"], options: ScanOptions) -> Float[Array, "T B D"]:
    """Replace the inputs of steps that are not valid by zeros.

    Values in the padding must not reach a gradient as 0 · NaN.
    """
    if options.masks.valid is None:
        return xs
    return select(options.masks.valid, xs, jnp.zeros_like(xs))
