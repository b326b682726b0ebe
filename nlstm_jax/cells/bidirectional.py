"""Two cells over the same sequence, one in each direction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from nlstm_jax.cells.base import Layer, check_choice, check_layer, fold_in_name
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray

MERGES: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda forward, backward: jnp.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
}


class BidirectionalParams(NamedTuple):
    """Both cells' parameters."""

    forward: Params
    backward: Params


class BidirectionalCarry(NamedTuple):
    """Both cells' carries: the forward one after a sequence's last step, the backward one after its first."""

    forward: Carry
    backward: Carry


class BidirectionalNoise(NamedTuple):
    """Both cells' noise."""

    forward: Noise
    backward: Noise


@dataclass(frozen=True)
class Bidirectional:
    """A cell from a sequence's first step to its last, another from its last to its first.

        y_t = [y⃗_t, y⃖_t]      merge="concat"; or their sum, product ("mul") or mean ("ave")

    It needs the whole sequence, so it cannot be stepped: it is no `Cell`, but a layer that `unroll` runs, alone or in
    a `Stack`. With `lengths` the backward cell starts at each sequence's own last step.

    Attributes:
        forward: a cell, or a stack of cells.
        backward: another; it may differ.
        merge: "concat", "sum", "mul" or "ave" (Keras' names).

    Raises:
        ValueError: an unknown merge, or outputs of different widths where they are not concatenated.

    Source: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

    >>> import jax
    >>> from nlstm_jax import LSTM, unroll
    >>> layer = Bidirectional(LSTM(4), LSTM(4))
    >>> params = layer.init(jax.random.key(0), in_features=3)
    >>> carry, ys = unroll(layer, params, jnp.ones((5, 2, 3)), lengths=jnp.array([5, 2]))
    >>> ys.shape
    (5, 2, 8)
    """

    forward: Layer
    backward: Layer
    merge: str = "concat"

    def __post_init__(self) -> None:
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
        """The forward cell's H."""
        return self.forward.features

    @property
    def out_features(self) -> int:
        """Both widths together, or the one."""
        both = self.merge == "concat"
        return self.forward.out_features + (self.backward.out_features if both else 0)

    def init(self, key: PRNGKeyArray, in_features: int) -> BidirectionalParams:
        """Draw both cells' parameters."""
        return BidirectionalParams(
            self.forward.init(fold_in_name(key, "forward"), in_features),
            self.backward.init(fold_in_name(key, "backward"), in_features),
        )

    def initial_carry(self, batch_shape: tuple[int, ...]) -> BidirectionalCarry:
        """Both cells'."""
        return BidirectionalCarry(self.forward.initial_carry(batch_shape), self.backward.initial_carry(batch_shape))

    def sample_noise(
        self, params: BidirectionalParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[BidirectionalParams, Noise]:
        """Both cells' noise."""
        forward_key, backward_key = (
            (None, None) if key is None else (fold_in_name(key, "forward"), fold_in_name(key, "backward"))
        )
        forward, forward_noise = self.forward.sample_noise(params.forward, forward_key, shape)
        backward, backward_noise = self.backward.sample_noise(params.backward, backward_key, shape)
        noise = () if key is None else BidirectionalNoise(forward_noise, backward_noise)
        return BidirectionalParams(forward, backward), noise

    def merged(self, forward: Float[Array, "*b F"], backward: Float[Array, "*b G"]) -> Float[Array, "*b O"]:
        """Both directions' outputs as one."""
        return MERGES[self.merge](forward, backward)
