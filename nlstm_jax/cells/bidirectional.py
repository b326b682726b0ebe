"""A layer of two cells that run over the same sequence in opposite directions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from nlstm_jax.cells.base import check_choice, check_layer, fold_in_name, fold_in_name_if_key
from nlstm_jax.cells.protocol import LayerField, complete
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray

MERGES: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda forward, backward: jnp.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
}
"""The functions that merge the outputs of both directions, by Keras' names."""


class BidirectionalParams(NamedTuple):
    """A pair of parameters, one for each direction."""

    forward: Params
    backward: Params


class BidirectionalCarry(NamedTuple):
    """A pair of carries, one for each direction.

    Attributes:
        forward: The carry of the forward cell after the last step of the sequence.
        backward: The carry of the backward cell after the first step of the sequence.
    """

    forward: Carry
    backward: Carry


class BidirectionalNoise(NamedTuple):
    """A pair of noise pytrees, one for each direction."""

    forward: Noise
    backward: Noise


@dataclass(frozen=True)
class Bidirectional:
    """A layer with one cell that runs from the first step to the last, and one that runs from the last to the first.

        y_t = [y⃗_t, y⃖_t]      merge="concat"; or their sum, product ("mul") or mean ("ave")

    The layer needs the whole sequence, so it has no `step` and is not a `Cell`. `unroll` runs it, alone or in a
    `Stack`. With `lengths`, the backward cell starts at the last valid step of each sequence.

    Attributes:
        forward: The cell, or stack of cells, that runs forward in time.
        backward: The cell, or stack of cells, that runs backward in time. It can be of another kind.
        merge: The way to merge both outputs: "concat", "sum", "mul" or "ave" (Keras' names).

    Raises:
        ValueError: The merge is unknown, or the output widths differ and the merge is not "concat".

    Source: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

    >>> import jax
    >>> from nlstm_jax import LSTM, unroll
    >>> layer = Bidirectional(LSTM(4), LSTM(4))
    >>> params = layer.init(jax.random.key(0), in_features=3)
    >>> carry, ys = unroll(layer, params, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
    >>> ys.shape
    (5, 2, 8)
    """

    forward: LayerField
    backward: LayerField
    merge: str = "concat"

    def __post_init__(self) -> None:
        object.__setattr__(self, "forward", complete(self.forward))
        object.__setattr__(self, "backward", complete(self.backward))
        for field in ("forward", "backward"):
            check_layer("Bidirectional", field, getattr(self, field))
        check_choice(self, "merge", self.merge, tuple(MERGES))
        widths = (self.forward.out_features, self.backward.out_features)
        if self.merge != "concat" and widths[0] != widths[1]:
            raise ValueError(
                f"Bidirectional: merge={self.merge!r}: outputs of one width expected, found {widths[0]} forward and "
                f"{widths[1]} backward"
            )

    @property
    def features(self) -> int:
        """The number of hidden units H of the forward cell."""
        return self.forward.features

    @property
    def out_features(self) -> int:
        """The output width: the sum of both widths with "concat", else their common width."""
        if self.merge == "concat":
            return self.forward.out_features + self.backward.out_features
        return self.forward.out_features

    def init(self, key: PRNGKeyArray, in_features: int) -> BidirectionalParams:
        """Draw the initial parameters of both cells."""
        return BidirectionalParams(
            self.forward.init(fold_in_name(key, "forward"), in_features),
            self.backward.init(fold_in_name(key, "backward"), in_features),
        )

    def initial_carry(self, batch_shape: tuple[int, ...]) -> BidirectionalCarry:
        """Return the initial carries of both cells."""
        return BidirectionalCarry(self.forward.initial_carry(batch_shape), self.backward.initial_carry(batch_shape))

    def sample_noise(
        self, params: BidirectionalParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[BidirectionalParams, Noise]:
        """Draw the noise of both cells."""
        forward_key = fold_in_name_if_key(key, "forward")
        forward, forward_noise = self.forward.sample_noise(params.forward, forward_key, shape)

        backward_key = fold_in_name_if_key(key, "backward")
        backward, backward_noise = self.backward.sample_noise(params.backward, backward_key, shape)

        prepared = BidirectionalParams(forward, backward)
        if key is None:
            return prepared, ()
        return prepared, BidirectionalNoise(forward_noise, backward_noise)

    def merged(self, forward: Float[Array, "*b F"], backward: Float[Array, "*b G"]) -> Float[Array, "*b O"]:
        """Merge the outputs of both directions."""
        return MERGES[self.merge](forward, backward)
