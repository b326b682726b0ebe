"""Stocks: the change of the close over the next five days; generated prices (nothing to download), or any CSV file.

    python -m experiments.train --config=configs/stocks.py:cell=lstm --config.data.path=table.csv --workdir=runs/online
    python -m experiments.train --config=configs/stocks.py:cell=nlstm,variant=sequence --workdir=runs/sequence
    python -m experiments.baselines --config=configs/stocks.py:variant=sequence 'runs/sequence*'

Variants:
    online: The default, an example of 2015. The inputs are raw. Each day is first forecast and then learned from, one
        step from a zero state. It uses plain gradient descent at 0.01 in float64, and the initial values of NumPy's
        `RandomState(1234)`.
    sequence: The same forecast, evaluated properly. It uses windows of 20 days, splits the data by time, and
        standardizes with statistics of the past alone.

Cost and result on a real share, on 2 cores (2026-11-25): `online` took 1 second and ended at a smoothed error of
0.9296 (docs/results/stocks_online/compare.md). `sequence` took 8 seconds with a Nested LSTM and reached a validation
RMSE of 4.159 ± 0.040, 3 seeds (docs/results/stocks/compare.md).

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`), and variant=.
"""

from ml_collections import ConfigDict

from nlstm_jax.settings import arguments

VARIANTS = ("online", "sequence")


def get_config(argument: str = "") -> ConfigDict:
    """Return the configuration of the variant."""
    values = arguments.parse(argument, VARIANTS)
    config = arguments.start("stocks", values, VARIANTS)
    config.cell.features = values["features"] or 20

    if values["variant"] == "online":
        is_plain_lstm = values["cell"] == "lstm" and values["layers"] == 1
        _set_online(config, is_plain_lstm)
    else:
        _set_sequence(config)

    if values["smoke"]:
        config.data.days = 400
        config.cell.features = values["features"] or 8
        if values["variant"] == "sequence":
            config.train.epochs = 3.0
    return config


def _set_online(config: ConfigDict, is_plain_lstm: bool) -> None:
    """Set the values of the example of 2015.

    Args:
        config: The configuration to change.
        is_plain_lstm: True if the cell is a single LSTM layer. Only this cell can have the example's initial values.
    """
    config.data.window = 1
    config.data.lag = 1
    config.data.inputs = "raw"
    config.data.target = "change"
    config.cell.init_scheme = "normal(0.01)"
    if "forget_bias" in config.cell:
        config.cell.forget_bias = 0.0
    if is_plain_lstm:
        config.model.initial_values = "example"
        config.seeds.init += 1234
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.clip_norm = 0.0
    config.train.online = True
    config.train.batch_size = 1
    config.train.epochs = 1.0


def _set_sequence(config: ConfigDict) -> None:
    """Set the values of the variant `sequence`."""
    config.model.dropout_output = 0.3
    config.optimizer.learning_rate = 3e-4
    config.optimizer.schedule = "cosine"
    config.train.batch_size = 64
    config.train.epochs = 20.0
    config.eval.batch_size = 1024
    config.eval.train_examples = 10_000
    config.eval.metric = "rmse"
