"""Cells and Flax NNX: a layer of ours for a Flax model, and a cell of ours inside Flax's own `nnx.RNN`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.cells import Cell, Layer, is_stochastic, spec_repr
from nlstm_jax.cells.base import check_layer
from nlstm_jax.types import Array, Carry, Float, Params, PRNGKeyArray
from nlstm_jax.unroll import unroll


class Recurrent(nnx.Module):
    """A cell, or another layer, over time: in a Flax model one line, batch-major unless asked otherwise.

    Noise (dropout, zoneout) is drawn at every call from the stream `dropout` of the `rngs` that the layer was made
    with, unless it is deterministic (`model.eval()` makes it so); a `key` given to the call is used in any case.

    Attributes:
        cell: the specification.
        in_features: D.
        params: the cell's NamedTuple with an `nnx.Param` at every leaf, so that Flax sees, saves and names them.
        time_major: whether sequences are [T, B, D] instead of [B, T, D].
        deterministic: whether to draw no noise.
        mode, remat, truncate: of `unroll`.

    >>> from nlstm_jax.cells import LSTM
    >>> layer = Recurrent(LSTM(4), in_features=3, rngs=nnx.Rngs(0))
    >>> carry, ys = layer(jnp.ones((2, 5, 3)), lengths=jnp.array([5, 2]))
    >>> ys.shape
    (2, 5, 4)
    """

    def __init__(
        self,
        cell: Layer,
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
            cell: the specification.
            in_features: D.
            time_major: whether sequences are [T, B, D].
            deterministic: whether to draw no noise.
            mode, remat, truncate: of `unroll`.
            rngs: streams `params`, and `dropout` for a cell that draws noise; or one key for the parameters alone, and
                then noise is drawn only from a key given to the call.
        """
        check_layer("Recurrent", "cell", cell)
        self.cell, self.in_features = cell, in_features
        self.time_major, self.deterministic = time_major, deterministic
        self.mode, self.remat, self.truncate = mode, remat, truncate
        streams = rngs if isinstance(rngs, nnx.Rngs) else None
        self.params = _parameters(cell, in_features, rngs)
        self.draws = streams is not None and is_stochastic(cell, in_features)
        stream = getattr(streams, "dropout", None) if self.draws else None
        self.rngs = nnx.data(None) if stream is None else stream.fork()

    @property
    def values(self) -> Params:
        """The parameters as the cell knows them: plain arrays."""
        return _values(self.params)

    def load(self, params: Params) -> None:
        """Put other parameters, converted ones say, in the place of those that were drawn.

        Raises:
            ValueError: they are of other shapes.
        """
        found, expected = (jax.tree.map(jnp.shape, tree) for tree in (params, self.values))
        if found != expected:
            raise ValueError(f"the shapes {expected} expected, found {found}")
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
    ) -> Any:
        """`unroll`, with xs, mask, resets, ys and carries batch-major unless `time_major`.

        Args:
            xs: inputs [B, T, D].
            carry, lengths, mask, resets, reverse, return_carries: as in `unroll`.
            go_backwards: `reverse`, with the outputs in the order in which they are computed, as Keras has them.
            key: draws the noise, in place of the stream `dropout`.

        Returns:
            The last carry and the outputs [B, T, O]; with `return_carries` also all carries.

        Raises:
            ValueError: as `unroll`; or noise is to be drawn, and there is no key and no stream to draw it from.
        """
        if not self.time_major:
            axes = tuple(jnp.shape(xs)[:2])
            if jnp.ndim(xs) != 3:
                raise ValueError(f"Recurrent: xs: [B, T, D] expected, found the shape {jnp.shape(xs)}")
            for name, marks in (("mask", mask), ("resets", resets)):
                if marks is not None and jnp.shape(marks) != axes:
                    raise ValueError(f"Recurrent: {name}: the shape {axes} expected, found {jnp.shape(marks)}")
        if key is None and self.draws and not self.deterministic:
            if self.rngs is None:
                raise ValueError(
                    "Recurrent: a key, deterministic=True, or a stream 'dropout' in the rngs that it was made with, "
                    f"expected for {spec_repr(self.cell)}, found none of them"
                )
            key = self.rngs()
        options: dict[str, Any] = {
            "lengths": lengths,
            "mask": self._turned(mask),
            "resets": self._turned(resets),
            "reverse": reverse or go_backwards,
            "key": key,
            "return_carries": return_carries,
            "mode": self.mode,
            "remat": self.remat,
            "truncate": self.truncate,
        }
        carry, ys, *carries = unroll(self.cell, self.values, self._turned(xs), carry, **options)
        if go_backwards:
            ys = jnp.flip(ys, axis=0)
        return (carry, self._turned(ys), *map(self._turned, carries))

    def _turned(self, tree: Any) -> Any:
        """Time and batch in each other's place, or as they are."""
        return tree if self.time_major else jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


