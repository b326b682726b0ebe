"""A trained model as functions that run without this package: StableHLO, written by `jax.export`."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import export

from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.interface import Interface, describe_interface
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.loops import recurrent_layers
from nlstm_jax.models.seq2seq import Seq2Seq
from nlstm_jax.types import Array, Carry, Int

PLATFORMS = ("cpu", "cuda", "tpu")
"""The platforms that the functions run on."""

_Leaves: TypeAlias = tuple[Array, ...]
"""The arrays of a carry, [B, …] each. A tuple can be read back where the cell's own type is not known."""

_Forward: TypeAlias = Callable[[Array, Int[Array, "B"], Carry], tuple[Carry, Array]]
"""A function of inputs, lengths and carry, which returns the next carry and the outputs."""


def export_model(model: nnx.Module) -> dict[str, export.Exported]:
    """Export the functions of a trained model, with its parameters inside, without noise and over the plain scan.

    Args:
        model: A `LanguageModel`, a `Classifier`, a `Forecaster` or a `Seq2Seq`, which is left as it is.

    Returns:
        The functions that `models.interface.describe_interface` describes, by name. T and B are symbolic.

    Raises:
        ConfigError: The model is of another class.
    """
    # A copy, as the loops that training and evaluation prefer are not those of every platform.
    model = nnx.clone(model)
    for layer in recurrent_layers(model):
        layer.mode = "scan"
        layer.remat = None
        layer.truncate = None
    interface = describe_interface(model)
    if isinstance(model, Seq2Seq):
        return _export_seq2seq(model, interface)

    forward = _make_forward(model)
    structure = jax.tree.structure(interface.recurrent.cell.initial_carry((1,)))

    def sequence(inputs: Array, lengths: Int[Array, "B"], leaves: _Leaves) -> tuple[_Leaves, Array]:
        carry, outputs = forward(inputs, lengths, jax.tree.unflatten(structure, leaves))
        return tuple(jax.tree.leaves(carry)), outputs

    def step(inputs: Array, leaves: _Leaves) -> tuple[_Leaves, Array]:
        lengths = jnp.ones(inputs.shape[:1], jnp.int32)
        next_leaves, outputs = sequence(inputs[None], lengths, leaves)
        return next_leaves, outputs[0] if interface.outputs_have_time else outputs

    steps, batch = export.symbolic_shape("T, B")
    channels: tuple[int, ...] = ()
    dtype = jnp.int32
    if isinstance(model, Forecaster):
        channels = (interface.recurrent.in_features,)
        dtype = jnp.float32
    lengths = jax.ShapeDtypeStruct((batch,), jnp.int32)
    leaves = _leaf_shapes(interface, batch)
    exported = {
        "sequence": _export(sequence, jax.ShapeDtypeStruct((steps, batch, *channels), dtype), lengths, leaves),
    }
    if "step" in interface.functions:
        exported["step"] = _export(step, jax.ShapeDtypeStruct((batch, *channels), dtype), leaves)
    return exported


def _make_forward(model: nnx.Module) -> _Forward:
    """Return the function of a model with one recurrent layer."""
    if isinstance(model, LanguageModel):
        language_model = model

        def read(tokens: Array, lengths: Int[Array, "B"], carry: Carry) -> tuple[Carry, Array]:
            return language_model(tokens, carry, lengths=lengths)

        return read

    if isinstance(model, Classifier):
        classifier = model

        def classify(numbers: Array, lengths: Int[Array, "B"], carry: Carry) -> tuple[Carry, Array]:
            return classifier(numbers, lengths, carry)

        return classify

    assert isinstance(model, Forecaster)
    forecaster = model

    def forecast(xs: Array, lengths: Int[Array, "B"], carry: Carry) -> tuple[Carry, Array]:
        next_carry, ys = forecaster.cell(xs, carry, lengths=lengths)
        last = jnp.maximum(lengths - 1, 0)[None, :, None]
        return next_carry, forecaster.head(jnp.take_along_axis(ys, last, axis=0)[0])

    return forecast


def _export_seq2seq(model: Seq2Seq, interface: Interface) -> dict[str, export.Exported]:
    """Export the encoder, and one step of the decoder. The context, if the decoder reads it, is the last leaf."""
    initial_leaves, structure = jax.tree.flatten(model.decoder.cell.initial_carry((1,)))
    count = len(initial_leaves)
    has_context = model.feed == "context"

    def encoder(inputs: Int[Array, "T B"]) -> _Leaves:
        carry, context = model.encode(inputs)
        leaves = tuple(jax.tree.leaves(carry))
        return (*leaves, context) if has_context else leaves

    def step(previous: Int[Array, "B"], leaves: _Leaves) -> tuple[_Leaves, Array]:
        context = leaves[count:]
        decoder_input = context[0] if has_context else model.symbols(previous)
        carry, logits = model.step(jax.tree.unflatten(structure, leaves[:count]), decoder_input)
        return (*jax.tree.leaves(carry), *context), logits

    steps, batch = export.symbolic_shape("T, B")
    previous = jax.ShapeDtypeStruct((batch,), jnp.int32)
    return {
        "encoder": _export(encoder, jax.ShapeDtypeStruct((steps, batch), jnp.int32)),
        "step": _export(step, previous, _leaf_shapes(interface, batch)),
    }


def _leaf_shapes(interface: Interface, batch: object) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Return the shapes of a carry with a symbolic batch."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(interface.recurrent.cell.initial_carry((1,)))]
    dtypes += [jnp.dtype(jnp.float32)] * (len(interface.carry) - len(dtypes))
    return tuple(
        jax.ShapeDtypeStruct((batch, *leaf.shape), dtype) for leaf, dtype in zip(interface.carry, dtypes, strict=True)
    )


def _export(function: Callable[..., object], *arguments: object) -> export.Exported:
    """Export a function for all platforms."""
    return export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
