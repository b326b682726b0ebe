"""Sequence classification: generated sequences (nothing to download), or a CSV file of yours.

    python -m experiments.train --config=configs/classify.py:cell=lstm --workdir=runs/events
    python -m experiments.train --config=configs/classify.py:cell=lstm,variant=six --workdir=runs/six
    python -m experiments.train --config=configs/classify.py:cell=lstm,variant=cue --workdir=runs/stateful
    python -m experiments.train --config=configs/classify.py:cell=lstm,variant=cue \\
        --config.train.stateful=False --workdir=runs/stateless
    python -m experiments.classify --workdir=runs/six --sequence="0 0 2 2 0 0"

Variants:
    events: The default. The class is the symbol that comes twice in a row.
    six: The six sequences of a Keras example.
    cue: The class is the first symbol. It is predicted at the end of each window, when only the carry still has it.

Cost and result, 3 seeds, on 2 cores (2026-11-25): `events` took 11 seconds and reached an accuracy of 1.000
(docs/results/events/compare.md). `cue` took 7 seconds: 1.000 with the carry, 0.273 ± 0.004 without
(docs/results/stateful/compare.md).

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`), and variant=.
"""

from ml_collections import ConfigDict

from nlstm_jax.settings import arguments

VARIANTS = ("events", "six", "cue")


def get_config(argument: str = "") -> ConfigDict:
    """Return the configuration: 128 units with dropout and recurrent dropout of 0.2, as in the Keras example."""
    values = arguments.parse(argument, VARIANTS)
    config = arguments.start("classify", values, VARIANTS)
    config.data.kind = values["variant"]
    config.cell.features = values["features"] or 128
    config.cell.input_dropout = (0.2,)
    config.cell.recurrent_dropout = (0.2,)
    config.train.batch_size = 100
    config.train.epochs = 30.0
    config.eval.batch_size = 1000

    if values["variant"] == "cue":
        config.data.length = 40
        config.data.window = 10
        config.cell.input_dropout = (0.0,)
        config.cell.recurrent_dropout = (0.0,)
    if values["variant"] == "six":
        config.train.batch_size = 6
        config.train.epochs = 200.0
        config.eval.every_epochs = 20.0

    if values["smoke"]:
        config.data.train_sequences = 800
        config.data.valid_sequences = 200
        config.data.test_sequences = 200
        config.cell.features = values["features"] or 24
        config.train.epochs = 3.0
        config.eval.every_epochs = 1.0
    return config
