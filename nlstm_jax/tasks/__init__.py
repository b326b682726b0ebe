"""Arrays to a question: examples, batches, losses, metrics."""

from nlstm_jax.tasks.base import Examples, Mean, Task
from nlstm_jax.tasks.build import build

__all__ = ["Examples", "Mean", "Task", "build"]
