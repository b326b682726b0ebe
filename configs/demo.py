"""The demo (`make demo`): a small language model of poems, any cell at equal parameters, minutes on two cores.

    python -m experiments.train --config=configs/demo.py:cell=nlstm,depth=2,seed=0 --workdir=demo/runs/nlstm2-seed0

Results are in docs/results/demo/compare.md and docs/results/poems_depth/compare.md.

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see `configs.arguments`).
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs import arguments, poems
from nlstm_jax.tasks.small_corpus import EVALUATIONS, MAX_STEPS, settings_for_corpus

MODEL_PARAMETERS = 106_500
"""The number of parameters of the whole model, on generated poems."""
CELL_PARAMETERS = 60_760
"""The number of parameters of the cell, on a user's poems. The embedding's number depends on their vocabulary."""


def get_config(argument: str = "") -> ConfigDict:
    """Return a smaller configuration of `configs/poems.py`.

    All models have the same number of parameters unless the argument has a width or a budget.
    """
    values = arguments.parse(argument)
    if not (values["features"] or values["smoke"] or arguments.has_budget(values)):
        argument = f"{argument},model_params={MODEL_PARAMETERS}"
    config = poems.get_config(argument)
    if values["smoke"]:
        return config
    config.model.embedding = 64
    config.model.projection = 64
    config.model.dropout_input = 0.1
    config.model.dropout_output = 0.1
    config.optimizer.learning_rate = 4e-3
    config.optimizer.schedule = "cosine"
    config.train.steps = MAX_STEPS
    config.eval.every_steps = MAX_STEPS // EVALUATIONS
    return config


def folder_for_poems(path: str) -> Path:
    """Return the folder of a demo's runs, a folder of its own for every file of poems.

    >>> folder_for_poems("").name, folder_for_poems("poems/mine.txt").name
    ('demo', 'demo-mine')
    """
    return Path(f"demo-{Path(path).resolve().stem}" if path else "demo")


def settings_for_poems(path: str) -> dict[str, int | str]:
    """Return the settings that train on a user's poems about as much as on generated ones.

    See `small_corpus.settings_for_corpus`.

    Args:
        path: A file of poems or a folder of quatrain files; empty for generated poems, which need no settings.

    Returns:
        The values of settings by their keys, e.g. `train.steps`.

    Raises:
        DataError: The poems cannot be read, or there are too few.
    """
    if not path:
        return {}
    return {
        "data.path": path,
        "model.parameters": 0,
        "cell.parameters": CELL_PARAMETERS,
        **settings_for_corpus(path),
    }
