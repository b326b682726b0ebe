"""Arrays to a question: examples, batches, losses, metrics."""

from nlstm_jax.tasks.base import Examples, Task, WeightedSum
from nlstm_jax.tasks.build import build

__all__ = ["Examples", "Task", "WeightedSum", "build"]
