"""Generated daily prices of a made-up share."""

import hashlib

import numpy as np

from nlstm_jax.data.prices import VALUES, Prices
from nlstm_jax.types import Float


def generate_prices(days: int, seed: int) -> Prices:
    """Return the prices and volumes of a made-up share, see `price_walk`."""
    columns = price_walk(days, seed)
    values = np.stack([columns[name] for name in VALUES], axis=1)
    checksum = hashlib.sha256(values.tobytes()).hexdigest()
    return Prices(columns["date"], values, (), {"generated": checksum})


def price_walk(days: int, seed: int) -> dict[str, np.ndarray]:
    """Draw daily `date`, `open`, `high`, `low`, `close` and `volume` of a made-up share, on weekdays alone.

    The logarithm of the close moves by a hidden drift, whose sign changes about every 25 days, and by noise whose
    spread is autoregressive. The volume follows the spread. The past tells a forecaster something about the drift,
    which is not so with a real share.

    Args:
        days: The number of rows.
        seed: The seed of the draw.
    """
    generator = np.random.default_rng(seed)
    turns = generator.random(days) < 1 / 25
    drift = 0.004 * (1 - 2 * (np.cumsum(turns) % 2))
    spread = np.exp(_autoregression(generator, days, 0.97, 0.15) + np.log(0.012))
    close = 50 * np.exp(np.cumsum(drift + spread * generator.standard_normal(days)))
    previous_close = np.concatenate([[50.0], close[:-1]])
    opened = previous_close * np.exp(0.3 * spread * generator.standard_normal(days))
    beyond = np.abs(spread * generator.standard_normal((2, days)))
    volume = np.exp(14 + np.log(spread / 0.012) + 0.3 * generator.standard_normal(days))
    dates = np.busday_offset(np.datetime64("2000-01-03"), np.arange(days))
    return {
        "date": dates,
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(beyond[0]),
        "low": np.minimum(opened, close) * np.exp(-beyond[1]),
        "close": close,
        "volume": np.round(volume),
    }


def _autoregression(
    generator: np.random.Generator, length: int, persistence: float, deviation: float
) -> Float[np.ndarray, "N"]:
    """Draw a first-order autoregressive series that starts at 0.

    Args:
        generator: The generator of the noise.
        length: The number of values, N.
        persistence: The factor on the value before.
        deviation: The standard deviation of the noise.
    """
    values = np.zeros(length)
    noise = deviation * generator.standard_normal(length)
    for step in range(1, length):
        values[step] = persistence * values[step - 1] + noise[step]
    return values
