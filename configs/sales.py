"""Sales forecasting: a generated shop world (nothing to download), or Kaggle's "Predict Future Sales".

    python -m experiments.train --config=configs/sales.py:cell=nlstm,depth=2,features=40 --workdir=runs/sales
    python -m experiments.train --config=configs/sales.py:cell=nlstm,depth=2,features=40 \\
        --config.data.path=sales/ --config.data.protocol=notebook --config.cell.gating=add --workdir=runs/notebook

Arguments: cell= depth= layers= features= params= model_params= flops= state= seed= smoke (see `configs.arguments`).
"""

from ml_collections import ConfigDict

from configs import arguments


def get_config(argument: str = "") -> ConfigDict:
    """The configuration; the best step is that of the lowest clipped RMSE, the competition's own score."""
    values = arguments.parse(argument)
    config = arguments.start("sales", values)
    config.cell.features = values["features"] or 40
    config.optimizer.learning_rate, config.optimizer.schedule = 1e-3, "cosine"
    config.train.batch_size, config.train.epochs = 128, 10.0
    config.eval.batch_size, config.eval.train_examples = 1024, 8192
    config.eval.metric = "rmse_clipped"
    if values["smoke"]:
        config.data.rows = 4000
        config.cell.features = values["features"] or 8
        config.train.epochs = 3.0
        config.eval.train_examples = 512
    return config
