"""The settings of each task, besides the ones that all tasks share."""

from nlstm_jax.settings.setting import Setting, rate, seed

LANGUAGE_MODEL: dict[str, Setting] = {
    "model.embedding": Setting(128, "E, width of a symbol's vector", low=1, high=65_536),
    "model.projection": Setting(0, "width between cell and softmax; 0: none", low=0, high=65_536),
    "model.dtype": Setting(
        "float32", "of the dense layers' products; `cell.dtype` is the cell's", choices=("float32", "bfloat16")
    ),
    "model.tied": Setting(False, "the softmax uses the embedding's vectors"),
    "model.init_scheme": Setting("default", "initial values of all but the cell: default, uniform(RADIUS)"),
    "model.dropout_input": rate(0.5, "rate on the embedded symbols"),
    "model.dropout_output": rate(0.5, "rate on what enters the softmax"),
    "model.dropout_between": rate(0.0, "rate between the layers of a stack"),
}

POEMS: dict[str, Setting] = {
    "data.path": Setting("", "a folder of quatrain files or a file of poems; empty: generated verse"),
    "data.train_poems": Setting(10_000, "generated: poems to train on", low=1, high=10_000_000),
    "data.valid_poems": Setting(1000, "generated: poems to validate on", low=1, high=1_000_000),
    "data.test_poems": Setting(1000, "generated: poems to test on", low=1, high=1_000_000),
    "data.seed": seed("generated: of the poems"),
    **LANGUAGE_MODEL,
}

TEXT: dict[str, Setting] = {
    "data.path": Setting("", "a folder with *train*.txt, *valid*.txt, *test*.txt; empty: generated verse"),
    "data.unit": Setting("words", "what a symbol is", choices=("words", "characters")),
    "data.vocabulary": Setting(0, "if > 0: so many symbols at the most, rarer ones are <unk>", low=0, high=10_000_000),
    "data.window": Setting(20, "T, symbols in a window, beyond which the gradient does not go", low=1, high=100_000),
    "data.train_poems": Setting(4000, "generated: poems to train on", low=1, high=10_000_000),
    "data.valid_poems": Setting(400, "generated: poems to validate on", low=1, high=1_000_000),
    "data.test_poems": Setting(400, "generated: poems to test on", low=1, high=1_000_000),
    "data.seed": seed("generated: of the poems"),
    "train.loss_per": Setting(
        "target", "of what training minimises the mean: sequence sums over a window", choices=("target", "sequence")
    ),
    **LANGUAGE_MODEL,
    "model.dropout_input": rate(0.0, "rate on the embedded symbols"),
    "model.dropout_output": rate(0.0, "rate on what enters the softmax"),
}

SALES: dict[str, Setting] = {
    "data.path": Setting("", "a folder with Kaggle's files; empty: a generated shop world"),
    "data.protocol": Setting("honest", "the split", choices=("honest", "notebook")),
    "data.window": Setting(24, "honest: months read", low=1, high=120),
    "data.origins": Setting(1, "honest: months validated on, each from the months before it", low=1, high=24),
    "data.price": Setting(False, "the item's price as a second channel"),
    "data.scale": Setting("log1p", "how counts enter the cell", choices=("raw", "log1p")),
    "data.rows": Setting(40_000, "generated: rows of sales_train.csv", low=1000, high=10_000_000),
    "data.shops": Setting(10, "generated: shops", low=1, high=10_000),
    "data.items": Setting(300, "generated: items", low=1, high=1_000_000),
    "data.pairs": Setting(600, "generated: pairs of test.csv", low=1, high=1_000_000),
    "data.seed": seed("generated: of the shop world"),
    "model.likelihood": Setting("mse", "what is minimised", choices=("mse", "gaussian", "negative_binomial")),
    "model.dropout_output": rate(0.0, "rate on the cell's last output"),
    "model.dropout_between": rate(0.0, "rate between the layers of a stack"),
}

SYMBOLS: dict[str, Setting] = {
    "model.embedding": Setting(0, "E, width of a symbol's vector; 0: one-hot", low=0, high=65_536),
    "model.vectors": Setting("", "a text file of pretrained vectors, a symbol and E numbers a line"),
    "model.dropout_between": rate(0.0, "rate between the layers of a stack"),
}

