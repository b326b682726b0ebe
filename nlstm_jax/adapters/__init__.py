"""Adapters to Flax (`nnx` and `linen`), and converters of weights from and to other frameworks (`weights`)."""
