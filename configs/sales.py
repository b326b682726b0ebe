"""Sales forecasting: a generated shop world (nothing to download), or Kaggle's "Predict Future Sales".

    python -m experiments.train --config=configs/sales.py:cell=nlstm,depth=2,features=40 --workdir=runs/sales
    python -m experiments.train --config=configs/sales.py:cell=nlstm,depth=2,features=40 \\
        --config.data.path=sales/ --config.data.protocol=notebook --config.cell.gating=add --workdir=runs/notebook

Cost and result on a subset of Kaggle's data, 3 seeds, on 2 cores (2026-11-24, docs/results/sales/compare.md): the
Nested LSTM of the first command took 16 seconds and reached a clipped validation RMSE of 2.470 ± 0.024. Two LSTM
layers took 19 seconds (2.489 ± 0.025).

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see
`nlstm_jax.settings.arguments`).
"""

from ml_collections import ConfigDict

from nlstm_jax.settings import arguments


def get_config(argument: str = "") -> ConfigDict:
    """Return the configuration. The best step has the lowest clipped RMSE, which is the competition's score."""
    values = arguments.parse(argument)
    config = arguments.start("sales", values)
    config.cell.features = values["features"] or 40
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.train.batch_size = 128
    config.train.epochs = 10.0
    config.eval.batch_size = 1024
    config.eval.train_examples = 8192
    config.eval.metric = "rmse_clipped"

    if values["smoke"]:
        config.data.rows = 4000
        config.cell.features = values["features"] or 8
        config.train.epochs = 3.0
        config.eval.train_examples = 512
    return config
