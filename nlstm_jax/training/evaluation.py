"""The task's metrics over whole splits, exact means."""

from collections.abc import Mapping

from nlstm_jax.models import Parameters
from nlstm_jax.tasks import AnyTask, Examples
from nlstm_jax.training.steps import CompiledSteps


def evaluate(
    steps: CompiledSteps,
    parameters: Parameters,
    examples: Mapping[str, Examples],
    batch_size: int,
    counts: Mapping[str, int],
) -> list[dict[str, dict[str, float]]]:
    """Return, for each run of a program, the task's report on every split, with dropout off.

    Args:
        steps: The compiled functions of the runs.
        parameters: The parameters of the runs.
        examples: The examples by split; `train` must be among them.
        batch_size: The number of examples at once; it changes nothing but the speed.
        counts: By split, the number of evenly spread examples that stand for it; all examples where it is not named.
    """
    sums = {
        split: steps.eval_sums(parameters, split_examples, batch_size, counts.get(split))
        for split, split_examples in examples.items()
    }
    reports = []
    for run in range(len(sums["train"])):
        reports.append(steps.task.report({split: sums_of_runs[run] for split, sums_of_runs in sums.items()}))
    return reports


def train_count(task: AnyTask, count: int) -> dict[str, int]:
    """Return the number of training examples that are evaluated, as `evaluate` takes it.

    Args:
        task: The task. Its metrics may depend on all training examples.
        count: The setting `eval.train_examples`.
    """
    return {} if task.evaluates_all_of_train else {"train": count}
