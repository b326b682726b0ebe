"""What a forecaster's head says about a count, and its log-loss in nats."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from nlstm_jax.types import Array, Float


@runtime_checkable
class Likelihood(Protocol):
    """A distribution of one count, given `outputs` numbers of a head."""

    @property
    def outputs(self) -> int:
        """How many numbers it needs."""

    @property
    def whole_counts(self) -> bool:
        """Whether it is one of whole numbers ≥ 0 only."""

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """What training minimises."""

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """The forecast."""


@dataclass(frozen=True)
class SquaredError:
    """A mean, trained by squared error; as a distribution, a Gaussian of the training residuals' variance."""

    outputs: int = 1
    whole_counts: bool = False

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """(target − mean)²."""
        return jnp.square(target - self.mean(head))

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """The head's number."""
        return head[:, 0]


@dataclass(frozen=True)
class Gaussian:
    """A mean and a standard deviation (softplus, at least `smallest`)."""

    outputs: int = 2
    whole_counts: bool = False
    smallest: float = 1e-2

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """−log N(target; mean, deviation²)."""
        deviation = jax.nn.softplus(head[:, 1]) + self.smallest
        return 0.5 * jnp.square((target - head[:, 0]) / deviation) + jnp.log(deviation) + 0.5 * math.log(2 * math.pi)

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """The head's first number."""
        return head[:, 0]


@dataclass(frozen=True)
class NegativeBinomial:
    """Counts of mean μ and variance μ + αμ² (softplus of the head's two numbers), α ≥ `smallest`.

    log p(y) = log Γ(y + r) − log Γ(r) − log y! + r log(r/(r+μ)) + y log(μ/(r+μ)),  r = 1/α.
    Source: Cameron & Trivedi 1998, "Regression Analysis of Count Data", the NB2 form.
    """

    outputs: int = 2
    whole_counts: bool = True
    smallest: float = 1e-3

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """−log p(target)."""
        mean = self.mean(head)
        r = 1 / (jax.nn.softplus(head[:, 1]) + self.smallest)
        log_p = gammaln(target + r) - gammaln(r) - gammaln(target + 1)
        log_p += -r * jnp.log1p(mean / r) + target * (jnp.log(mean) - jnp.log(r + mean))
        return -log_p

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """μ, kept above 0."""
        return jax.nn.softplus(head[:, 0]) + 1e-6


def residual_log_loss(mse: float, variance: float) -> float:
    """Mean nats of targets under Gaussians around their forecasts, from the forecasts' MSE."""
    variance = max(variance, 1e-12)
    return 0.5 * math.log(2 * math.pi * variance) + mse / (2 * variance)


LIKELIHOODS: dict[str, Likelihood] = {
    "mse": SquaredError(),
    "gaussian": Gaussian(),
    "negative_binomial": NegativeBinomial(),
}
