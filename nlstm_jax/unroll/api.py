"""The function `unroll`, which runs a cell or a stack of cells along a batch of sequences."""

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from nlstm_jax.cells import Layer, MinimalCell, complete
from nlstm_jax.cells.base import check_layer
from nlstm_jax.types import Array, Bool, Carry, Float, Int, Params, PRNGKeyArray
from nlstm_jax.unroll import cudnn, validate
from nlstm_jax.unroll.dispatch import choose_loop, run_layer
from nlstm_jax.unroll.options import LayerState, ScanOptions, StepMasks


@overload
def unroll(
    cell: Layer | MinimalCell,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    key: PRNGKeyArray | None = None,
    return_carries: Literal[False] = False,
    mode: str = "auto",
    remat: int | None = None,
    truncate: int | None = None,
) -> tuple[Carry, Array]: ...


@overload
def unroll(
    cell: Layer | MinimalCell,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    key: PRNGKeyArray | None = None,
    return_carries: Literal[True],
    mode: str = "auto",
    remat: int | None = None,
    truncate: int | None = None,
) -> tuple[Carry, Array, Carry]: ...


def unroll(
    cell: Layer | MinimalCell,
    params: Params,
    xs: Float[Array, "T B D"],
    carry: Carry | None = None,
    *,
    lengths: Int[Array, "B"] | None = None,
    mask: Bool[Array, "T B"] | None = None,
    resets: Bool[Array, "T B"] | None = None,
    reverse: bool = False,
    key: PRNGKeyArray | None = None,
    return_carries: bool = False,
    mode: str = "auto",
    remat: int | None = None,
    truncate: int | None = None,
) -> Any:
    """Run `cell` along a batch of sequences, time-major.

    Args:
        cell: The layer to run: a cell, which has at least what `MinimalCell` has, a `Bidirectional`, or a `Stack` of
            either. A stack is run layer by layer, which for cells gives the same results as stepping the stack, and is
            faster.
        params: The parameters of `cell`.
        xs: The inputs [T, B, D].
        carry: The carry to start from; None: the initial carry of the cell.
        lengths: The number of steps of each sequence [B]. Past its end a sequence has zero outputs and keeps its
            carry. A sequence of length 0 returns the carry it started from.
        mask: False at steps that are skipped [T, B]: the carry is copied through the step and the output is zero.
        resets: True at steps before which the carry is set to the initial carry of the cell [T, B]. Steps are meant in
            the order in which they are run. A masked step resets too; a step past the end of a sequence does not. In a
            `Bidirectional` a reset separates the same steps for both cells.
        reverse: True to run from the last valid step to the first. `ys[t]` still belongs to `xs[t]`, and padding stays
            where it is.
        key: The random key of the cell's noise (dropout); None: no noise.
        return_carries: True to also return the carry after every step.
        mode: The loop. "scan" is the plain `jax.lax.scan`, the definition of right. "fused" equals it to rounding and
            is differentiated faster and with less memory. It has no forward mode (`jax.jvp`); use "scan" for that. A
            step that prints or calls back (`jax.debug`) is run by the plain scan in "fused" too. "auto" is "fused"
            for carries of floats, and "scan" for others. "native" is the fused loop in compiled C++, on a CPU, in
            float32 and float64, for steps that keep the rows of the batch apart. "cudnn" is NVIDIA's kernel, for LSTMs
            without options in float32, without mask, resets, returned carries and blocks.
        remat: Rematerialization: the backward pass stores only one carry in so many steps and computes the rest again.
            True takes about √T steps, so that the memory of a gradient grows with √T. None, False or 0 stores
            everything that the backward pass needs.
        truncate: Truncated backpropagation through time: the sequence is cut into blocks of so many steps, counted
            from where the run begins. The carry passes from one block to the next, the gradient does not. None or 0:
            no blocks.

    Returns:
        The last carry and the outputs ys [T, B, O]. With `return_carries` a third value: the carries after every step,
        with the leading axes [T, B].

    Raises:
        ValueError: An argument does not fit the cell or another argument; a step returns a carry of another type than
            it was given, as with inputs or a carry of another float type; the mode is unknown; a number of steps is
            negative; `mode` is "fused" or "native" and the carry is not all floats; `mode` is "native" and the step
            has an operation that it lacks, or there is no compiler; `mode` is "cudnn" and there is no NVIDIA GPU, or
            an option is used that cuDNN does not support.

    >>> from nlstm_jax.cells import nested_lstm
    >>> cell = nested_lstm(features=4, depth=2)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, ys = unroll(cell, params, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
    >>> ys.shape
    (5, 2, 4)
    """
    # Check the arguments.
    validate.check_mode(mode)
    cell = complete(cell)
    check_layer("unroll", "cell", cell)
    validate.check_inputs(xs)
    length, batch, width = xs.shape
    validate.check_flag("reverse", reverse)
    validate.check_flag("return_carries", return_carries)
    remat_size, truncate_size = validate.block_sizes(remat, truncate, length)
    validate.check_key(key)
    validate.check_array("lengths", lengths, jnp.integer, (batch,))
    validate.check_array("mask", mask, jnp.bool_, (length, batch))
    validate.check_array("resets", resets, jnp.bool_, (length, batch))
    validate.check_lengths(lengths, length)
    validate.check_params(cell, params, width)
    carry_shapes = jax.eval_shape(lambda: cell.initial_carry((batch,)))
    validate.check_carry(cell, carry, carry_shapes, batch)
    if mode == "cudnn":
        cudnn.check(
            cell,
            params,
            mask=mask,
            resets=resets,
            return_carries=return_carries,
            remat=remat_size or None,
            truncate=truncate_size or None,
        )

    # Draw the noise, and choose where and how to start.
    params, noise = cell.sample_noise(params, key, xs.shape)
    initial_carry = _initial_carry(cell, params, batch)
    if carry is None:
        carry = initial_carry
    state = LayerState(params, noise, carry, initial_carry)
    options = ScanOptions(
        masks=StepMasks.from_arguments(length, lengths, mask, resets),
        reverse=reverse,
        return_carries=return_carries,
        mode=choose_loop(cell, carry_shapes, mode),
        remat=remat_size,
        truncate=truncate_size,
    )

    # Run the layers over time.
    last_carry, ys, carries = run_layer(cell, xs, state, options)
    if return_carries:
        return last_carry, ys, carries
    return last_carry, ys


def _initial_carry(cell: Layer, params: Params, batch: int) -> Carry:
    """Return the cell's initial carry, with floats in the precision of the parameters, but at least in float32."""
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))

    def with_precision(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf.astype(dtype)
        return leaf

    return jax.tree.map(with_precision, cell.initial_carry((batch,)))
