"""Language modeling of a running text: generated verse (nothing to download), Penn Treebank, or any text folder.

    python -m experiments.train --config=configs/ptb.py:cell=lstm,layers=2 --config.data.path=ptb/ --workdir=runs/lstm2
    python -m experiments.train --config=configs/ptb.py:cell=nlstm,params=643200 --config.data.path=ptb/ --workdir=...
    python -m experiments.train --config=configs/ptb.py:cell=gru --config.data.unit=characters --workdir=runs/gru

The defaults are those of the small model in Zaremba, Sutskever and Vinyals, "Recurrent neural network regularization"
(arXiv 1409.2329), for `cell=lstm,layers=2`. The model has 200 units, and all parameters are drawn from U(−0.1, 0.1). A
batch has windows of 20 words from 20 positions in the text. The loss is summed over a window. The optimizer is plain
gradient descent at 1.0 for 5 of 13 epochs; then the learning rate is halved each epoch.

Cost and result on Penn Treebank with four epochs at the full rate, 2 seeds, on 2 cores (2026-11-25,
docs/results/ptb/compare.md): two LSTM layers took 22 minutes and reached a validation perplexity of 118.45 ± 0.48, a
log-loss of 4.774 nats per word. A Nested LSTM of depth 2 took 27 minutes (114 ± 11, 4.74 nats).

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`).
"""

from ml_collections import ConfigDict

from nlstm_jax.settings import arguments


def get_config(argument: str = "") -> ConfigDict:
    """Return the configuration.

    With a budget the model projects to the width of the embedding, so that models with cells of different widths have
    a softmax layer of the same size.
    """
    values = arguments.parse(argument)
    config = arguments.start("text", values)
    config.cell.features = values["features"] or 200
    config.cell.init_scheme = "uniform(0.1)"
    if "forget_bias" in config.cell:
        config.cell.forget_bias = 0.0
    config.model.embedding = 200
    config.model.init_scheme = "uniform(0.1)"
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1.0
    config.optimizer.clip_norm = 5.0
    config.optimizer.schedule = "halving"
    config.optimizer.halve_after_epochs = 5.0
    config.train.batch_size = 20
    config.train.epochs = 13.0
    config.train.loss_per = "sequence"
    config.eval.metric = "perplexity"

    if values["smoke"]:
        config.data.train_poems = 256
        config.data.valid_poems = 16
        config.data.test_poems = 16
        config.cell.features = values["features"] or 16
        config.model.embedding = 16
        config.train.epochs = 3.0
        config.eval.train_examples = 40
    if arguments.has_budget(values):
        config.model.projection = config.model.embedding
    return config