ECHO: dict[str, Setting] = {
    "data.length": Setting(5, "symbols in a sequence", low=1, high=100_000),
    "data.echo_length": Setting(2, "how many of them, from the first on, are to be said again", low=1, high=100_000),
    "data.vocabulary": Setting(100, "V, different symbols", low=2, high=1_000_000),
    "data.delay": Setting(0, "blanks between the last symbol and the echo", low=0, high=100_000),
    "data.train_sequences": Setting(8000, "sequences to train on", low=1, high=10_000_000),
    "data.valid_sequences": Setting(2000, "sequences to validate on", low=1, high=10_000_000),
    "data.test_sequences": Setting(2000, "sequences to test on", low=1, high=10_000_000),
    "data.seed": seed("of the sequences"),
    "model.feed": Setting(
        "context",
        "what the decoder reads: the encoder's last output, or the symbol before",
        choices=("context", "previous"),
    ),
    **SYMBOLS,
}

STOCKS: dict[str, Setting] = {
    "data.path": Setting("", "a CSV file of daily open, high, low, close, volume; empty: generated prices"),
    "data.columns": Setting(
        "", "of a header: close=Last,adjusted=Adj Close,…; without one: all names in order; empty: the usual"
    ),
    "data.date_format": Setting("", "as of strptime; empty: %Y-%m-%d or %Y%m%d"),
    "data.window": Setting(20, "T, days read", low=1, high=10_000),
    "data.horizon": Setting(5, "days ahead", low=1, high=1000),
    "data.lag": Setting(0, "days between the last one read and the one that is looked ahead from", low=0, high=1000),
    "data.inputs": Setting(
        "returns",
        "logarithmic changes in standard units, values in standard units, or values",
        choices=("returns", "standard", "raw"),
    ),
    "data.target": Setting(
        "log_return",
        "of the close over the horizon: 100 log(ratio), or the difference",
        choices=("log_return", "change"),
    ),
    "data.largest_gap": Setting(
        14, "days without a row beyond which nothing is read or forecast across", low=1, high=10_000
    ),
    "data.fit_rows": Setting(
        0, "online: first rows that only the standard units are fitted on", low=0, high=1_000_000
    ),
    "data.valid_fraction": Setting(0.15, "of the rows, before the test rows", above=0, below=0.5),
    "data.test_fraction": Setting(0.15, "of the rows, the last", above=0, below=0.5),
    "data.days": Setting(3000, "generated: days", low=50, high=1_000_000),
    "data.seed": seed("generated: of the prices"),
    "train.online": Setting(False, "every example is forecast, then learnt from, in order and once; in float64"),
    "train.learn_after": Setting(0, "online: steps from a forecast to learning from it; the horizon is honest", low=0),
    "model.likelihood": Setting("mse", "what is minimised", choices=("mse", "gaussian")),
    "model.initial_values": Setting(
        "drawn", "drawn, or an LSTM's of the 2015 example, by NumPy's RandomState", choices=("drawn", "example")
    ),
    "model.dropout_output": rate(0.0, "rate on the cell's last output"),
    "model.dropout_between": rate(0.0, "rate between the layers of a stack"),
}

CLASSIFY: dict[str, Setting] = {
    "data.path": Setting("", "a CSV file with the columns sequence, class and perhaps split; empty: generated"),
    "data.kind": Setting(
        "events",
        "generated: a symbol that comes twice in a row, a cue to remember, the six",
        choices=("events", "cue", "six"),
    ),
    "data.length": Setting(12, "generated: symbols in a sequence", low=2, high=100_000),
    "data.classes": Setting(4, "generated: K, classes and symbols", low=2, high=10_000),
    "data.train_sequences": Setting(4000, "generated: sequences to train on", low=1, high=10_000_000),
    "data.valid_sequences": Setting(1000, "generated: sequences to validate on", low=1, high=10_000_000),
    "data.test_sequences": Setting(1000, "generated: sequences to test on", low=1, high=10_000_000),
    "data.window": Setting(
        0, "T, symbols that are read at once and the gradient goes through; 0: all", low=0, high=100_000
    ),
    "data.seed": seed("generated: of the sequences"),
    "train.stateful": Setting(True, "the memory goes from a sequence's window to its next one"),
    "model.output": Setting(
        "softmax", "one class of all, or yes or no for each (binary cross-entropy)", choices=("softmax", "sigmoid")
    ),
    "model.dropout_output": rate(0.0, "rate on the cell's last output"),
    **SYMBOLS,
}

TASKS = {"poems": POEMS, "sales": SALES, "text": TEXT, "echo": ECHO, "stocks": STOCKS, "classify": CLASSIFY}
