"""What a cell of the user may leave out, and that leaving it out changes no result."""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from zoo import D, H, MinGRU, MinGRUCarry, MinGRUParams

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    Nested,
    Stack,
    VariationalDropout,
    Zoneout,
    complete,
    count_flops,
    is_stochastic,
    spec_repr,
    with_regularizers,
)
from nlstm_jax.cells.base import check_layer
from nlstm_jax.unroll import unroll

KEY = jax.random.key(0)
T, B = 5, 2
NOISE_RATE = 0.5


class Hoisted(MinGRU):
    """The same cell with everything that `Cell` has."""

    @property
    def out_features(self):
        return self.features

    def sample_noise(self, params, key, shape):
        return params, ()

    def project(self, params, x):
        return jax.nn.sigmoid(x @ params.w_z), x @ params.w_h

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        gate, candidate = z
        h = (1 - gate) * carry.h + gate * candidate
        return MinGRUCarry(h), h


def min_gru_reference(p, carry, x):
    """Compute one step of one example in NumPy."""
    z = references.sigmoid(x @ p.w_z)
    h = (1 - z) * carry.h + z * (x @ p.w_h)
    return carry._replace(h=h), h


def values_and_gradients(cell, mode, **options):
    given = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
    shapes = jax.eval_shape(lambda: unroll(cell, *given, mode="scan"))
    weights = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), shapes)
    return references.value_and_gradients(cell, *given, weights, mode=mode, **options)


@pytest.mark.parametrize("cell", [MinGRU(H), Hoisted(H)], ids=["minimal", "hoisted"])
def test_a_min_gru_computes_its_equations(cell):
    """The lengths and the masks that `unroll` supports need nothing of the cell."""
    resets = np.random.default_rng(3).random((T, B)) < 0.3
    references.assert_equals_reference(cell, min_gru_reference, D, T, B)
    references.assert_equals_reference(
        cell, min_gru_reference, D, T, B, lengths=np.array([5, 3]), resets=resets, reverse=True
    )


WRAPPED = {
    "alone": lambda cell: cell,
    "stack": lambda cell: Stack((cell, GRU(H), cell), skip=True, dropout=NOISE_RATE),
    "nested": lambda cell: Nested(H, cell),
    "bidirectional": lambda cell: Bidirectional(cell, LSTM(H)),
    "dropout": lambda cell: VariationalDropout(cell, inputs=NOISE_RATE, weights=NOISE_RATE),
    "zoneout": lambda cell: Zoneout(cell, NOISE_RATE),
    "transition": lambda cell: DeepTransition((cell, cell)),
    "output": lambda cell: DeepOutput(cell, (4,)),
    "regularizers": lambda cell: with_regularizers(Nested(H, cell), input_dropout=(0.5,), zoneout=(0.2,)),
}


WRAPPED_BY_DEFAULT = ("stack", "nested", "bidirectional", "zoneout")


@pytest.mark.parametrize("mode", [pytest.param("scan", marks=pytest.mark.slow), "fused"])
@pytest.mark.parametrize(
    "name", [name if name in WRAPPED_BY_DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in WRAPPED]
)
def test_a_minimal_cell_equals_the_same_cell_with_a_hoisted_projection(name, mode):
    """In float64, with the noise of the wrappers: values and the gradients by params, inputs and carry."""
    wrap = WRAPPED[name]
    with jax.enable_x64(True):
        found = values_and_gradients(wrap(MinGRU(H)), mode, key=KEY)
        expected = values_and_gradients(wrap(Hoisted(H)), mode, key=KEY)
    assert jax.tree.leaves(found)[0].dtype == np.float64
    references.assert_trees_close(found, expected, 1e-12)


def test_params_and_carry_are_those_of_the_user():
    cell = complete(MinGRU(H))
    params = cell.init(KEY, D)
    carry, _ = unroll(cell, params, jnp.ones((T, B, D)))
    assert type(params) is MinGRUParams
    assert type(carry) is MinGRUCarry
    stack = Stack((MinGRU(H),))
    assert type(stack.init(KEY, D).layers[0]) is MinGRUParams
    assert type(stack.initial_carry((B,)).layers[0]) is MinGRUCarry


