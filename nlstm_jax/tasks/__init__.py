"""Tasks: the examples, batches, losses and metrics of each data set. A task is one file.

A task has the examples of each split. A batch of them is time-major:

>>> import jax.numpy as jnp
>>> from nlstm_jax import settings
>>> config = settings.defaults("classify", "lstm").to_dict()
>>> task: AnyTask = build(config)
>>> isinstance(task, Task), task.model_dims["classes"]
(True, 4)
>>> examples: Examples = task.splits["valid"]
>>> batch = examples.gather(jnp.arange(3))
>>> batch.symbols.shape[1]
3
"""

from nlstm_jax.settings import Metric, Question, Setting, UnitBySetting
from nlstm_jax.tasks.base import AnyTask, Examples, ShuffledExamples, StatelessTask, Task
from nlstm_jax.tasks.build import build
from nlstm_jax.tasks.sums import WeightedSum, to_means

__all__ = [
    "AnyTask",
    "Examples",
    "Metric",
    "Question",
    "Setting",
    "ShuffledExamples",
    "StatelessTask",
    "Task",
    "UnitBySetting",
    "WeightedSum",
    "build",
    "to_means",
]
