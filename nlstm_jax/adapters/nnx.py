"""Flax NNX modules: a recurrent layer for Flax models, and a cell for Flax's own `nnx.RNN`."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.cells import Cell, Layer, MinimalCell, complete, is_stochastic, spec_repr
from nlstm_jax.cells.base import check_layer
from nlstm_jax.types import Array, Carry, Float, Params, PRNGKeyArray, PyTree
from nlstm_jax.unroll import unroll

Tree = TypeVar("Tree")


class Recurrent(nnx.Module):
    """A cell or another layer over time, as one layer of a Flax model; batch-major by default.

    The noise of dropout and zoneout is drawn at every call from the stream `dropout` of the `rngs` that the layer was
    made with. A deterministic layer draws none; `model.eval()` makes a layer deterministic. A `key` that is passed to
    the call is used in either case.

    Attributes:
        cell: The specification of the cell or layer.
        in_features: D, the number of input features.
        params: The cell's NamedTuple with an `nnx.Param` at every leaf, so that Flax sees, saves and names them.
        time_major: True if sequences are [T, B, D] instead of [B, T, D].
        deterministic: True if no noise is drawn.
        draws: True if a call without a `key` draws noise unless the layer is deterministic.
        mode: The argument `mode` of `unroll`.
        remat: The argument `remat` of `unroll`.
        truncate: The argument `truncate` of `unroll`.

    >>> from nlstm_jax.cells import LSTM
    >>> layer = Recurrent(LSTM(4), in_features=3, rngs=nnx.Rngs(0))
    >>> carry, ys = layer(jnp.ones((2, 5, 3)), lengths=jnp.array([5, 2]))
    >>> ys.shape
    (2, 5, 4)
    """

    def __init__(
        self,
        cell: Layer | MinimalCell,
        in_features: int,
        *,
        time_major: bool = False,
        deterministic: bool = False,
        mode: str = "auto",
        remat: int | None = None,
        truncate: int | None = None,
        rngs: nnx.Rngs | PRNGKeyArray,
    ) -> None:
        """Draw the parameters.

        Args:
            cell: The specification of the cell or layer.
            in_features: D, the number of input features.
            time_major: True if sequences are [T, B, D] instead of [B, T, D].
            deterministic: True to draw no noise.
            mode: The argument `mode` of `unroll`.
            remat: The argument `remat` of `unroll`.
            truncate: The argument `truncate` of `unroll`.
            rngs: The stream `params`, and the stream `dropout` for a cell that draws noise. Alternatively one key for
                the parameters alone; noise is then drawn only from a key that is passed to the call.
        """
        cell = complete(cell)
        check_layer("Recurrent", "cell", cell)
        self.cell = cell
        self.in_features = in_features
        self.time_major = time_major
        self.deterministic = deterministic
        self.mode = mode
        self.remat = remat
        self.truncate = truncate
        self.params = _init_params(cell, in_features, rngs)

        has_streams = isinstance(rngs, nnx.Rngs)
        self.draws = has_streams and is_stochastic(cell, in_features)
        noise_stream = getattr(rngs, "dropout", None) if self.draws else None
        if noise_stream is None:
            self.rngs = nnx.data(None)
        else:
            self.rngs = noise_stream.fork()

    @property
    def values(self) -> Params:
        """The parameters as plain arrays, in the cell's NamedTuple."""
        return _param_values(self.params)

    def load(self, params: Params) -> None:
        """Replace the parameters, e.g. by converted ones.

        Raises:
            ValueError: The new parameters have other shapes.
        """
        shapes = jax.tree.map(jnp.shape, params)
        expected = jax.tree.map(jnp.shape, self.values)
        if shapes != expected:
            raise ValueError(f"the shapes {expected} expected, found {shapes}")
        self.params = nnx.data(jax.tree.map(nnx.Param, params))

    def __call__(
        self,
        xs: Float[Array, "#T #B D"],
        carry: Carry | None = None,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        reverse: bool = False,
        go_backwards: bool = False,
        key: PRNGKeyArray | None = None,
        return_carries: bool = False,
    ) -> tuple[PyTree, ...]:
        """Call `unroll`, with xs, mask, resets, ys and carries batch-major unless `time_major`.

        Args:
            xs: The inputs [B, T, D].
            carry: The carry before the first step, as for `unroll`.
            lengths: The lengths of the sequences, as for `unroll`.
            mask: The steps [B, T] that count, as for `unroll`.
            resets: The steps [B, T] before which the carry is reset, as for `unroll`.
            reverse: True to run from the last step to the first, as for `unroll`.
            go_backwards: True for `reverse` with the outputs in the order in which they are computed, as in Keras.
            key: The key that the noise is drawn from, instead of the stream `dropout`.
            return_carries: True to return the carries of all steps too, as for `unroll`.

        Returns:
            The last carry and the outputs [B, T, O]; with `return_carries` also all carries.

        Raises:
            ValueError: `unroll` raises one; or noise is to be drawn, and there is neither a key nor a stream.
        """
        if not self.time_major:
            _check_batch_major(xs, mask, resets)
        if key is None and self.draws and not self.deterministic:
            if self.rngs is None:
                raise ValueError(
                    "Recurrent: a key, deterministic=True, or a stream 'dropout' in the rngs that it was made with, "
                    f"expected for {spec_repr(self.cell)}, found none of them"
                )
            key = self.rngs()

        options: dict[str, Any] = {
            "lengths": lengths,
            "mask": self._swap_time_batch(mask),
            "resets": self._swap_time_batch(resets),
            "reverse": reverse or go_backwards,
            "key": key,
            "return_carries": return_carries,
            "mode": self.mode,
            "remat": self.remat,
            "truncate": self.truncate,
        }
        carry, ys, *carries = unroll(self.cell, self.values, self._swap_time_batch(xs), carry, **options)
        if go_backwards:
            ys = jnp.flip(ys, axis=0)
        return (carry, self._swap_time_batch(ys), *map(self._swap_time_batch, carries))

    def _swap_time_batch(self, tree: Tree) -> Tree:
        """Return the arrays with the time and batch axes swapped, or unchanged if the layer is time-major."""
        if self.time_major:
            return tree
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


