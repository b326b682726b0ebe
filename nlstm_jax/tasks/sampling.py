"""Samples of a task's trained model: what a user asks for, and how symbols are drawn."""

from dataclasses import dataclass

import jax
import numpy as np

from nlstm_jax.errors import ConfigError
from nlstm_jax.models import LanguageModel
from nlstm_jax.models.sampling import draw
from nlstm_jax.types import Array, Bool, Int


@dataclass(frozen=True)
class SampleRequest:
    """What a user asks for.

    Attributes:
        count: The number of samples.
        seed: The seed of the draw.
        temperature: The number that the logits are divided by. 0 takes the most probable symbol.
        top_k: The number of most probable symbols to draw from; 0 means all.
        prompt: The text that every sample begins with.
        length: The number of symbols after the prompt, where the task does not decide it.
    """

    count: int = 1
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    prompt: str = ""
    length: int = 60

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ConfigError: A value is below its bound.
        """
        bounds = {"count": 1, "seed": 0, "temperature": 0, "top_k": 0, "length": 1}
        for name, bound in bounds.items():
            value = getattr(self, name)
            if not value >= bound:
                raise ConfigError(f"{name}: a number ≥ {bound} expected, found {value}")


def draw_samples(
    model: LanguageModel, begin: int, forced: Int[Array, "S"], allowed: Bool[Array, "S V"], request: SampleRequest
) -> Int[np.ndarray, "N S"]:
    """Draw the symbols of all samples from a language model. See `models.sampling.draw`.

    Args:
        model: The trained language model.
        begin: The index of the symbol before the first one.
        forced: The index of the symbol at every position, −1 where it is to be drawn.
        allowed: The symbols that are allowed at each position.
        request: The number of samples, the seed, the temperature and top_k.
    """
    key = jax.random.key(request.seed)
    options = {"count": request.count, "temperature": request.temperature, "top_k": request.top_k}
    return np.asarray(draw(model, begin, forced, allowed, key, **options))
