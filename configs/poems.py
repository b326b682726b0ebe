"""Language modeling of poems: generated verse (nothing to download), quatrains, or any file of poems.

    python -m experiments.train --config=configs/poems.py:cell=nlstm,depth=2 --workdir=runs/nlstm2
    python -m experiments.train --config=configs/poems.py:cell=lstm --config.data.path=poems/ --workdir=runs/lstm

Cost and result on real quatrains, one seed each, on 2 cores (2026-11-24, docs/results/quatrains/compare.md): an LSTM
with a cell of 394,000 parameters took 25 minutes and reached a validation log-loss of 4.874 nats per target. A Nested
LSTM of depth 2 took 11 minutes (4.878), two layers took 8 minutes (4.989).

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
    config = arguments.start("poems", values)
    if values["smoke"]:
        config.data.train_poems = 256
        config.data.valid_poems = 64
        config.data.test_poems = 64
        config.cell.features = values["features"] or 16
        config.model.embedding = 16
        config.train.batch_size = 32
        config.train.epochs = 3.0
        config.eval.batch_size = 64
        config.eval.train_examples = 64
    if arguments.has_budget(values):
        config.model.projection = config.model.embedding
    return config
