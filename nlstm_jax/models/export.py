"""A trained model as functions that run without this package: StableHLO, written by `jax.export`."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells.base import leaves_with_names
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.types import Array, Carry, Int

PLATFORMS = ("cpu", "cuda", "tpu")
"""The platforms that the functions run on."""

Leaves: TypeAlias = tuple[Array, ...]
"""The arrays of a carry, [B, …] each. A tuple can be read back where the cell's own type is not known."""


class _Interface(NamedTuple):
    """How a model is called.

    Attributes:
        forward: A function of inputs, lengths and carry, which returns the next carry and the outputs.
        recurrent: The recurrent layer of the model.
        inputs: The inputs in words.
        outputs: The outputs in words.
    """

    forward: Callable[[Array, Int[Array, "B"], Carry], tuple[Carry, Array]]
    recurrent: Recurrent
    inputs: str
    outputs: str


class CarryLeaf(NamedTuple):
    """An array of the carry.

    Attributes:
        name: Its name in the cell's carry, such as `inner.c`.
        shape: Its shape without the batch.
        initial: The value of all its elements before the first step.
    """

    name: str
    shape: tuple[int, ...]
    initial: float


class ExportedModel(NamedTuple):
    """The functions of a model, with its parameters inside, and what a caller must know of them.

    Attributes:
        sequence: `sequence(inputs, lengths, leaves)` reads a batch of sequences, `[T, B]` symbols or `[T, B, C]`
            values, and returns the next leaves and the outputs. T and B are symbolic, both at least 1.
        step: `step(inputs, leaves)` reads one step of each sequence, `[B]` or `[B, C]`, and returns the same.
        carry: The leaves in their order.
        inputs: The inputs of `sequence` in words.
        outputs: The outputs of `sequence` in words. Those of `step` have no axis T.
    """

    sequence: export.Exported
    step: export.Exported
    carry: tuple[CarryLeaf, ...]
    inputs: str
    outputs: str


def export_model(model: nnx.Module) -> ExportedModel:
    """Export a trained model, without noise and over the plain scan.

    Args:
        model: A `LanguageModel`, a `Classifier` or a `Forecaster`. Its recurrent layer is left as it is.

    Raises:
        ConfigError: The model is of another class.
    """
    # A copy, as the loops that training and evaluation prefer are not those of every platform.
    model = nnx.clone(model)
    interface = _interface(model)
    recurrent = interface.recurrent
    recurrent.mode = "scan"
    recurrent.remat = None
    recurrent.truncate = None
    initial = recurrent.cell.initial_carry((1,))
    structure = jax.tree.structure(initial)
    outputs_have_time = isinstance(model, LanguageModel)

    def sequence(inputs: Array, lengths: Int[Array, "B"], leaves: Leaves) -> tuple[Leaves, Array]:
        carry, outputs = interface.forward(inputs, lengths, jax.tree.unflatten(structure, leaves))
        return tuple(jax.tree.leaves(carry)), outputs

    def step(inputs: Array, leaves: Leaves) -> tuple[Leaves, Array]:
        lengths = jnp.ones(inputs.shape[:1], jnp.int32)
        next_leaves, outputs = sequence(inputs[None], lengths, leaves)
        return next_leaves, outputs[0] if outputs_have_time else outputs

    steps, batch = export.symbolic_shape("T, B")
    channels: tuple[int, ...] = ()
    dtype = jnp.int32
    if isinstance(model, Forecaster):
        channels = (recurrent.in_features,)
        dtype = jnp.float32
    sequence_inputs = jax.ShapeDtypeStruct((steps, batch, *channels), dtype)
    step_inputs = jax.ShapeDtypeStruct((batch, *channels), dtype)
    lengths = jax.ShapeDtypeStruct((batch,), jnp.int32)
    leaves = tuple(jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype) for leaf in jax.tree.leaves(initial))
    exported_sequence = export.export(jax.jit(sequence), platforms=PLATFORMS)(sequence_inputs, lengths, leaves)
    exported_step = export.export(jax.jit(step), platforms=PLATFORMS)(step_inputs, leaves)
    return ExportedModel(
        exported_sequence, exported_step, _describe_carry(initial), interface.inputs, interface.outputs
    )


def _interface(model: nnx.Module) -> _Interface:
    """Return how a model is called.

    Raises:
        ConfigError: The model is of a class that is not exported.
    """
    if isinstance(model, LanguageModel):
        language_model = model

        def read(tokens: Array, lengths: Int[Array, "B"], carry: Carry) -> tuple[Carry, Array]:
            return language_model(tokens, carry, lengths=lengths)

        outputs = "logits of the symbol after each one, float32 [T, B, V]"
        return _Interface(read, model.cell, "numbers of symbols, int32 [T, B]", outputs)

    if isinstance(model, Classifier):
        classifier = model

        def classify(numbers: Array, lengths: Int[Array, "B"], carry: Carry) -> tuple[Carry, Array]:
            return classifier(numbers, lengths, carry)

        outputs = "logits of the classes after the last symbol, float32 [B, K]"
        return _Interface(classify, model.cell, "numbers of symbols, int32 [T, B]", outputs)

    if isinstance(model, Forecaster):
        forecaster = model

        def forecast(xs: Array, lengths: Int[Array, "B"], carry: Carry) -> tuple[Carry, Array]:
            next_carry, ys = forecaster.cell(xs, carry, lengths=lengths)
            last = jnp.maximum(lengths - 1, 0)[None, :, None]
            return next_carry, forecaster.head(jnp.take_along_axis(ys, last, axis=0)[0])

        outputs = "outputs of the head after the last step, float32 [B, K]"
        return _Interface(forecast, model.cell, "values of the channels, float32 [T, B, C]", outputs)
    raise ConfigError(
        f"export: a LanguageModel, Classifier or Forecaster expected, found {type(model).__name__}, which has no "
        "function of a single step"
    )


def _describe_carry(initial: Carry) -> tuple[CarryLeaf, ...]:
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
    return tuple(leaves)
