"""Devices: one mesh axis `data`, over which a batch is split; everything else lies on every device."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nlstm_jax.errors import ConfigError


def make_mesh(batch_sizes: dict[str, int]) -> Mesh:
    """All devices in one line.

    Args:
        batch_sizes: by the setting's name; each must be a multiple of the number of devices.

    Raises:
        ConfigError: a batch that the devices cannot share evenly.
    """
    count = jax.device_count()
    for name, size in batch_sizes.items():
        if size % count:
            raise ConfigError(f"config.{name}: a multiple of the number of devices, {count}, expected, found {size}")
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Put arrays on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def split_batch(tree: Any, mesh: Mesh) -> Any:
    """Put arrays [n, B] on the devices, the second axis split over them."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(None, "data")))
