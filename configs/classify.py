"""Sequence classification: generated sequences (nothing to download), or a CSV file of yours.

    python -m experiments.train --config=configs/classify.py:cell=lstm --workdir=runs/events
    python -m experiments.train --config=configs/classify.py:cell=lstm,variant=six --workdir=runs/six
    python -m experiments.train --config=configs/classify.py:cell=lstm,variant=cue --workdir=runs/stateful
    python -m experiments.train --config=configs/classify.py:cell=lstm,variant=cue \\
        --config.train.stateful=False --workdir=runs/stateless
    python -m experiments.classify --workdir=runs/six --sequence="0 0 2 2 0 0"

Variants: `events` (the default; a symbol that comes twice in a row is the class), `six` (a Keras example's six
sequences), `cue` (the first symbol is the class, asked for at the end of each window: only the memory knows it).

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`configs.arguments`), and variant=.
"""

from ml_collections import ConfigDict

from configs import arguments

VARIANTS = ("events", "six", "cue")


def get_config(argument: str = "") -> ConfigDict:
    """The configuration: 128 units with dropout and recurrent dropout of 0.2, as the Keras example has them."""
    values = arguments.parse(argument, VARIANTS)
    config = arguments.start("classify", values, VARIANTS)
    config.data.kind = values["variant"]
    config.cell.features = values["features"] or 128
    config.cell.input_dropout = config.cell.recurrent_dropout = (0.2,)
    config.train.batch_size, config.train.epochs = 100, 30.0
    config.eval.batch_size = 1000
    if values["variant"] == "cue":
        config.data.length, config.data.window = 40, 10
        config.cell.input_dropout = config.cell.recurrent_dropout = (0.0,)
    if values["variant"] == "six":
        config.train.batch_size, config.train.epochs, config.eval.every_epochs = 6, 200.0, 20.0
    if values["smoke"]:
        config.data.train_sequences, config.data.valid_sequences, config.data.test_sequences = 800, 200, 200
        config.cell.features = values["features"] or 24
        config.train.epochs, config.eval.every_epochs = 3.0, 1.0
    return config
