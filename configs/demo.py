"""What `make demo` trains: a small language model, any cell at equal parameters, minutes on two cores.

    python -m experiments.train --config=configs/demo.py:cell=nlstm,depth=2,seed=0 --workdir=demo/runs/nlstm2-seed0

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see `configs.arguments`).
"""

from ml_collections import ConfigDict

from configs import arguments, poems
from nlstm_jax import tasks

MODEL_PARAMETERS = 106_500
"""Of the whole model, on generated poems."""
CELL_PARAMETERS = 60_760
"""Of the cell, on a user's poems: how many the embedding has depends on their vocabulary."""
TARGETS = 1_843_200
"""Seen in a run: 1,200 steps of 64 generated poems."""


def get_config(argument: str = "") -> ConfigDict:
    """The configuration of `configs/poems.py`, smaller, with models of equal size unless the argument says more."""
    values = arguments.parse(argument)
    if not any(values[name] for name in ("features", "smoke", *arguments.BUDGETS)):
        argument = f"{argument},model_params={MODEL_PARAMETERS}"
    config = poems.get_config(argument)
    if values["smoke"]:
        return config
    config.model.embedding = config.model.projection = 64
    config.model.dropout_input = config.model.dropout_output = 0.1
    config.optimizer.learning_rate, config.optimizer.schedule = 4e-3, "cosine"
    config.train.steps = 1200
    config.eval.every_steps = 80
    return config


def settings_for_poems(path: str) -> dict[str, int | str]:
    """Settings for a user's poems: batches of about as many symbols as the generated ones have, and as many in all.

    Raises:
        DataError: poems that cannot be read, or too few.
    """
    if not path:
        return {}
    config = get_config()
    config.data.path, config.train.batch_size = path, 1
    task = tasks.build(config)
    mean, count = task.targets_per_example, task.splits["train"].size
    batch_size = min(count, max(8, min(64, round(64 * 24 / mean))))
    steps = max(150, min(1200, round(TARGETS / (batch_size * mean))))
    return {
        "data.path": path,
        "model.parameters": 0,
        "cell.parameters": CELL_PARAMETERS,
        "train.batch_size": batch_size,
        "train.steps": steps,
        "eval.batch_size": batch_size,
        "eval.every_steps": steps // 15,
    }
