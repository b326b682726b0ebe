"""A trained model as graphs of ONNX, whose recurrent layers are the standard operators `LSTM`, `GRU` and `RNN`."""

import importlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.adapters.weights import to_onnx
from nlstm_jax.cells import Bidirectional, Layer, Stack
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.interface import Interface, describe_interface
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.seq2seq import Seq2Seq
from nlstm_jax.models.symbols import Symbols
from nlstm_jax.types import AnyArray, Params

OPSET = 17
"""The version of ONNX's operators. onnxruntime reads it since version 1.12."""

_IR_VERSION = 8
"""The version of the file format that belongs to the operators."""

_MERGES = {"concat": "Concat", "sum": "Add", "mul": "Mul", "ave": "Mean"}
"""The operators that merge both directions, by `Bidirectional.merge`."""


class _Sequences(NamedTuple):
    """The names of what is known of the lengths of sequences.

    Attributes:
        lengths: The lengths, int32 [B].
        has_steps: True for the sequences that have a step, bool [B, 1].
    """

    lengths: str
    has_steps: str


class _Graph:
    """A graph under construction. Every value has a name, which the methods return."""

    def __init__(self) -> None:
        """Make an empty graph.

        Raises:
            ConfigError: The package onnx is not installed.
        """
        self._onnx = _import_onnx()
        self._nodes: list[object] = []
        self._constants: list[object] = []
        self._inputs: list[object] = []
        self._outputs: list[object] = []

    def input(self, name: str, dtype: type, shape: Sequence[int | str]) -> str:
        """Add an input."""
        self._inputs.append(self._describe(name, dtype, shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Make a value, which is float32, an output of this name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._describe(name, np.float32, shape))

    def constant(self, value: AnyArray | Sequence[int] | int, dtype: type = np.float32) -> str:
        """Add a constant."""
        name = f"constant_{len(self._constants)}"
        array: np.ndarray = np.array(value, dtype, order="C")
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add an operator with one output."""
        (output,) = self.nodes(operator, 1, *inputs, **attributes)
        return output

    def nodes(self, operator: str, count: int, *inputs: str, **attributes: object) -> list[str]:
        """Add an operator with `count` outputs."""
        outputs = [f"{operator}_{len(self._nodes)}_{index}" for index in range(count)]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def unsqueeze(self, value: str, axis: int) -> str:
        """Add an axis of length 1."""
        return self.node("Unsqueeze", value, self.constant([axis], np.int64))

    def squeeze(self, value: str, axis: int) -> str:
        """Remove an axis of length 1."""
        return self.node("Squeeze", value, self.constant([axis], np.int64))

    def cast(self, value: str, dtype: type) -> str:
        """Convert to another dtype."""
        return self.node("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def serialize(self, name: str) -> bytes:
        """Return the graph as the content of a file."""
        helper = self._onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="nlstm_jax")
        return bytes(model.SerializeToString())

    def _describe(self, name: str, dtype: type, shape: Sequence[int | str]) -> object:
        """Return the description of an input or output."""
        helper = self._onnx.helper
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))


def export_onnx(model: nnx.Module) -> dict[str, bytes]:
    """Export the functions of a trained model, with its parameters inside and without noise.

    Args:
        model: A `LanguageModel`, a `Classifier`, a `Forecaster` or a `Seq2Seq`, whose cells `to_onnx` converts. They
            may be in a `Stack` and a `Bidirectional`.

    Returns:
        The functions that `models.interface.describe_interface` describes, by name, as contents of files. The inputs
        are `inputs`, `lengths` and `carry.NAME` for each array of the carry. The outputs are `next_carry.NAME` in the
        order of the carry, and `outputs`.

    Raises:
        ConfigError: The package onnx is not installed, or the model is of another class.
        ValueError: ONNX has no such cell or option; the message names it.
    """
    interface = describe_interface(model)
    files = {}
    for name in interface.functions:
        graph = _Graph()
        if name == "encoder":
            assert isinstance(model, Seq2Seq)
            _add_encoder(graph, model, interface)
        else:
            _add_function(graph, model, interface, is_step=name == "step")
        files[name] = graph.serialize(name)
    return files


def _import_onnx() -> ModuleType:
    """Import the package onnx.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("onnx")
    except ModuleNotFoundError:
        raise ConfigError("--format=onnx: the package onnx expected: pip install -e '.[onnx]'") from None


def _add_function(graph: _Graph, model: nnx.Module, interface: Interface, *, is_step: bool) -> None:
    """Add the whole function `sequence` or `step` to an empty graph."""
    dtype: type = np.int32
    channels: list[int] = []
    if isinstance(model, Forecaster):
        dtype = np.float32
        channels = [interface.recurrent.in_features]
    times = [] if is_step else ["T"]
    inputs = graph.input("inputs", dtype, [*times, "B", *channels])
    sequences = None
    if is_step:
        inputs = graph.unsqueeze(inputs, 0)
    else:
        lengths = graph.input("lengths", np.int32, ["B"])
        has_steps = graph.node("Greater", lengths, graph.constant([0], np.int32))
        sequences = _Sequences(lengths, graph.unsqueeze(has_steps, 1))
    carry = [graph.input(f"carry.{leaf.name}", np.float32, ["B", *leaf.shape]) for leaf in interface.carry]

    is_fed_context = isinstance(model, Seq2Seq) and model.feed == "context"
    context = carry.pop() if is_fed_context else ""
    if context:
        xs = graph.unsqueeze(context, 0)
    else:
        xs = _embed(graph, model, inputs)
    next_carry, ys = _unroll(graph, interface.recurrent, xs, carry, sequences)
    if context:
        next_carry.append(context)
    if is_step:
        features = graph.squeeze(ys, 0)
    elif interface.outputs_have_time:
        features = ys
    else:
        features = _last_step(graph, ys, sequences)
    _add_carry_outputs(graph, interface, next_carry)
    outputs, width = _head(graph, model, features)
    output_times = times if interface.outputs_have_time else []
    graph.output(outputs, "outputs", [*output_times, "B", width])


def _add_encoder(graph: _Graph, model: Seq2Seq, interface: Interface) -> None:
    """Add the whole encoder of a model to an empty graph."""
    xs = _embed(graph, model, graph.input("inputs", np.int32, ["T", "B"]))
    carry, ys = _unroll(graph, model.encoder, xs, None, None)
    if model.feed == "context":
        last = graph.constant(-1, np.int64)
        carry.append(graph.node("Gather", ys, last, axis=0))
    _add_carry_outputs(graph, interface, carry)


def _add_carry_outputs(graph: _Graph, interface: Interface, carry: Sequence[str]) -> None:
    """Add the arrays of a carry as outputs."""
    for value, leaf in zip(carry, interface.carry, strict=True):
        graph.output(value, f"next_carry.{leaf.name}", ["B", *leaf.shape])


def _embed(graph: _Graph, model: nnx.Module, inputs: str) -> str:
    """Add the vectors [T, B, D] of the symbols. The inputs of a `Forecaster` are these vectors."""
    if isinstance(model, LanguageModel):
        return graph.node("Gather", graph.constant(model.embedding.embedding[...]), inputs, axis=0)
    if isinstance(model, Classifier | Seq2Seq):
        return _embed_symbols(graph, model.symbols, inputs)
    return inputs


def _embed_symbols(graph: _Graph, symbols: Symbols, numbers: str) -> str:
    """Add the vectors of `Symbols`, which are zeros for negative numbers."""
    if symbols.embedding is None:
        all_numbers = graph.constant(np.arange(symbols.vocabulary), np.int32)
        return graph.cast(graph.node("Equal", graph.unsqueeze(numbers, 2), all_numbers), np.float32)
    zero = graph.constant([0], np.int32)
    is_symbol = graph.cast(graph.node("GreaterOrEqual", numbers, zero), np.float32)
    table = graph.constant(symbols.embedding.embedding[...])
    vectors = graph.node("Gather", table, graph.node("Max", numbers, zero), axis=0)
    return graph.node("Mul", vectors, graph.unsqueeze(is_symbol, 2))


def _head(graph: _Graph, model: nnx.Module, features: str) -> tuple[str, int]:
    """Add the layers after the cell, and return their output with its width.

    Raises:
        ValueError: The layers compute in another dtype than float32.
    """
    if isinstance(model, Seq2Seq):
        return _dense(graph, model.softmax, features), model.softmax.out_features
    if isinstance(model, Classifier | Forecaster):
        return _dense(graph, model.head, features), model.head.out_features

    assert isinstance(model, LanguageModel)
    if model.dtype is not None:
        raise ValueError(f"to_onnx: LanguageModel: dtype=None expected, found {model.dtype!r}")
    if model.projection is not None:
        features = _dense(graph, model.projection, features)
    if model.softmax is not None:
        return _dense(graph, model.softmax, features), model.softmax.out_features
    assert model.tied_bias is not None
    weights = graph.node("Transpose", graph.constant(model.embedding.embedding[...]), perm=[1, 0])
    logits = graph.node("MatMul", features, weights)
    return graph.node("Add", logits, graph.constant(model.tied_bias[...])), model.embedding.num_embeddings


def _dense(graph: _Graph, layer: nnx.Linear, xs: str) -> str:
    """Add a dense layer."""
    product = graph.node("MatMul", xs, graph.constant(layer.kernel[...]))
    assert layer.bias is not None
    return graph.node("Add", product, graph.constant(layer.bias[...]))


def _last_step(graph: _Graph, ys: str, sequences: _Sequences | None) -> str:
    """Add the outputs [B, O] of the last step of each sequence; those of an empty sequence are of the first step."""
    assert sequences is not None
    before_end = graph.node("Sub", sequences.lengths, graph.constant([1], np.int32))
    last = graph.node("Max", before_end, graph.constant([0], np.int32))
    indices = graph.unsqueeze(graph.cast(last, np.int64), 1)
    batch_major = graph.node("Transpose", ys, perm=[1, 0, 2])
    return graph.node("GatherND", batch_major, indices, batch_dims=1)


def _unroll(
    graph: _Graph, recurrent: Recurrent, xs: str, carry: Sequence[str] | None, sequences: _Sequences | None
) -> tuple[list[str], str]:
    """Add a recurrent layer over time, and return the next carry and the outputs [T, B, O].

    Args:
        graph: The graph.
        recurrent: The layer.
        xs: The inputs [T, B, D].
        carry: The arrays of the carry in the order of its leaves. None means zeros.
        sequences: What is known of the lengths. None means that all sequences have T steps.

    Raises:
        ValueError: ONNX has no such cell or option; the message names it.
    """
    leaves = None if carry is None else iter(carry)
    return _add_layer(graph, recurrent.cell, recurrent.values, xs, leaves, sequences, "forward")


def _add_layer(
    graph: _Graph,
    layer: Layer,
    params: Params,
    xs: str,
    leaves: Iterator[str] | None,
    sequences: _Sequences | None,
    direction: str,
) -> tuple[list[str], str]:
    """Add a layer that runs in one direction or in both. It takes its arrays of the carry from `leaves`."""
    if isinstance(layer, Stack):
        return _add_stack(graph, layer, params, xs, leaves, sequences, direction)
    if isinstance(layer, Bidirectional):
        carry, forward = _add_layer(graph, layer.forward, params.forward, xs, leaves, sequences, "forward")
        backward_carry, backward = _add_layer(graph, layer.backward, params.backward, xs, leaves, sequences, "reverse")
        axis = {"axis": -1} if layer.merge == "concat" else {}
        return carry + backward_carry, graph.node(_MERGES[layer.merge], forward, backward, **axis)

    operator = to_onnx(layer, params)
    # A carry has its memory before its output, and ONNX has them in the other order.
    has_memory = operator.name == "LSTM"
    count = 2 if has_memory else 1
    initial = [] if leaves is None else [next(leaves) for _ in range(count)]
    weights = [operator.w, operator.r, operator.b]
    inputs = [xs, *("" if array is None else graph.constant(array) for array in weights)]
    inputs.append("" if sequences is None else sequences.lengths)
    inputs += [graph.unsqueeze(leaf, 0) for leaf in reversed(initial)]
    if operator.peephole is not None:
        inputs += [""] * (count - len(initial))
        inputs.append(graph.constant(operator.peephole))
    ys, *last = graph.nodes(operator.name, 1 + count, *inputs, direction=direction, **operator.attributes)
    carry = [graph.squeeze(leaf, 0) for leaf in reversed(last)]
    if sequences is not None:
        # onnxruntime returns zeros for an empty sequence, and here it keeps its carry.
        carry = [graph.node("Where", sequences.has_steps, *pair) for pair in zip(carry, initial, strict=True)]
    return carry, graph.squeeze(ys, 1)


def _add_stack(
    graph: _Graph,
    stack: Stack,
    params: Params,
    xs: str,
    leaves: Iterator[str] | None,
    sequences: _Sequences | None,
    direction: str,
) -> tuple[list[str], str]:
    """Add the layers of a stack, with its skip and residual connections."""
    carry: list[str] = []
    ys = xs
    width = 0
    for index, layer in enumerate(stack.cells):
        below = ys
        inputs = graph.node("Concat", below, xs, axis=-1) if stack.skip and index > 0 else below
        layer_carry, ys = _add_layer(graph, layer, params.layers[index], inputs, leaves, sequences, direction)
        carry += layer_carry
        if stack.residual and layer.out_features == width:
            ys = graph.node("Add", ys, below)
        width = layer.out_features
    return carry, ys
