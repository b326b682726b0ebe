"""Matmuls in bfloat16: those of the backward pass are bfloat16 too, with errors about as small as JAX's own."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax import models
from nlstm_jax.cells import GRU, LSTM, Bidirectional, Elman, Stack, VariationalDropout, nested_lstm
from nlstm_jax.unroll import unroll

T, B, D, H = 12, 8, 6, 16
CELLS = {
    "lstm": lambda dtype: LSTM(H, dtype=dtype),
    "lstm_projection": lambda dtype: LSTM(H, projection=4, dtype=dtype),
    "nested_2": lambda dtype: nested_lstm(H, 2, dtype=dtype),
    "nested_3_add": lambda dtype: nested_lstm(H, 3, "add", dtype=dtype),
    "gru": lambda dtype: GRU(H, dtype=dtype),
    "gru_reset_before": lambda dtype: GRU(H, reset_after=False, dtype=dtype),
    "elman": lambda dtype: Elman(H, dtype=dtype),
    "stack": lambda dtype: Stack(
        (LSTM(H, dtype=dtype), VariationalDropout(GRU(H, dtype=dtype), weights=0.3)), skip=True
    ),
    "bidirectional": lambda dtype: Bidirectional(LSTM(H, dtype=dtype), GRU(H, dtype=dtype)),
}
BY_DEFAULT = ("lstm", "nested_2", "gru")


def products(function, *arguments):
    """Count the matmuls in the program of a function, by the dtypes of their factors."""
    text = jax.jit(function).lower(*arguments).as_text()
    pattern = r"dot_general .*: \(tensor<(?:\d+x)*(\w+)>, tensor<(?:\d+x)*(\w+)>\)"
    return Counter(re.findall(pattern, text))


def gradient(cell, mode):
    """Return the function that computes the gradient of a weighted sum of all outputs by parameters and inputs."""

    def loss(params, xs, weights, key):
        return (unroll(cell, params, xs, key=key, mode=mode)[1] * weights).sum()

    return jax.grad(loss, (0, 1))


def example(cell, seed=0):
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, D, T, B, seed))
    weights = jax.random.normal(jax.random.key(seed), (T, B, cell.out_features))
    return params, xs, weights, jax.random.key(seed)


@pytest.mark.parametrize("name", CELLS)
def test_every_product_of_a_gradient_is_in_bfloat16(name):
    cell = CELLS[name]("bfloat16")
    found = products(gradient(cell, "fused"), *example(cell))
    forward = products(lambda *given: unroll(cell, *given[:2], key=given[3], mode="fused")[1], *example(cell))
    assert found == {("bf16", "bf16"): 3 * forward.total()}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("cell", ["lstm", "nested_2", "gru"])
def test_every_product_of_a_language_models_gradient_is_in_bfloat16(cell, tied):
    model = models.LanguageModel(
        11,
        8,
        CELLS[cell]("bfloat16"),
        projection=8,
        tied=tied,
        dtype="bfloat16",
        over_time={"mode": "fused"},
        key=jax.random.key(0),
    )
    graph, parameters = models.split(model)
    tokens = jnp.zeros((T, B), int)

    def loss(parameters):
        return models.merge(graph, parameters).log_loss(tokens, tokens, jnp.ones((T, B)))[1]

    assert set(products(jax.grad(loss), parameters)) == {("bf16", "bf16")}


@pytest.mark.parametrize(
    "name", [name if name in BY_DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in CELLS]
)
def test_its_gradient_is_as_near_to_float32s_as_the_plain_scans(name):
    """Compare norms of errors, relative to the norm of each gradient, over four draws of parameters and inputs."""
    exact, fused, plain = (
        references.compiled(gradient(CELLS[name](dtype), mode))
        for dtype, mode in ((None, "scan"), ("bfloat16", "fused"), ("bfloat16", "scan"))
    )
    errors = {"fused": [], "plain": []}
    for seed in range(4):
        given = example(CELLS[name](None), seed)
        expected = jax.tree.leaves(exact(*given))
        for kind, function in (("fused", fused), ("plain", plain)):
            found = jax.tree.leaves(function(*given))
            pairs = zip(found, expected, strict=True)
            errors[kind].append([np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) for ours, theirs in pairs])
    assert np.max(errors["fused"]) < 1.5 * np.max(errors["plain"])
    assert np.mean(errors["fused"]) < 1.15 * np.mean(errors["plain"])
