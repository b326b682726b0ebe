"""Echo: an encoder reads a generated sequence, then a decoder repeats the first symbols of it.

    python -m experiments.train --config=configs/echo.py:cell=lstm --workdir=runs/echo
    python -m experiments.train --config=configs/echo.py:cell=nlstm,params=60000 \\
        --config.data.length=50 --workdir=runs/long
    python -m experiments.sample --workdir=runs/echo --count=8

Cost and result, 3 seeds, on 2 cores (2026-11-25, docs/results/echo/compare.md): the first command took 40 seconds and
reached a token accuracy of 0.9998 ± 0.0007. Against length: docs/results/echo_length/compare.md.

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`). A budget is that of encoder and decoder together.
"""

from ml_collections import ConfigDict

from nlstm_jax.settings import arguments


def get_config(argument: str = "") -> ConfigDict:
    """Return the configuration: 150 units, a vocabulary of 100, the first 2 of 5 symbols repeated, Adam at 0.01."""
    values = arguments.parse(argument)
    config = arguments.start("echo", values)
    config.cell.features = values["features"] or 150
    config.cell.recurrent_dropout = (0.1,)
    config.optimizer.learning_rate = 0.01
    config.train.batch_size = 200
    config.train.steps = 2000
    config.eval.every_steps = 100
    config.eval.batch_size = 1000

    if values["smoke"]:
        config.data.vocabulary = 10
        config.data.train_sequences = 1000
        config.data.valid_sequences = 200
        config.data.test_sequences = 200
        config.cell.features = values["features"] or 24
        config.train.batch_size = 50
        config.train.steps = 60
        config.eval.every_steps = 20
        config.eval.batch_size = 200
    return config
