"""Likelihoods: the distribution of a target given the outputs of a head, with its loss and mean."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from nlstm_jax.types import Array, Float


@runtime_checkable
class Likelihood(Protocol):
    """A distribution of one target, given the outputs of a head."""

    @property
    def outputs(self) -> int:
        """The number of head outputs that the distribution needs."""

    @property
    def whole_counts(self) -> bool:
        """True if the distribution is defined for whole numbers ≥ 0 only."""

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """Return the loss of each target, which training minimizes."""

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """Return the mean of the distribution, which is the forecast."""


@dataclass(frozen=True)
class SquaredError:
    """A mean that is trained with the squared error.

    As a distribution, it is a Gaussian with the variance of the training residuals. See `residual_log_loss`.
    """

    outputs: int = 1
    whole_counts: bool = False

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """Return the squared error, (target − mean)²."""
        return jnp.square(target - self.mean(head))

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """Return the only head output."""
        return head[:, 0]


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian whose mean is the first head output.

    Its standard deviation is the softplus of the second head output, plus `smallest`.
    """

    outputs: int = 2
    whole_counts: bool = False
    smallest: float = 1e-2

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """Return −log N(target; mean, deviation²), in nats."""
        deviation = jax.nn.softplus(head[:, 1]) + self.smallest
        return 0.5 * jnp.square((target - head[:, 0]) / deviation) + jnp.log(deviation) + 0.5 * math.log(2 * math.pi)

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """Return the first head output."""
        return head[:, 0]


@dataclass(frozen=True)
class NegativeBinomial:
    """A negative binomial distribution of counts, with mean μ and variance μ + αμ².

    μ is the softplus of the first head output, plus 10⁻⁶. α is the softplus of the second one, plus `smallest`.

    log p(y) = log Γ(y + r) − log Γ(r) − log y! + r log(r/(r+μ)) + y log(μ/(r+μ)),  r = 1/α.
    Source: Cameron & Trivedi 1998, "Regression Analysis of Count Data", the NB2 form.
    """

    outputs: int = 2
    whole_counts: bool = True
    smallest: float = 1e-3

    def loss(self, head: Float[Array, "B outputs"], target: Float[Array, "B"]) -> Float[Array, "B"]:
        """Return −log p(target), in nats."""
        mean = self.mean(head)
        r = 1 / (jax.nn.softplus(head[:, 1]) + self.smallest)
        log_p = gammaln(target + r) - gammaln(r) - gammaln(target + 1)
        log_p += -r * jnp.log1p(mean / r) + target * (jnp.log(mean) - jnp.log(r + mean))
        return -log_p

    def mean(self, head: Float[Array, "B outputs"]) -> Float[Array, "B"]:
        """Return μ, which is above 0."""
        return jax.nn.softplus(head[:, 0]) + 1e-6


def residual_log_loss(mse: float, variance: float) -> float:
    """Return the mean log-loss of targets under Gaussians around their forecasts.

    Args:
        mse: The mean squared error of the forecasts.
        variance: The variance of the Gaussians. Values below 10⁻¹² count as 10⁻¹².

    Returns:
        Nats per target.
    """
    variance = max(variance, 1e-12)
    return 0.5 * math.log(2 * math.pi * variance) + mse / (2 * variance)


LIKELIHOODS: dict[str, Likelihood] = {
    "mse": SquaredError(),
    "gaussian": Gaussian(),
    "negative_binomial": NegativeBinomial(),
}
"""The likelihoods by their name in a configuration."""