class RNNCell(nnx.RNNCellBase):
    """A cell of ours as a cell of Flax's, for `nnx.RNN` and `nnx.Bidirectional`.

    Flax hands no noise to a cell, so a cell that draws some must be asked for as deterministic; `Recurrent` serves
    for training it.

    What Flax does otherwise than `unroll`: with `seq_lengths` outputs past the end are not zero, and a sequence of
    length 0 returns the last carry; without `keep_order` a reversed run returns reversed outputs.

    >>> from nlstm_jax.cells import nested_lstm
    >>> layer = nnx.RNN(RNNCell(nested_lstm(4, depth=2), in_features=3, rngs=nnx.Rngs(0)), return_carry=True)
    >>> carry, ys = layer(jnp.ones((2, 5, 3)), seq_lengths=jnp.array([5, 2]))
    >>> ys.shape, carry.inner.c.shape
    ((2, 5, 4), (2, 4))
    """

    def __init__(self, cell: Cell, in_features: int, *, deterministic: bool = False, rngs: nnx.Rngs) -> None:
        """Draw the parameters.

        Raises:
            ValueError: the cell draws noise, and `deterministic` is False.
        """
        check_layer("RNNCell", "cell", cell, Cell)
        check_deterministic(cell, in_features, deterministic)
        self.cell = cell
        self.params = _parameters(cell, in_features, rngs)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: nnx.Initializer | None = None
    ) -> Carry:
        """The cell's initial carry for inputs of this shape [*b, D]; `carry_init` draws every vector of it instead."""
        carry = self.cell.initial_carry(input_shape[:-1])
        if carry_init is None:
            return carry
        stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
        return jax.tree.map(lambda leaf: carry_init(stream(), leaf.shape, leaf.dtype), carry)

    def __call__(self, carry: Carry, inputs: Float[Array, "*b D"]) -> tuple[Carry, Float[Array, "*b O"]]:
        """One step."""
        params = _values(self.params)
        return self.cell.step(params, carry, self.cell.project(params, inputs))

    @property
    def num_feature_axes(self) -> int:
        """One."""
        return 1


def check_deterministic(cell: Cell, in_features: int, deterministic: bool) -> None:
    """Raise a ValueError for a cell that draws noise where there is no way to hand it any."""
    if not deterministic and is_stochastic(cell, in_features):
        raise ValueError(
            f"RNNCell: a cell without noise, or deterministic=True, expected, as Flax hands no noise to a cell; found "
            f"{spec_repr(cell)}; adapters.nnx.Recurrent serves for training it"
        )


def _parameters(cell: Layer, in_features: int, rngs: nnx.Rngs | PRNGKeyArray) -> Any:
    key = rngs.params() if isinstance(rngs, nnx.Rngs) else rngs
    return nnx.data(jax.tree.map(nnx.Param, cell.init(key, in_features)))


def _values(params: Any) -> Params:
    return jax.tree.map(lambda leaf: leaf[...], params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
