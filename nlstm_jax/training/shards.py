"""Shards: equal parts of a batch, each computed by itself, whose results are added in a fixed order.

Devices share the shards of a batch out among them. As neither what is computed for a shard nor the order in which
shards are added depends on who computed them, the number of devices changes no bit of a run; of several runs in one
vmapped program it may, as XLA then rounds within a shard as it likes. Nothing is exchanged before the end of a shard,
and a device holds one shard's activations at a time: shards are micro-batches too.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
from jax.sharding import Mesh, PartitionSpec

from nlstm_jax.errors import ConfigError
from nlstm_jax.training.parallel import constrain_replicated
from nlstm_jax.types import Array, Config, PyTree

Result = TypeVar("Result")
Tree = TypeVar("Tree")


def check_shards(config: Config) -> None:
    """Raise a ConfigError unless batches have `train.shards` equal parts, and their number is a power of 2."""
    shards = config["train"]["shards"]
    if shards & (shards - 1):
        raise ConfigError(f"config.train.shards: a power of 2 expected, found {shards}")
    for part in ("train", "eval"):
        size = config[part]["batch_size"]
        if size % shards:
            raise ConfigError(
                f"config.{part}.batch_size: a multiple of config.train.shards={shards} expected, found {size}"
            )


def map_shards(
    function: Callable[..., Result], shared: PyTree, parts: tuple[PyTree, ...], mesh: Mesh | None
) -> Result:
    """Compute `function(shared, *part)` for each shard.

    Args:
        function: A function from arrays to a pytree of arrays.
        shared: The argument that all shards have in common.
        parts: Pytrees of arrays [S, …], a row for each shard.
        mesh: The devices, of which each computes as many shards, one after the other; None: those of `parts`.

    Returns:
        The results, stacked along a first axis S.
    """

    def in_turn(shared: PyTree, *parts: PyTree) -> Result:
        results = jax.lax.map(lambda part: function(shared, *part), parts)
        # Without a barrier XLA may fuse the results with later sums, which would then be rounded differently.
        return jax.lax.optimization_barrier(results)

    if mesh is None:
        return in_turn(shared, *parts)
    split = PartitionSpec(*mesh.axis_names)
    replicated = PartitionSpec()
    specs = (replicated, *[split] * len(parts))
    return jax.shard_map(in_turn, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)(shared, *parts)


def add_shards(stacked: Tree, mesh: Mesh | None) -> Tree:
    """Add up the shards that `map_shards` has stacked; the sum is whole on every device.

    If the compiler chose where the sum lies, a norm of it might be summed in parts, one for each device.
    """
    total = add_in_pairs(stacked)
    return total if mesh is None else constrain_replicated(total, mesh)


def add_in_pairs(tree: Tree) -> Tree:
    """Sum every array over its first axis, whose size is a power of 2: first neighbors, then neighboring sums.

    >>> add_in_pairs(jax.numpy.arange(8.0)).item()
    28.0
    """

    def added(leaf: Array) -> Array:
        while len(leaf) > 1:
            pairs = leaf.reshape(len(leaf) // 2, 2, *leaf.shape[1:])
            leaf = pairs[:, 0] + pairs[:, 1]
        return leaf[0]

    return jax.tree.map(added, tree)
