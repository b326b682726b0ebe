"""State tracking: delayed recall, or the word problem of S5, trained on short sequences and tested on long ones.

    python -m experiments.train --config=configs/state_tracking.py:cell=nlstm,model_params=60000 --workdir=runs/recall
    python -m experiments.train --config=configs/state_tracking.py:cell=lstm,layers=2,model_params=60000,variant=s5 \\
        --workdir=runs/s5

Variants:
    recall: The default. Four of eight symbols are read, and are asked for in their order after a delay.
    s5: The product of all permutations of five points so far is asked for at each time step.

A run ends at the first of its evaluations, every 100 steps, with a token accuracy of at least 0.99 on the validation
sequences, and at 6,000 steps otherwise. All of its training sequences are new. See docs/state_tracking.md, and
docs/results/suite_v1/protocol.md, whose task this is.

Cost, on one core that others used too (2026-11-28): CPU seconds a step of 60,000 parameters with the widths of
`suite_v1`: W 0.019, S 0.020, N 0.021, D 0.021, and 0.1 for each evaluation of 500 sequences. S5 takes the same. A run
that does not solve its task takes about 130 seconds.

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`), and variant=.
"""

from ml_collections import ConfigDict

from nlstm_jax.settings import arguments

VARIANTS = ("recall", "s5")


def get_config(argument: str = "") -> ConfigDict:
    """Return the configuration: at most 6,000 steps of 64 sequences, Adam at a constant rate, until solved."""
    values = arguments.parse(argument, VARIANTS)
    config = arguments.start("state_tracking", values, VARIANTS)
    config.data.kind = values["variant"]
    config.data.shortest = 8 if values["variant"] == "recall" else 1
    config.cell.features = values["features"] or 128
    config.model.embedding = 16
    config.model.dropout_input = 0.0
    config.model.dropout_output = 0.0
    config.optimizer.learning_rate = 5e-3
    config.train.batch_size = 64
    config.train.epochs = 1.0
    config.eval.every_steps = 100
    config.eval.batch_size = 500
    config.eval.train_examples = 500
    config.eval.metric = "token_accuracy"
    config.eval.tolerance = 0.99

    if values["smoke"]:
        config.data.longest = 10
        config.data.test_shortest = 11
        config.data.test_longest = 20
        config.data.train_sequences = 3840
        config.data.valid_sequences = 100
        config.data.test_sequences = 100
        config.cell.features = values["features"] or 16
        config.eval.every_steps = 20
    return config
