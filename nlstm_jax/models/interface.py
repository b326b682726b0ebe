"""The functions of a trained model that other programs call: their names, arguments and results."""

from typing import NamedTuple

import numpy as np
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import Bidirectional, Layer, Stack
from nlstm_jax.cells.base import leaves_with_names
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.seq2seq import Seq2Seq
from nlstm_jax.types import Carry

CONTEXT = "context"
"""The name of the encoder's last output, which stands after the decoder's carry."""


class CarryLeaf(NamedTuple):
    """An array of the carry.

    Attributes:
        name: Its name in the cell's carry, such as `inner.c`.
        shape: Its shape without the batch.
        initial: The value of all its elements before the first step. None if another function returns it.
    """

    name: str
    shape: tuple[int, ...]
    initial: float | None


class Interface(NamedTuple):
    """A description of the functions of a model.

    The last function is `step`, which reads one step of each sequence, `[B, …]`, and the carry; it returns the next
    carry and the outputs. A model with a `Bidirectional` layer has no `step`. The function before it depends on the
    class of the model:

        sequence    reads `[T, B, …]`, the lengths `[B]` and the carry; it returns the next carry and the outputs.
        encoder     reads `[T, B]`; it returns the carry of the first step. Only a `Seq2Seq` has it.

    T and B are free, both at least 1.

    Attributes:
        functions: The names of the functions.
        recurrent: The recurrent layer that has the carry.
        carry: The arrays of the carry in their order.
        inputs: The inputs of the first function in words.
        outputs: The outputs of `sequence`, or of the `step` of a `Seq2Seq`, in words.
        outputs_have_time: True if `sequence` returns outputs of every step.
    """

    functions: tuple[str, ...]
    recurrent: Recurrent
    carry: tuple[CarryLeaf, ...]
    inputs: str
    outputs: str
    outputs_have_time: bool = False


def describe_interface(model: nnx.Module) -> Interface:
    """Describe the functions of a trained model.

    Raises:
        ConfigError: The model is not a `LanguageModel`, `Classifier`, `Forecaster` or `Seq2Seq`. Or its initial carry
            has elements that differ from each other.
    """
    numbers = "numbers of symbols, int32 [T, B]"
    if isinstance(model, LanguageModel):
        outputs = "logits of the symbol after each one, float32 [T, B, V]"
        return _describe(model.cell, numbers, outputs, outputs_have_time=True)
    if isinstance(model, Classifier):
        return _describe(model.cell, numbers, "logits of the classes after the last symbol, float32 [B, K]")
    if isinstance(model, Forecaster):
        inputs = "values of the channels, float32 [T, B, C]"
        return _describe(model.cell, inputs, "outputs of the head after the last step, float32 [B, K]")
    if isinstance(model, Seq2Seq):
        carry = [leaf._replace(initial=None) for leaf in _describe_carry(model.decoder.cell.initial_carry((1,)))]
        if model.feed == "context":
            carry.append(CarryLeaf(CONTEXT, (model.encoder.cell.out_features,), None))
        return Interface(
            ("encoder", "step"),
            model.decoder,
            tuple(carry),
            f"{numbers}; a negative number is a blank",
            "logits of the next symbol, float32 [B, V], from the symbol before it, −1 before the first",
        )
    raise ConfigError(
        "export: a LanguageModel, Classifier, Forecaster or Seq2Seq expected, found "
        f"{type(model).__name__}; --format=safetensors serves"
    )


def _describe(recurrent: Recurrent, inputs: str, outputs: str, *, outputs_have_time: bool = False) -> Interface:
    """Describe a model with one recurrent layer."""
    functions: tuple[str, ...] = ("sequence", "step")
    if _is_bidirectional(recurrent.cell):
        functions = ("sequence",)
    carry = _describe_carry(recurrent.cell.initial_carry((1,)))
    return Interface(functions, recurrent, tuple(carry), inputs, outputs, outputs_have_time)


def _is_bidirectional(layer: Layer) -> bool:
    """Return True if a layer needs the whole sequence."""
    if isinstance(layer, Stack):
        return any(map(_is_bidirectional, layer.cells))
    return isinstance(layer, Bidirectional)


def _describe_carry(initial: Carry) -> list[CarryLeaf]:
    """Describe the leaves of an initial carry [1, …].

    Raises:
        ConfigError: The elements of a leaf differ from each other.
    """
    leaves = []
    for name, leaf in leaves_with_names(initial):
        values = np.unique(np.asarray(leaf, np.float64))
        if len(values) != 1:
            raise ConfigError(f"export: an initial carry with one value for all elements of {name} expected")
        leaves.append(CarryLeaf(name, tuple(leaf.shape[1:]), float(values[0])))
    return leaves