def optional_cell(names):
    """Return an Elman cell with additive noise that has the optional members `names`, and only these."""

    def sample_noise(self, params, key, shape):
        noise = () if key is None else jnp.full((*shape[:-1], H), 0.25)
        return params, noise if "noise" in names else ()

    def project(self, params, x):
        return x @ params.w_x + params.b

    def run_step(self, params, carry, x, noise=(), recurrent_input=None):
        z = x if "project" in names else project(self, params, x)
        h = carry.h if recurrent_input is None else recurrent_input
        y = jnp.tanh(z + h @ params.w_h + (0 if isinstance(noise, tuple) else noise))
        return carry._replace(h=y), y

    steps = {
        (): lambda self, params, carry, x: run_step(self, params, carry, x),
        ("noise",): lambda self, params, carry, x, noise: run_step(self, params, carry, x, noise),
        ("recurrent_input",): lambda self, params, carry, x, recurrent_input=None: run_step(
            self, params, carry, x, (), recurrent_input
        ),
        ("noise", "recurrent_input"): run_step,
    }
    members = {
        "init": lambda self, key, in_features: Elman(H).init(key, in_features),
        "initial_carry": lambda self, batch_shape: Elman(H).initial_carry(batch_shape),
        "step": steps[tuple(name for name in ("noise", "recurrent_input") if name in names)],
        "out_features" if "out_features" in names else "features": H,
    }
    for name, member in (("sample_noise", sample_noise), ("project", project)):
        if name in names:
            members[name] = member
    return type("Optional", (), members)()


OPTIONAL = ("out_features", "project", "sample_noise", "noise", "recurrent_input")
CHOICES = [names for size in range(6) for names in itertools.combinations(OPTIONAL, size)]


def test_everything_optional_can_be_left_out_independently_of_the_rest():
    """All 32 choices compute one Elman cell; with noise or a recurrent input, those that take it compute one cell."""
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(Elman(H), D, 1, B))
    plain = Elman(H).step(params, carry, Elman(H).project(params, xs[0]))
    moved = Elman(H).step(params, carry, Elman(H).project(params, xs[0]) + 0.25)
    replaced = Elman(H).step(params, carry, Elman(H).project(params, xs[0]), (), carry.h + 1)
    assert len(CHOICES) == 32
    for names in CHOICES:
        cell = complete(optional_cell(names))
        assert (cell.features, cell.out_features) == (H, H)
        prepared, noise = cell.sample_noise(params, KEY, xs.shape)
        z = cell.project(prepared, xs[0])
        now = jax.tree.map(lambda leaf: leaf[0], noise)
        is_noisy = {"noise", "sample_noise"} <= set(names)
        assert is_noisy == bool(jax.tree.leaves(noise))
        references.assert_trees_close(cell.step(prepared, carry, z, now), moved if is_noisy else plain, 1e-6)
        if "recurrent_input" in names:
            found = cell.step(prepared, carry, z, recurrent_input=carry.h + 1)
            references.assert_trees_close(found, replaced, 1e-6)


def test_a_cell_that_lacks_nothing_is_returned_as_it_is():
    for cell in (
        LSTM(H),
        Nested(H, GRU(H)),
        Bidirectional(LSTM(H), LSTM(H)),
        Hoisted(H),
        complete(MinGRU(H)),
        3,
        LSTM,
    ):
        assert complete(cell) is cell


def test_a_completed_cell_equals_prints_and_counts_as_the_users():
    cell = complete(MinGRU(H))
    assert cell == complete(MinGRU(H)) != complete(MinGRU(H + 1))
    assert hash(cell) == hash(complete(MinGRU(H)))
    assert spec_repr(Stack((MinGRU(H), LSTM(H)))) == "Stack(cells=(MinGRU(features=3), LSTM(features=3)))"
    assert count_flops(cell, D) == count_flops(Hoisted(H), D) == 2 * 2 * D * H
    assert not is_stochastic(MinGRU(H), D)


