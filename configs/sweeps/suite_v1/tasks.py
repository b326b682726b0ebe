"""The tasks of `suite_v1`: their config files, budgets, priors and lengths."""

from .designs import Suite, data_path

_DROPOUT_KEYS = ("model.dropout_input", "model.dropout_between", "model.dropout_output")

PTB = Suite(
    name="ptb",
    config="ptb",
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
    config="poems",
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
    config="sales",
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

_GATES = Suite(
    name="timescales",
    config="timescales",
    model_params=20_000,
    learning_rates=(1e-3, 2e-2),
    # An epoch has 62.5 steps, so these are 1,500 and 4,000 steps.
    short_epochs=24.0,
    full_epochs=64.0,
    dropout_keys=("model.dropout_between", "model.dropout_output"),
    settings={},
    arguments={"variant": "gates"},
    draw_count=20,
    prefix="gates-",
)

TIMESCALES = (_GATES, _GATES._replace(arguments={"variant": "feeds"}, prefix="feeds-"))
"""The two processes, which share each sweep. The interaction of design and process is a result of its own."""

_RECALL = Suite(
    name="state_tracking",
    config="state_tracking",
    model_params=60_000,
    learning_rates=(1e-3, 2e-2),
    # One epoch has 6,000 steps. There are no short runs.
    short_epochs=1.0,
    full_epochs=1.0,
    dropout_keys=(),
    settings={},
    arguments={"variant": "recall"},
    draw_count=20,
    prefix="recall-",
)

STATE_TRACKING = (_RECALL, _RECALL._replace(arguments={"variant": "s5"}, prefix="s5-"))
"""Delayed recall and the word problem of S5, which share a sweep."""
