"""Stocks: how the close moves over the next five days; generated prices (nothing to download), or any CSV file.

    python -m experiments.train --config=configs/stocks.py:cell=lstm --config.data.path=table.csv --workdir=runs/online
    python -m experiments.train --config=configs/stocks.py:cell=nlstm,variant=sequence --workdir=runs/sequence
    python -m experiments.baselines --config=configs/stocks.py:variant=sequence 'runs/sequence*'

Variants: `online` (the default), an example of 2015: every day, raw, is forecast from and then learnt from, one step
from a zero state, plain gradient descent at 0.01, in float64, the initial values of NumPy's `RandomState(1234)`;
`sequence`, the same question asked properly: windows of 20 days, split by time, standard units of the past alone.

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`configs.arguments`), and variant=.
"""

from ml_collections import ConfigDict

from configs import arguments

VARIANTS = ("online", "sequence")


def get_config(argument: str = "") -> ConfigDict:
    """The configuration."""
    values = arguments.parse(argument, VARIANTS)
    config = arguments.start("stocks", values, VARIANTS)
    config.cell.features = values["features"] or 20
    if values["variant"] == "online":
        _as_the_example(config, plain=values["cell"] == "lstm" and values["layers"] == 1)
    else:
        config.model.dropout_output = 0.3
        config.optimizer.learning_rate, config.optimizer.schedule = 3e-4, "cosine"
        config.train.batch_size, config.train.epochs = 64, 20.0
        config.eval.batch_size, config.eval.train_examples = 1024, 10_000
        config.eval.metric = "rmse"
    if values["smoke"]:
        config.data.days = 400
        config.cell.features = values["features"] or 8
        if values["variant"] == "sequence":
            config.train.epochs = 3.0
    return config


def _as_the_example(config: ConfigDict, plain: bool) -> None:
    """What the example of 2015 does; its initial values are those of one plain LSTM."""
    config.data.window = config.data.lag = 1
    config.data.inputs, config.data.target = "raw", "change"
    config.cell.init_scheme = "normal(0.01)"
    if "forget_bias" in config.cell:
        config.cell.forget_bias = 0.0
    if plain:
        config.model.initial_values, config.seeds.init = "example", 1234 + config.seeds.init
    config.optimizer.name, config.optimizer.learning_rate, config.optimizer.clip_norm = "sgd", 0.01, 0.0
    config.train.online = True
    config.train.batch_size, config.train.epochs = 1, 1.0
