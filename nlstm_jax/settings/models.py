"""The settings of the models that several tasks share."""

from nlstm_jax.settings.setting import Setting, rate

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
"""The settings of `models.LanguageModel`."""

SYMBOLS: dict[str, Setting] = {
    "model.embedding": Setting(0, "E, width of a symbol's vector; 0: one-hot", low=0, high=65_536),
    "model.vectors": Setting("", "a text file of pretrained vectors, a symbol and E numbers a line"),
    "model.dropout_between": rate(0.0, "rate between the layers of a stack"),
}
"""The settings of the models that read symbols, or their pretrained vectors."""
