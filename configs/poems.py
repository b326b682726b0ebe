"""Poem language modelling: generated verse (nothing to download), quatrains, or any file of poems.

    python -m experiments.train --config=configs/poems.py:cell=nlstm,depth=2 --workdir=runs/nlstm2
    python -m experiments.train --config=configs/poems.py:cell=lstm --config.data.path=poems/ --workdir=runs/lstm

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see `configs.arguments`).
"""

from ml_collections import ConfigDict

from configs import arguments


def get_config(argument: str = "") -> ConfigDict:
    """The configuration; with a budget the model projects to the embedding's width, so that heads do not decide."""
    values = arguments.parse(argument)
    config = arguments.start("poems", values)
    if values["smoke"]:
        config.data.train_poems, config.data.valid_poems, config.data.test_poems = 256, 64, 64
        config.cell.features = values["features"] or 16
        config.model.embedding = 16
        config.train.batch_size, config.eval.batch_size = 32, 64
        config.train.epochs = 3.0
        config.eval.train_examples = 64
    if any(values[name] for name in arguments.BUDGETS):
        config.model.projection = config.model.embedding
    return config
