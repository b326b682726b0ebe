"""Devices: one mesh axis `data`, over which a batch is split; everything else lies on every device."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nlstm_jax.errors import ConfigError


def make_mesh(batch_sizes: dict[str, int], devices: list[jax.Device] | None = None) -> Mesh:
    """Devices in one line.

    Args:
        batch_sizes: by the setting's name; each must be a multiple of the number of devices.
        devices: None: all there are.

    Raises:
        ConfigError: a batch that the devices cannot share evenly.
    """
    count = jax.device_count() if devices is None else len(devices)
    for name, size in batch_sizes.items():
        if size % count:
            raise ConfigError(f"config.{name}: a multiple of the number of devices, {count}, expected, found {size}")
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Put arrays on every device."""
    return place(tree, NamedSharding(mesh, PartitionSpec()))


def replicated(tree: Any, mesh: Mesh) -> Any:
    """Within a compiled function: arrays whole on every device."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def split_axis(tree: Any, mesh: Mesh, axis: int) -> Any:
    """Put arrays on the devices, one axis of theirs, of a batch say, split over them."""
    return place(tree, NamedSharding(mesh, PartitionSpec(*[None] * axis, "data")))


def place(tree: Any, sharding: Any) -> Any:
    """Put arrays that every process has whole where they belong: a process' devices take their part of its own."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def placed(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    return jax.tree.map(placed, tree)
