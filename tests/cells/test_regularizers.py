"""Noise: at rate 0, without a key, on several devices; rates of every level, and rates that are refused."""

import itertools
import subprocess
import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    GRUCarry,
    LSTMCarry,
    Nested,
    NestedCarry,
    Stack,
    VariationalDropout,
    Zoneout,
    is_stochastic,
    nested_lstm,
    with_regularizers,
)
from nlstm_jax.unroll import unroll

KEY = jax.random.key(3)


def none_of(cell):
    return jax.tree.map(lambda leaf: 0.0, jax.eval_shape(lambda: cell.initial_carry(())))


RATE_0_BY_DEFAULT = (("lstm", True), ("nested", False))
PLAIN = {"lstm": LSTM(4), "gru": GRU(4), "nested": nested_lstm(4, 2)}


@pytest.mark.parametrize(
    ("name", "keyed"),
    [
        pytest.param(*case, marks=() if case in RATE_0_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(PLAIN, (True, False))
    ],
)
def test_at_rate_0_it_is_the_bare_cell_to_the_last_bit(name, keyed):
    cell = PLAIN[name]
    params, xs, start = references.example(cell, in_features=3)
    expected = references.run(cell, params, xs, start)
    for wrapped in (VariationalDropout(cell), Zoneout(cell, 0.0), Zoneout(cell, none_of(cell))):
        found = references.run(wrapped, params, xs, start, key=KEY if keyed else None)
        references.assert_trees_close(found, expected, 0.0)


@pytest.mark.parametrize("keyed", [True, False])
def test_a_rate_may_be_a_whole_number(keyed):
    params, xs, start = references.example(LSTM(4), in_features=3)
    found, expected = (
        references.run(Zoneout(LSTM(4), LSTMCarry(none, 0.5)), params, xs, start, key=KEY if keyed else None)
        for none in (0, 0.0)
    )
    references.assert_trees_close(found, expected, 0.0)


NOISY = {
    "inputs": VariationalDropout(LSTM(4), inputs=0.5),
    "recurrent": VariationalDropout(GRU(4), recurrent=0.5),
    "weights": VariationalDropout(Elman(4), weights=0.5),
    "nested": Nested(4, VariationalDropout(LSTM(4), recurrent=0.5)),
    "nested_twice": Nested(4, Nested(4, VariationalDropout(GRU(4), inputs=0.5))),
    "zoneout": Zoneout(LSTM(4), 0.5),
    "zoneout_of_one": Zoneout(LSTM(4), LSTMCarry(c=0.5, h=0.0)),
    "zoneout_0_of_noisy": Zoneout(VariationalDropout(LSTM(4), inputs=0.5), 0.0),
    "transition": DeepTransition((GRU(4), VariationalDropout(GRU(4), recurrent=0.5))),
    "output": DeepOutput(Zoneout(LSTM(4), 0.5), widths=(3,)),
    "stack": Stack((Elman(4), Elman(4)), dropout=0.5),
    "noisy_layer": Stack((Elman(4), Zoneout(Elman(4), 0.5))),
    "one_direction": Bidirectional(LSTM(4), VariationalDropout(LSTM(4), inputs=0.5)),
    "stack_of_directions": Stack((Bidirectional(Elman(4), Elman(4)), Elman(4)), dropout=0.5),
}
QUIET = {
    "elman": Elman(4),
    "gru": GRU(4),
    "lstm": LSTM(4),
    "nested": nested_lstm(4, 3),
    "rate_0": Zoneout(GRU(4), 0),
    "rates_0": Zoneout(LSTM(4), LSTMCarry(c=0.0, h=0.0)),
    "dropout_0": VariationalDropout(LSTM(4)),
    "transition": DeepTransition((GRU(4), GRU(4))),
    "output": DeepOutput(LSTM(4), widths=(3,)),
    "stack": Stack((LSTM(4), GRU(3))),
    "one_layer": Stack((LSTM(4),), dropout=0.5),
    "directions": Bidirectional(LSTM(4), GRU(4)),
}


def test_what_draws_noise_is_known():
    assert [name for name, cell in NOISY.items() if not is_stochastic(cell, 3)] == []
    assert [name for name, cell in QUIET.items() if is_stochastic(cell, 3)] == []


@dataclass(frozen=True)
class Multiplied(Elman):
    """A user's cell whose noise is not a mask: its recurrent matrix is multiplied by gamma variates of mean 1."""

    def sample_noise(self, params, key, shape):
        if key is None:
            return params, ()
        return params._replace(w_h=params.w_h * jax.random.gamma(key, 4.0, params.w_h.shape) / 4), ()


def test_noise_of_any_distribution_is_noise():
    cell = Multiplied(4)
    params = cell.init(KEY, 3)
    assert not np.allclose(cell.sample_noise(params, KEY, (1, 1, 3))[0].w_h, params.w_h)
    assert is_stochastic(cell, 3)


# Each place from which noise is drawn, in the deepest of the layers that have it.
NOISY_BY_DEFAULT = (
    "weights",
    "nested_twice",
    "zoneout_0_of_noisy",
    "transition",
    "output",
    "one_direction",
    "stack_of_directions",
)


@pytest.mark.parametrize("name", zoo.marked(NOISY, NOISY_BY_DEFAULT))
def test_a_key_decides_and_without_one_nothing_is_random(name):
    cell = NOISY[name]
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, in_features=3, steps=5, batch=6))
    one, again, other = (references.run(cell, params, xs, key=jax.random.key(seed))[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    silent = references.run(cell, params, xs)[1]
    np.testing.assert_array_equal(silent, references.run(cell, params, xs)[1])
    assert not np.allclose(one, silent)
    if isinstance(cell, VariationalDropout):
        np.testing.assert_array_equal(silent, references.run(cell.cell, params, xs)[1])


SILENCED = [NOISY["weights"], VariationalDropout(LSTM(4), inputs=0.5, recurrent=0.5, weights=0.5)]


@pytest.mark.parametrize("cell", SILENCED, ids=["elman", "lstm"])
def test_without_a_key_a_dropped_cell_has_the_parameters_and_the_noise_of_the_bare_one(cell):
    params = cell.init(KEY, 3)
    prepared, noise = cell.sample_noise(params, None, (5, 2, 3))
    assert prepared is params
    assert noise == ()


@pytest.mark.parametrize("plain", [GRU(4), nested_lstm(4, 2), nested_lstm(4, 3)], ids=["gru", "nested_2", "nested_3"])
def test_noise_moves_no_parameter(plain):
    noisy = with_regularizers(
        plain, input_dropout=(0.1,), recurrent_dropout=(0.2,), weight_drop=(0.4,), zoneout=(0.5,)
    )
    found, expected = noisy.init(KEY, 3), plain.init(KEY, 3)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert (noisy.features, noisy.out_features) == (plain.features, plain.out_features)
    assert jax.tree.structure(noisy.initial_carry((2,))) == jax.tree.structure(plain.initial_carry((2,)))


def drawn_on(count):
    """Compute the noise, and outputs and gradients with this noise, with the batch split over that many devices."""
    cell = Stack(
        (Zoneout(with_regularizers(nested_lstm(4, 2), input_dropout=(0.3,), recurrent_dropout=(0.3,)), 0.3),) * 2
    )
    cell = Stack((*cell.cells, VariationalDropout(LSTM(4), weights=0.3)), dropout=0.3)
    params = cell.init(jax.random.key(0), 3)
    xs = np.random.default_rng(1).standard_normal((5, 8, 3)).astype(np.float32)
    mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "data"))

    def all_of_it(params, xs, key):
        def loss(params):
            ys = unroll(cell, params, xs, key=key)[1]
            return jnp.square(ys).sum(), ys

        gradients, ys = jax.grad(loss, has_aux=True)(params)
        return cell.sample_noise(jax.tree.map(jnp.ones_like, params), key, xs.shape), ys, gradients

    run = references.compiled(all_of_it, in_shardings=(whole, split, whole))
    noise, ys, gradients = run(params, xs, jax.random.key(2))
    assert len(ys.sharding.device_set) == count
    return [np.asarray(leaf) for leaf in jax.tree.leaves(noise)], [np.asarray(ys), *jax.tree.leaves(gradients)]


