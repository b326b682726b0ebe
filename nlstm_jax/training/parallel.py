"""Devices: one mesh axis `data`, over which a batch is split; everything else lies on every device."""

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jax.typing import ArrayLike

from nlstm_jax.errors import ConfigError

Tree = TypeVar("Tree")


def make_mesh(batch_sizes: dict[str, int], devices: list[jax.Device] | None = None) -> Mesh:
    """Make a mesh of devices in one line.

    Args:
        batch_sizes: Batch sizes by the name of their setting; each must be a multiple of the number of devices.
        devices: The devices; None: all there are.

    Raises:
        ConfigError: a batch that the devices cannot share evenly.
    """
    count = jax.device_count() if devices is None else len(devices)
    for name, size in batch_sizes.items():
        if size % count:
            raise ConfigError(f"config.{name}: a multiple of the number of devices, {count}, expected, found {size}")
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """Put arrays on every device."""
    return device_put_global(tree, NamedSharding(mesh, PartitionSpec()))


def constrain_replicated(tree: Tree, mesh: Mesh) -> Tree:
    """Within a compiled function, have arrays whole on every device."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def split_axis(tree: Tree, mesh: Mesh, axis: int) -> Tree:
    """Put arrays on the devices with one of their axes, that of a batch say, split over them."""
    return device_put_global(tree, NamedSharding(mesh, PartitionSpec(*[None] * axis, "data")))


def device_put_global(tree: Tree, sharding: Sharding) -> Tree:
    """Place host arrays, identical on every process, under a global sharding."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(leaf: ArrayLike) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
            return leaf
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)
