"""Echo: the first symbols of a generated sequence said again after all of it was read, by an encoder and a decoder.

    python -m experiments.train --config=configs/echo.py:cell=lstm --workdir=runs/echo
    python -m experiments.train --config=configs/echo.py:cell=nlstm,params=60000 \\
        --config.data.length=50 --workdir=runs/long
    python -m experiments.sample --workdir=runs/echo --count=8

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`configs.arguments`). A budget is that of encoder and decoder together.
"""

from ml_collections import ConfigDict

from configs import arguments


def get_config(argument: str = "") -> ConfigDict:
    """The configuration: 150 units, vocabulary 100, 5 symbols of which the first 2 are echoed, Adam at 0.01."""
    values = arguments.parse(argument)
    config = arguments.start("echo", values)
    config.cell.features = values["features"] or 150
    config.cell.recurrent_dropout = (0.1,)
    config.optimizer.learning_rate = 0.01
    config.train.batch_size, config.train.steps = 200, 2000
    config.eval.every_steps, config.eval.batch_size = 100, 1000
    if values["smoke"]:
        config.data.vocabulary = 10
        config.data.train_sequences, config.data.valid_sequences, config.data.test_sequences = 1000, 200, 200
        config.cell.features = values["features"] or 24
        config.train.batch_size, config.train.steps = 50, 60
        config.eval.every_steps, config.eval.batch_size = 20, 200
    return config
