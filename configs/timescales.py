"""Two generated processes of equal entropy, in which a slow hidden state gates or feeds a fast one.

    python -m experiments.train --config=configs/timescales.py:cell=nlstm,model_params=20000 --workdir=runs/gates
    python -m experiments.train --config=configs/timescales.py:cell=lstm,layers=2,model_params=20000,variant=feeds \\
        --workdir=runs/feeds

Variants:
    gates: The default. The slow state multiplies the impulse that moves the fast one.
    feeds: The slow state is added to the impulse.

`excess` is the log-loss minus the least that is possible, which the forward algorithm computes. See
docs/state_tracking.md, and docs/results/suite_v1/protocol.md, whose task this is.

Cost, on one core that others used too (2026-11-28): CPU seconds a step of 20,000 parameters with the widths of
`suite_v1`: W 0.023, S 0.025, N 0.028, D 0.025, and 0.2 for each evaluation of 400 sequences. The default run takes
about 110 seconds.

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`), and variant=.
"""

from ml_collections import ConfigDict

from nlstm_jax.settings import arguments

VARIANTS = ("gates", "feeds")


def get_config(argument: str = "") -> ConfigDict:
    """Return the configuration: 4,000 steps of 32 sequences of 200 symbols, Adam with a cosine schedule."""
    values = arguments.parse(argument, VARIANTS)
    config = arguments.start("timescales", values, VARIANTS)
    config.data.process = values["variant"]
    config.cell.features = values["features"] or 64
    config.model.embedding = 16
    config.model.dropout_input = 0.0
    config.model.dropout_output = 0.0
    config.optimizer.learning_rate = 5e-3
    config.optimizer.schedule = "cosine"
    config.train.batch_size = 32
    config.train.epochs = 64.0
    config.eval.every_steps = 100
    config.eval.batch_size = 400
    config.eval.train_examples = 400
    config.eval.metric = "excess"

    if values["smoke"]:
        config.data.length = 30
        config.data.train_sequences = 320
        config.data.valid_sequences = 40
        config.data.test_sequences = 40
        config.cell.features = values["features"] or 16
        config.train.epochs = 6.0
        config.eval.every_steps = 20
    return config
