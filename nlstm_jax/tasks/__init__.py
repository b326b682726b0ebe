"""Tasks: the examples, batches, losses and metrics of each data set. A task is one file."""

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
