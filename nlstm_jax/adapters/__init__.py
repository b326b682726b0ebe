"""At home elsewhere: cells inside Flax (`nnx`, `linen`), weights from and to other frameworks (`weights`)."""
