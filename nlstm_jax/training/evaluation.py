"""Exact means over whole splits."""

from collections.abc import Mapping

from nlstm_jax.models import Parameters
from nlstm_jax.tasks import Examples
from nlstm_jax.training.steps import CompiledSteps


def evaluate(
    program: CompiledSteps,
    parameters: Parameters,
    examples: Mapping[str, Examples],
    batch_size: int,
    counts: Mapping[str, int],
) -> list[dict[str, dict[str, float]]]:
    """For each run of the program the task's report on every split given, dropout off; `train` must be among them.

    Args:
        program: of the runs.
        parameters: of the model.
        examples: by split.
        batch_size: examples at once; it changes nothing but the speed.
        counts: by split, how many evenly spread examples stand for it; all, where it is not named.
    """
    totals = {
        split: program.measure(parameters, whole, batch_size, counts.get(split)) for split, whole in examples.items()
    }
    runs = [dict(zip(totals, of_one, strict=True)) for of_one in zip(*totals.values(), strict=True)]
    return [program.task.report(of_one) for of_one in runs]
