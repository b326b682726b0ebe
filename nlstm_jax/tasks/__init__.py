"""Tasks: the examples, batches, losses and metrics of each data set."""

from nlstm_jax.tasks.base import Examples, Task, WeightedSum
from nlstm_jax.tasks.build import build

__all__ = ["Examples", "Task", "WeightedSum", "build"]