class Delegating(NamedTuple):
    """A cell that passes all arguments on to another one."""

    cell: LSTM
    features = H

    def init(self, *args):
        return self.cell.init(*args)

    def initial_carry(self, *args):
        return self.cell.initial_carry(*args)

    def project(self, *args):
        return self.cell.project(*args)

    def step(self, *args, **kwargs):
        return self.cell.step(*args, **kwargs)


def test_a_step_of_any_arguments_gets_all_of_them():
    found = values_and_gradients(VariationalDropout(Delegating(LSTM(H)), recurrent=0.5), "auto", key=KEY)
    expected = values_and_gradients(VariationalDropout(LSTM(H), recurrent=0.5), "auto", key=KEY)
    references.assert_trees_close(found, expected, 1e-6)


class Unknown(MinGRU):
    def step(self, params, carry, x, temperature):
        return super().step(params, carry, x)


class Loud(MinGRU):
    def sample_noise(self, params, key, shape):
        return params, jnp.ones((*shape[:-1], self.features))


class Widthless:
    init, initial_carry, step = MinGRU.init, MinGRU.initial_carry, MinGRU.step


@dataclass
class Mutable(Widthless):
    features: int


class Bare(MinGRU):
    """A cell whose carry is an array, not a NamedTuple."""

    def initial_carry(self, batch_shape):
        return jnp.zeros((*batch_shape, self.features))

    def step(self, params, carry, x):
        _, h = super().step(params, MinGRUCarry(carry), x)
        return h, h


def test_a_carry_that_is_an_array_is_unrolled():
    stack = Stack((MinGRU(H), LSTM(H)))
    params = stack.init(KEY, D)
    xs = jax.random.normal(KEY, (T, B, D))
    carry, ys = unroll(Stack((Bare(H), LSTM(H))), params, xs)
    expected, expected_ys = unroll(stack, params, xs)
    references.assert_trees_close((carry.layers[0], ys), (expected.layers[0].h, expected_ys), 1e-6)


def run(cell):
    return unroll(cell, MinGRU(H).init(KEY, D), jnp.ones((T, B, D)), key=KEY)


RECURRENT = (
    r"^MinGRU: step: an argument `recurrent_input` expected, as there is dropout of the recurrent input; found "
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VariationalDropout(MinGRU(H), recurrent=0.5), RECURRENT),
        (lambda: VariationalDropout(DeepTransition((MinGRU(H), MinGRU(H))), recurrent=0.5), RECURRENT),
        (lambda: with_regularizers(Nested(H, MinGRU(H)), recurrent_dropout=(0.0, 0.5)), RECURRENT),
        (
            lambda: run(Loud(H)),
            r"^Loud: step: an argument `noise` expected, as there is noise from sample_noise; found step\(",
        ),
        (
            lambda: run(Unknown(H)),
            r"^Unknown: step: step\(params, carry, x\), .* expected, found step\(params, carry, x, temperature\)$",
        ),
        (lambda: run(Widthless()), r"^unroll: cell: a layer expected, found <.*>, which lacks features$"),
        (lambda: Stack((Widthless(),)), r"^Stack: cells: a layer expected, found <.*>, which lacks features$"),
        (lambda: run(Mutable(H)), r"which cannot be hashed; @dataclass\(frozen=True\) serves$"),
        (
            lambda: Zoneout(Bare(H), 0.1),
            r"^Zoneout: cell: a single cell, .* expected, found Bare with Sh",
        ),
        (lambda: check_layer("unroll", "cell", [1]), r"^unroll: cell: a layer expected, found \[1\], which lacks f"),
        (lambda: Nested(H + 1, MinGRU(H)), r"out_features=4 expected, .* found MinGRU with 3$"),
    ],
)
def test_what_a_cell_needs_beyond_what_it_has_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
