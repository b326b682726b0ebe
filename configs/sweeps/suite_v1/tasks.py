"""The tasks of `suite_v1` that run on real data: their config files, budgets, priors and lengths."""

from configs.sweeps.suite_v1.designs import Suite, data_path

_DROPOUT_KEYS = ("model.dropout_input", "model.dropout_between", "model.dropout_output")

PTB = Suite(
    name="ptb",
    config="configs/ptb.py",
    model_params=4_651_600,
    learning_rates=(0.3, 5.0),
    short_epochs=3.0,
    full_epochs=8.0,
    dropout_keys=_DROPOUT_KEYS,
    settings={"data.path": data_path("ptb"), "optimizer.schedule": "cosine", "eval.metric": "log_loss"},
)
"""Penn Treebank, words."""

QUATRAINS = Suite(
    name="quatrains",
    config="configs/poems.py",
    model_params=1_770_000,
    learning_rates=(5e-4, 1e-2),
    short_epochs=6.0,
    full_epochs=24.0,
    dropout_keys=_DROPOUT_KEYS,
    settings={"data.path": data_path("poems"), "optimizer.schedule": "cosine"},
)
"""Chinese quatrains of five characters a line."""

SALES = Suite(
    name="sales",
    config="configs/sales.py",
    model_params=19_750,
    learning_rates=(2e-4, 1e-2),
    short_epochs=4.0,
    full_epochs=10.0,
    dropout_keys=("model.dropout_between", "model.dropout_output"),
    settings={
        "data.path": data_path("sales"),
        "data.window": 12,
        "data.origins": 3,
        "model.likelihood": "negative_binomial",
        "eval.metric": "log_loss",
    },
)
"""Monthly sales of shops."""
