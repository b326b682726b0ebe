"""The demo (`make demo`): a small language model of poems, any cell at equal parameters, minutes on two cores.

    python -m experiments.train --config=configs/demo.py:cell=nlstm,depth=2,seed=0 --workdir=demo/runs/nlstm2-seed0

Results are in docs/results/demo/compare.md and docs/results/poems_depth/compare.md.

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`).
"""

from ml_collections import ConfigDict

from nlstm_jax.installation import find_config, import_file
from nlstm_jax.settings import arguments
from nlstm_jax.tasks.small_corpus import EVALUATIONS, MAX_STEPS

MODEL_PARAMETERS = 106_500
"""The number of parameters of the whole model, on generated poems."""


def get_config(argument: str = "") -> ConfigDict:
    """Return a smaller configuration of `configs/poems.py`.

    All models have the same number of parameters unless the argument has a width or a budget.
    """
    values = arguments.parse(argument)
    if not (values["features"] or values["smoke"] or arguments.has_budget(values)):
        argument = f"{argument},model_params={MODEL_PARAMETERS}"
    config: ConfigDict = import_file(find_config("poems")).get_config(argument)
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
