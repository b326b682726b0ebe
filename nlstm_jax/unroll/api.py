"""`unroll`: a cell, or a stack of cells layer by layer, along a batch of sequences."""

import functools
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

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
from nlstm_jax.cells.base import check_layer, leaves_with_names
from nlstm_jax.types import Array, Bool, Carry, Float, Int, Params, PRNGKeyArray
from nlstm_jax.unroll import cudnn
from nlstm_jax.unroll.blocks import block_size
from nlstm_jax.unroll.scan import LayerState, ScanOptions, StepMasks, scan

MODES = ("auto", "scan", "fused", "cudnn")
AUTO = "fused"
"""What "auto" is, where it serves."""


@overload
def unroll(
    cell: Layer,
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
    cell: Layer,
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
    cell: Layer,
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
        cell: any cell, a `Bidirectional`, or a `Stack` of either; a stack is run layer by layer, which for cells is
            the same as stepping it, and faster.
        params: its parameters.
        xs: inputs [T, B, D].
        carry: the memory to start from; None: the cell's initial carry.
        lengths: how many steps each sequence has; past them outputs are zero and the carry is frozen, and a
            sequence of length 0 returns the carry it started from.
        mask: False copies the carry through a step and zeroes its output.
        resets: True puts the cell's initial carry in place before a step (at a masked step too, but not past a
            sequence's end), before in the order in which steps are run. What a reset parts is parted for both cells
            of a `Bidirectional`.
        reverse: from the last valid step to the first; `ys[t]` belongs to `xs[t]` all the same, and padding stays
            where it is.
        key: draws the cell's noise (dropout); None: no noise.
        return_carries: also return the carry after every step.
        mode: "scan" is plain `jax.lax.scan`, the definition of right; "fused" equals it to rounding, is differentiated
            faster and with less memory, and not in forward mode (`jax.jvp`, for which ask for "scan"); a step that
            prints or calls back (`jax.debug`) is scanned by it too; "auto" is "fused" where that serves.
            "cudnn" is NVIDIA's, for LSTMs without options in float32, without mask, resets and blocks.
        remat: keep, for the way back, only carries so many steps apart, True: about √T, and compute the rest anew:
            what a gradient stores then grows with √T. None, False or 0: keep what is needed.
        truncate: truncated backpropagation through time: the sequence is cut into blocks of so many steps, from where
            the run begins; the carry passes from one to the next, and the gradient does not. None or 0: no blocks.

    Returns:
        The last carry and the outputs ys [T, B, O]; with `return_carries` also all carries, leading axes [T, B].

    Raises:
        ValueError: what does not fit, an unknown mode, `mode="fused"` for a cell whose carry is not all floats,
            `mode="cudnn"` where there is no cuDNN or for what it has not got, or a block of no steps.

    >>> from nlstm_jax.cells import nested_lstm
    >>> cell = nested_lstm(features=4, depth=2)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, ys = unroll(cell, params, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
    >>> ys.shape
    (5, 2, 4)
    """
    if mode not in MODES:
        raise ValueError(f"unroll: mode: one of {', '.join(MODES)} expected, found {mode!r}")
    check_layer("unroll", "cell", cell)
    _check_array("xs", xs, jnp.inexact)
    if xs.ndim != 3:
        raise ValueError(f"unroll: xs: [T, B, D] expected, found the shape {xs.shape}")
    length, batch, width = xs.shape
    for name, switch in (("reverse", reverse), ("return_carries", return_carries)):
        if not isinstance(switch, bool):
            raise ValueError(f"unroll: {name}: True or False expected, found {switch!r}")
    sqrt = isinstance(remat, bool)
    blocks = {"remat": 0 if sqrt else _whole("remat", remat), "truncate": _whole("truncate", truncate)}
    if sqrt and remat:
        blocks["remat"] = block_size(blocks["truncate"] or length)
    _check_key(key)
    for name, given, kind, shape in (
        ("lengths", lengths, jnp.integer, (batch,)),
        ("mask", mask, jnp.bool_, (length, batch)),
        ("resets", resets, jnp.bool_, (length, batch)),
    ):
        if given is not None:
            _check_array(name, given, kind)
            if given.shape != shape:
                raise ValueError(f"unroll: {name}: the shape {shape} expected, found {given.shape}")
    if lengths is not None and not isinstance(lengths, jax.core.Tracer):
        for index in np.flatnonzero((np.asarray(lengths) < 0) | (np.asarray(lengths) > length))[:1].tolist():
            raise ValueError(f"unroll: lengths[{index}]: 0 to T = {length} expected, found {int(lengths[index])}")
    _check_tree("params", cell, params, _parameter_shapes(cell, width), f"on inputs of width {width}")
    carry_shapes = jax.eval_shape(lambda: cell.initial_carry((batch,)))
    if carry is not None:
        _check_tree("carry", cell, carry, carry_shapes, f"of {batch} sequences")

    if mode == "cudnn":
        asked = {name: steps or None for name, steps in blocks.items()}
        cudnn.check(cell, params, mask=mask, resets=resets, return_carries=return_carries, **asked)
    params, noise = cell.sample_noise(params, key, xs.shape)
    fresh = _initial_carry(cell, params, batch)
    part = LayerState(params, noise, fresh if carry is None else carry, fresh)
    marks, loop = _marks(length, lengths, mask, resets), _mode(cell, carry_shapes, mode)
    course = ScanOptions(marks, reverse, return_carries, loop, **blocks)
    carry, ys, carries = _run(cell, xs, part, course)
    return (carry, ys, carries) if return_carries else (carry, ys)


def _mode(cell: Layer, carry_shapes: Carry, mode: str) -> str:
    """Which loop runs: if not asked for another the fused one, but for carries that have no gradient."""
    if mode == "cudnn":
        return mode
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(carry_shapes)}
    served = all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes)
    if mode == "fused" and not served:
        found = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"unroll: mode='fused': a carry of floats expected, found {found} in {spec_repr(cell)}'s")
    return "fused" if served and (mode if mode != "auto" else AUTO) == "fused" else "scan"


def _run(
    layer: Layer, xs: Float[Array, "T B D"], part: LayerState, course: ScanOptions
) -> tuple[Carry, Float[Array, "T B O"], Carry | None]:
    if isinstance(layer, Stack):
        return _run_stack(layer, xs, part, course)
    if isinstance(layer, Bidirectional):
        return _run_both_ways(layer, xs, part, course)
    assert isinstance(layer, Cell)
    return scan(layer, xs, part, course)


def _run_both_ways(
    layer: Bidirectional, xs: Float[Array, "T B D"], part: LayerState, course: ScanOptions
) -> tuple[Carry, Float[Array, "T B O"], Carry | None]:
    whole = part._replace(noise=part.noise or BidirectionalNoise((), ()))
    there = _run(layer.forward, xs, LayerState(*(each.forward for each in whole)), course)
    back = _run(layer.backward, xs, LayerState(*(each.backward for each in whole)), course.reversed_in_time())
    ends, ys, carries = zip(there, back, strict=True)
    kept = BidirectionalCarry(*carries) if course.return_carries else None
    return BidirectionalCarry(*ends), layer.merged(*ys), kept


def _run_stack(
    stack: Stack, xs: Float[Array, "T B D"], part: LayerState, course: ScanOptions
) -> tuple[Carry, Float[Array, "T B O"], Carry | None]:
    params, noise, carry, fresh = part
    ends, every, ys = [], [], None
    for index, layer in enumerate(stack.cells):
        layer_noise = noise.layers[index] if noise else ()
        own = LayerState(params.layers[index], layer_noise, carry.layers[index], fresh.layers[index])
        layer_xs = xs if ys is None else stack.layer_input(index, ys, xs, noise)
        end, out, carries = _run(layer, layer_xs, own, course)
        ends.append(end)
        every.append(carries)
        ys = stack.layer_output(ys, out)
    assert ys is not None
    return StackCarry(tuple(ends)), ys, StackCarry(tuple(every)) if course.return_carries else None


def _check_array(name: str, given: Any, kind: Any) -> None:
    dtype = getattr(given, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, kind):
        wanted = {jnp.inexact: "floats", jnp.integer: "integers", jnp.bool_: "booleans"}[kind]
        found = type(given).__name__ if dtype is None else f"one of {dtype}"
        raise ValueError(f"unroll: {name}: an array of {wanted} expected, found {found}")


def _whole(name: str, steps: Any) -> int:
    """A number of steps, 0 for None."""
    number = 0 if steps is None else steps
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 0:
        wanted = "None, True, False" if name == "remat" else "None"
        raise ValueError(f"unroll: {name}: {wanted} or a whole number of steps ≥ 0 expected, found {steps!r}")
    return int(number)


def _check_key(key: Any) -> None:
    if key is None:
        return
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not (typed and key.shape == ()) and not (dtype == jnp.uint32 and key.ndim == 1):
        found = type(key).__name__ if dtype is None else f"an array of {dtype} of shape {key.shape}"
        raise ValueError(f"unroll: key: one key, as of jax.random.key(0), expected, found {found}")


def _check_tree(name: str, cell: Layer, given: Any, expected: Any, where: str) -> None:
    """Raise a ValueError unless `given` has the leaves, and their shapes, that it must have."""
    wanted, found = ({path: jnp.shape(leaf) for path, leaf in leaves_with_names(tree)} for tree in (expected, given))
    structures: Any = jax.tree.structure(given), jax.tree.structure(expected)
    if structures[0] == structures[1] and wanted == found:
        return
    path = next((path for path in {**wanted, **found} if wanted.get(path) != found.get(path)), "")
    told = (
        f"{path} of shape {wanted[path]} expected, found {found.get(path, 'none')}"
        if path in wanted
        else f"{type(expected).__name__} expected, found {type(given).__name__}{f' with {path}' if path else ''}"
    )
    raise ValueError(f"unroll: {name}: {spec_repr(cell)} {where}: {told}")


@functools.lru_cache(maxsize=1024)
def _parameter_shapes(cell: Layer, width: int) -> Params:
    return jax.eval_shape(lambda: cell.init(jax.random.key(0), width))


def _initial_carry(cell: Layer, params: Params, batch: int) -> Carry:
    """The cell's initial carry, what is floats in the parameters' own precision, float32 at least."""
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))

    def precise(leaf: Array) -> Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(precise, cell.initial_carry((batch,)))


def _marks(length: int, lengths: Array | None, mask: Array | None, resets: Array | None) -> StepMasks:
    """`lengths` and `mask` as one mask; no reset past a sequence's end."""
    if lengths is None:
        return StepMasks(mask, resets, None)
    within = jnp.arange(length)[:, None] < lengths
    valid = within if mask is None else mask & within
    return StepMasks(valid, None if resets is None else resets & within, within)
