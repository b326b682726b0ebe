"""Language modelling of a running text: generated verse (nothing to download), Penn Treebank, or any text folder.

    python -m experiments.train --config=configs/ptb.py:cell=lstm,layers=2 --config.data.path=ptb/ --workdir=runs/lstm2
    python -m experiments.train --config=configs/ptb.py:cell=nlstm,params=643200 --config.data.path=ptb/ --workdir=...
    python -m experiments.train --config=configs/ptb.py:cell=gru --config.data.unit=characters --workdir=runs/gru

The defaults are the small model of Zaremba, Sutskever and Vinyals, "Recurrent neural network regularization" (arXiv
1409.2329), for `cell=lstm,layers=2`: 200 units, windows of 20 words of 20 places in the text at once, all parameters
U(−0.1, 0.1), the loss summed over a window, plain gradient descent at 1.0 for 5 of 13 epochs, then halved each epoch.

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see `configs.arguments`).
"""

from ml_collections import ConfigDict

from configs import arguments


def get_config(argument: str = "") -> ConfigDict:
    """The configuration; with a budget the model projects to the embedding's width, so that heads do not decide."""
    values = arguments.parse(argument)
    config = arguments.start("text", values)
    config.cell.features = values["features"] or 200
    config.model.embedding = 200
    config.model.init_scheme = config.cell.init_scheme = "uniform(0.1)"
    if "forget_bias" in config.cell:
        config.cell.forget_bias = 0.0
    config.optimizer.name, config.optimizer.learning_rate, config.optimizer.clip_norm = "sgd", 1.0, 5.0
    config.optimizer.schedule = "halving"
    config.optimizer.halve_after_epochs = 5.0
    config.train.batch_size, config.train.epochs, config.train.loss_per = 20, 13.0, "sequence"
    config.eval.metric = "perplexity"
    if values["smoke"]:
        config.data.train_poems, config.data.valid_poems, config.data.test_poems = 256, 16, 16
        config.cell.features = values["features"] or 16
        config.model.embedding = 16
        config.train.epochs = 3.0
        config.eval.train_examples = 40
    if any(values[name] for name in arguments.BUDGETS):
        config.model.projection = config.model.embedding
    return config