ON_DEVICES = """
import importlib.util, sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
sys.path.insert(0, "tests")
spec = importlib.util.spec_from_file_location("noise", sys.argv[1])
noise = importlib.util.module_from_spec(spec)
spec.loader.exec_module(noise)
for name, arrays in zip(("drawn", "computed"), noise.drawn_on(4)):
    np.savez(f"{sys.argv[2]}/{name}.npz", *map(np.asarray, arrays))
"""


@pytest.mark.slow
def test_one_device_and_four_have_the_same_noise(tmp_path):
    subprocess.run([sys.executable, "-c", ON_DEVICES, __file__, str(tmp_path)], check=True, timeout=200)
    noise, computed = drawn_on(1)
    assert sum(leaf.min() < leaf.max() for leaf in noise) == 17
    with np.load(tmp_path / "drawn.npz") as arrays:
        for ours, theirs in zip(noise, arrays.values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with np.load(tmp_path / "computed.npz") as arrays:
        for ours, theirs in zip(computed, arrays.values(), strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-6, 1e-6)


def test_rates_go_to_their_levels():
    cell = with_regularizers(
        nested_lstm(4, 3), input_dropout=(0.1, 0.0, 0.0), recurrent_dropout=(0.2,), zoneout=(0.0,)
    )
    assert (cell.inputs, cell.recurrent, cell.weights) == (0.1, 0.2, 0.0)
    middle = cell.cell.inner
    innermost = middle.cell.inner
    assert (middle.inputs, middle.recurrent, innermost.inputs, innermost.recurrent) == (0.0, 0.2, 0.0, 0.2)
    assert isinstance(innermost.cell, LSTM)
    only = with_regularizers(nested_lstm(4, 3), weight_drop=(0.0, 0.0, 0.3))
    assert only == Nested(
        4, Nested(4, VariationalDropout(nested_lstm(4, 3).inner.inner, weights=0.3), "tanh"), "identity"
    )


def test_rates_of_zoneout_are_h_and_then_the_memories_outermost_first():
    rates = with_regularizers(nested_lstm(4, 3), zoneout=(0.1, 0.2, 0.3, 0.4)).rates
    assert rates == NestedCarry(0.1, NestedCarry(0.2, LSTMCarry(h=0.3, c=0.4)))
    assert with_regularizers(LSTM(4), zoneout=(0.05, 0.5)).rates == LSTMCarry(h=0.05, c=0.5)
    assert with_regularizers(Nested(4, GRU(4)), zoneout=(0.1, 0.2)).rates == NestedCarry(0.1, GRUCarry(0.2))
    assert with_regularizers(DeepTransition((LSTM(4),) * 2), zoneout=(0.1, 0.2)).rates == LSTMCarry(h=0.1, c=0.2)
    assert with_regularizers(nested_lstm(4, 2), zoneout=(0.1,)).rates == NestedCarry(0.1, LSTMCarry(0.1, 0.1))


@pytest.mark.parametrize("cell", [Elman(4), nested_lstm(4, 3), Stack((LSTM(4), LSTM(4)))], ids=["elman", "3", "stack"])
def test_where_all_rates_are_0_there_is_no_wrapper(cell):
    none = dict.fromkeys(("input_dropout", "recurrent_dropout", "weight_drop", "zoneout"), (0.0,))
    assert with_regularizers(cell) == with_regularizers(cell, **none) == cell


@pytest.mark.parametrize("rates", [(0.0, 0.0, 0.0), (0.1, 0.2, 0.3), ()], ids=["zeros", "rates", "none"])
@pytest.mark.parametrize("name", ["input_dropout", "recurrent_dropout", "weight_drop", "zoneout"])
def test_another_number_of_rates_is_refused_by_name_whatever_they_are(name, rates):
    with pytest.raises(ValueError, match=rf"^{name}: 1 rate, or .* expected, found \("):
        with_regularizers(LSTM(4), **{name: rates})


@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["inputs", "recurrent", "weights", "rates"])
def test_a_rate_that_is_no_probability_below_1_is_refused_by_name(field, rate):
    with pytest.raises(ValueError, match=rf"{field}: a rate in \[0, 1\) expected, found {rate!r}"):
        Zoneout(LSTM(4), LSTMCarry(0.1, rate)) if field == "rates" else VariationalDropout(LSTM(4), **{field: rate})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: with_regularizers(LSTM(4), recurrent_dropout=(0.1, 0.2)),
            r"recurrent_dropout: 1 rate, or 1 for the 1 levels",
        ),
        (
            lambda: with_regularizers(LSTM(4), zoneout=(0.1,) * 3),
            r"zoneout: 1 rate, or 2 for the 2 vectors of the carry",
        ),
        (
            lambda: VariationalDropout(LSTM(4), inputs=1.0),
            r"VariationalDropout: inputs: a rate in \[0, 1\) expected, found 1.0",
        ),
        (lambda: Zoneout(LSTM(4), -0.1), r"Zoneout: rates: a rate in \[0, 1\) expected, found -0.1"),
        (
            lambda: Zoneout(LSTM(4), GRUCarry(h=0.1)),
            "a LSTMCarry with a rate for each of c, h expected, found GRUCarry",
        ),
        (lambda: Zoneout(Stack((LSTM(4),)), 0.1), "Zoneout: cell: a single cell, .* expected, found Stack"),
        (lambda: VariationalDropout(Zoneout(LSTM(4), 0.1)), "Zoneout goes around VariationalDropout, not inside it"),
        (lambda: Nested(4, Zoneout(LSTM(4), 0.1)), "Nested: inner: Zoneout goes around Nested, not inside it"),
    ],
)
def test_what_does_not_serve_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weight_drop_wants_a_recurrent_matrix():
    with pytest.raises(
        ValueError,
        match=r"weights: a cell whose parameters have a field w_h expected, found DeepTransition with cells",
    ):
        VariationalDropout(DeepTransition((Elman(4), Elman(4))), weights=0.5)


class Deaf(Elman):
    """A cell that ignores `recurrent_input`."""

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        return super().step(params, carry, z, noise)


def test_recurrent_dropout_wants_a_cell_that_reads():
    with pytest.raises(
        ValueError,
        match=r"^VariationalDropout: recurrent: a cell whose step uses `recurrent_input` expected, found De",
    ):
        VariationalDropout(Deaf(4), recurrent=0.5)
    assert VariationalDropout(Deaf(4), inputs=0.5).out_features == 4