class RNNCell(nnx.RNNCellBase):
    """A cell of this library as a Flax cell, for `nnx.RNN` and `nnx.Bidirectional`.

    This adapter draws no noise, because a cell in `nnx.RNN` sees one step and cannot draw a mask for a whole sequence.
    A cell that draws noise must be made with `deterministic=True`. Use `Recurrent` to train such a cell.

    Flax's results differ from those of `unroll`. With `seq_lengths` the outputs past a sequence's end are not zero,
    and a sequence of length 0 returns the last carry. Without `keep_order` a reversed run returns reversed outputs.

    >>> from nlstm_jax.cells import nested_lstm
    >>> layer = nnx.RNN(RNNCell(nested_lstm(4, depth=2), in_features=3, rngs=nnx.Rngs(0)), return_carry=True)
    >>> carry, ys = layer(jnp.ones((2, 5, 3)), seq_lengths=jnp.array([5, 2]))
    >>> ys.shape, carry.inner.c.shape
    ((2, 5, 4), (2, 4))
    """

    def __init__(self, cell: MinimalCell, in_features: int, *, deterministic: bool = False, rngs: nnx.Rngs) -> None:
        """Draw the parameters.

        Args:
            cell: The cell's specification.
            in_features: D, the number of input features.
            deterministic: True to draw no noise.
            rngs: The streams, of which `params` is used.

        Raises:
            ValueError: The cell draws noise, and `deterministic` is False.
        """
        cell = complete(cell)
        check_layer("RNNCell", "cell", cell, Cell)
        check_deterministic(cell, in_features, deterministic)
        self.cell = cell
        self.params = _init_params(cell, in_features, rngs)

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: Any = None,
        carry_init: nnx.Initializer | None = None,
    ) -> Carry:
        """Return the cell's initial carry, or a random one.

        Args:
            input_shape: The shape of the inputs, `[*b, D]`.
            rngs: The streams, of which `carry` is used, or one stream. Used only with `carry_init`.
            carry_init: The initializer that draws every array of the carry. Without it the carry is the cell's own.
        """
        carry = self.cell.initial_carry(input_shape[:-1])
        if carry_init is None:
            return carry
        stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
        return jax.tree.map(lambda leaf: carry_init(stream(), leaf.shape, leaf.dtype), carry)

    def __call__(self, carry: Carry, inputs: Float[Array, "*b D"]) -> tuple[Carry, Float[Array, "*b O"]]:
        """Run one step, and return the carry after it and the output."""
        params = _param_values(self.params)
        return self.cell.step(params, carry, self.cell.project(params, inputs))

    @property
    def num_feature_axes(self) -> int:
        """The number of feature axes of an input, which is 1."""
        return 1


def check_deterministic(cell: Cell, in_features: int, deterministic: bool) -> None:
    """Check that a cell to which Flax can pass no noise draws none.

    Raises:
        ValueError: The cell draws noise, and `deterministic` is False.
    """
    if not deterministic and is_stochastic(cell, in_features):
        raise ValueError(
            f"RNNCell: a cell without noise, or deterministic=True, expected, as Flax hands no noise to a cell; found "
            f"{spec_repr(cell)}; adapters.nnx.Recurrent serves for training it"
        )


def _check_batch_major(xs: Array, mask: Array | None, resets: Array | None) -> None:
    """Raise a ValueError unless the inputs are [B, T, D], and the mask and the resets are None or [B, T]."""
    expected = tuple(jnp.shape(xs)[:2])
    if jnp.ndim(xs) != 3:
        raise ValueError(f"Recurrent: xs: [B, T, D] expected, found the shape {jnp.shape(xs)}")
    for name, array in (("mask", mask), ("resets", resets)):
        if array is not None and jnp.shape(array) != expected:
            raise ValueError(f"Recurrent: {name}: the shape {expected} expected, found {jnp.shape(array)}")


def _init_params(cell: Layer, in_features: int, rngs: nnx.Rngs | PRNGKeyArray) -> PyTree:
    """Draw a cell's parameters, and return them as `nnx.Param`s in the cell's NamedTuple."""
    key = rngs.params() if isinstance(rngs, nnx.Rngs) else rngs
    return nnx.data(jax.tree.map(nnx.Param, cell.init(key, in_features)))


def _param_values(params: PyTree) -> Params:
    """Return the arrays of the `nnx.Param`s in a cell's NamedTuple."""
    return jax.tree.map(lambda leaf: leaf[...], params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
