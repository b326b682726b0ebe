"""Graphs of ONNX equal the models that they were made of, in onnxruntime."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from requirements import requires

from nlstm_jax.adapters.weights import to_onnx
from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    Elman,
    Stack,
    VariationalDropout,
    Zoneout,
    nested_lstm,
)
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import Classifier, Forecaster, LanguageModel, Seq2Seq, merge, split
from nlstm_jax.models.interface import describe_interface
from nlstm_jax.models.onnx import export_onnx

KEY = jax.random.key(0)
T, B, V, E, H = 6, 4, 7, 3, 5
LENGTHS = np.array([6, 1, 0, 4], np.int32)
LOOP = {"mode": "scan"}


def redrawn(model):
    """Return the model with parameters that are far from 0, biases included."""
    graph, params = split(model)
    random = np.random.default_rng(1)
    drawn = {name: jnp.asarray(random.normal(0, 0.6, value.shape), jnp.float32) for name, value in params.items()}
    return merge(graph, drawn)


def sessions(model):
    """Return the functions of a model as sessions of onnxruntime, by name."""
    onnx = requires("onnx")
    runtime = requires("onnxruntime")
    made = {}
    for name, content in export_onnx(model).items():
        onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
        made[name] = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return made


def call(session, carry, **inputs):
    """Run a session, and return the next carry and the outputs."""
    names = [value.name for value in session.get_inputs() if value.name.startswith("carry.")]
    assert len(names) == len(carry)
    *next_carry, outputs = session.run(None, inputs | dict(zip(names, carry, strict=True)))
    return next_carry, outputs


def drawn_carry(interface):
    random = np.random.default_rng(2)
    return [random.normal(0, 0.6, (B, *leaf.shape)).astype(np.float32) for leaf in interface.carry]


def assert_close(values, expected):
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=1e-5)


CELLS = {
    "lstm": LSTM(H),
    "peephole": LSTM(H, peephole=True, use_bias=False),
    "other activations": LSTM(
        H, gate_activation="hard_sigmoid", candidate_activation="softsign", output_activation="identity"
    ),
    "gru": VariationalDropout(GRU(H), recurrent=0.5),
    "gru reset before": GRU(H, reset_after=False, gate_activation="hard_sigmoid_keras2"),
    "stack": Stack((LSTM(H), GRU(H, use_bias=False), Elman(H, activation="relu")), residual=True, dropout=0.5),
    "skips": Stack((Elman(4), LSTM(H)), skip=True),
    "both directions": Stack((Bidirectional(Stack((LSTM(4), GRU(H))), Elman(H), merge="ave"),)),
    "stack of both": Stack((Bidirectional(LSTM(H), LSTM(4)), Bidirectional(GRU(H), GRU(H), merge="mul"))),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in CELLS if name != "stack"])
def test_every_layer_that_onnx_has_equals_ours_on_ragged_batches(name: str) -> None:
    check_layer(CELLS[name])


def test_a_stack_of_three_operators_equals_ours_on_ragged_batches() -> None:
    check_layer(CELLS["stack"])


def check_layer(cell) -> None:
    """Compare a forecaster around the cell, its carry included, on a batch that has an empty sequence."""
    model = redrawn(Forecaster(E, cell, outputs=2, over_time=LOOP, key=KEY))
    interface = describe_interface(model)
    made = sessions(model)
    xs = np.random.default_rng(3).normal(size=(T, B, E)).astype(np.float32)
    carry = drawn_carry(interface)

    structure = jax.tree.structure(model.cell.cell.initial_carry((1,)))
    run = jax.jit(lambda xs, carry, lengths: model.cell(xs, jax.tree.unflatten(structure, carry), lengths=lengths))
    expected_carry, ys = run(xs, carry, LENGTHS)
    expected = model.head(ys[jnp.maximum(LENGTHS - 1, 0), jnp.arange(B)])
    next_carry, outputs = call(made["sequence"], carry, inputs=xs, lengths=LENGTHS)
    assert_close(next_carry, jax.tree.leaves(expected_carry))
    np.testing.assert_allclose(outputs[LENGTHS > 0], expected[LENGTHS > 0], atol=1e-5)

    assert ("step" in made) == ("Bidirectional" not in repr(cell))
    if "step" in made:
        full = np.full(B, T, np.int32)
        whole_carry, whole = call(made["sequence"], carry, inputs=xs, lengths=full)
        for x in xs:
            carry, outputs = call(made["step"], carry, inputs=x)
        assert_close([*carry, outputs], [*whole_carry, whole])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"tied": True, "projection": E}, {"outputs": 4, "projection": 2}, {}])
def test_language_models_equal_ours_with_a_projection_and_tied_weights(options) -> None:
    model = redrawn(LanguageModel(V, E, LSTM(H), over_time=LOOP, key=KEY, **options))
    made = sessions(model)
    tokens = np.random.default_rng(3).integers(0, V, (T, B)).astype(np.int32)
    carry = [np.zeros((B, H), np.float32)] * 2
    expected_carry, logits = jax.jit(lambda tokens, lengths: model(tokens, lengths=lengths))(tokens, LENGTHS)
    next_carry, outputs = call(made["sequence"], carry, inputs=tokens, lengths=LENGTHS)
    assert_close([*next_carry, outputs], [*expected_carry, logits])

    carry, outputs = call(made["step"], carry, inputs=tokens[0])
    np.testing.assert_allclose(outputs[LENGTHS > 0], logits[0][LENGTHS > 0], atol=1e-5)
    assert call(made["step"], carry, inputs=tokens[1])[1].shape == (B, options.get("outputs", V))


@pytest.mark.slow
@pytest.mark.parametrize("embedding", [None, E])
def test_classifiers_equal_ours(embedding: int | None) -> None:
    model = redrawn(Classifier(V, 3, GRU(H), embedding=embedding, over_time=LOOP, key=KEY))
    made = sessions(model)
    numbers = np.random.default_rng(3).integers(-1, V, (T, B)).astype(np.int32)
    carry = [np.zeros((B, H), np.float32)]
    expected_carry, logits = model(jnp.asarray(numbers), jnp.asarray(LENGTHS))
    next_carry, outputs = call(made["sequence"], carry, inputs=numbers, lengths=LENGTHS)
    assert_close(next_carry, expected_carry)
    np.testing.assert_allclose(outputs[LENGTHS > 0], logits[LENGTHS > 0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["context", "previous"])
def test_a_seq2seq_writes_what_ours_writes(feed: str) -> None:
    model = redrawn(Seq2Seq(V, LSTM(H), embedding=E, feed=feed, over_time=LOOP, key=KEY))
    made = sessions(model)
    numbers = np.random.default_rng(3).integers(-1, V, (T, B)).astype(np.int32)
    targets = np.random.default_rng(4).integers(0, V, (3, B)).astype(np.int32)
    carry = made["encoder"].run(None, {"inputs": numbers})
    rows = []
    for previous in [np.full(B, -1, np.int32), *targets[:-1]]:
        carry, logits = call(made["step"], carry, inputs=previous)
        rows.append(logits)
    np.testing.assert_allclose(rows, model(jnp.asarray(numbers), jnp.asarray(targets)), atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (nested_lstm(H, depth=2), "to_onnx: an LSTM, GRU or Elman expected, found Nested"),
        (Zoneout(LSTM(H), 0.1), "to_onnx: .* expected, found Zoneout, which takes part in an evaluation too"),
        (LSTM(H, layer_norm=True), "to_onnx: LSTM: layer_norm=False expected, found True"),
        (LSTM(H, projection=2), "to_onnx: LSTM: projection=None expected, found 2"),
        (LSTM(H, gating="add"), "to_onnx: LSTM: gating='multiply' expected, found 'add'"),
        (GRU(H, dtype="bfloat16"), "to_onnx: GRU: dtype=.* expected, found 'bfloat16'"),
    ],
)
def test_a_cell_that_onnx_lacks_is_refused_by_name(cell, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        to_onnx(cell, jax.eval_shape(lambda: cell.init(KEY, E)))


def test_without_onnx_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"^--format=onnx: the package onnx expected: pip install -e '\.\[onnx\]'$"):
        export_onnx(Forecaster(E, Elman(H), key=KEY))
