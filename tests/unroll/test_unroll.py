"""`unroll` against references: masks, lengths, resets, directions, and the errors for arguments that do not fit."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D

from nlstm_jax.cells import GRU, LSTM, Elman, LSTMCarry, nested_lstm
from nlstm_jax.unroll import unroll

KEY = jax.random.key(0)
LENGTHS = np.array([0, 5, 3, 1])
CELLS = {
    name: (zoo.build(name), zoo.ENTRIES[name].reference)
    for name in ("gru", "nested_2_multiply", "stack_skip_residual")
}
every_cell = pytest.mark.parametrize("name", zoo.marked(CELLS))


def batch_of(cell):
    """Return (params, xs, carry) of 5 steps, 4 examples and 2 input features."""
    return jax.tree.map(jnp.asarray, references.example(cell, in_features=D, steps=5, batch=4))


def pattern(seed, probability=0.6):
    return np.random.default_rng(seed).random((5, 4)) < probability


MASK = pattern(3)
OVER_TIME = {
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": MASK},
    "resets": {"resets": pattern(2, 0.3)},
    "reverse": {"reverse": True},
    "reverse_lengths": {"reverse": True, "lengths": LENGTHS},
    "reverse_resets": {"reverse": True, "resets": pattern(2, 0.3)},
    "everything": {"lengths": LENGTHS, "mask": MASK, "resets": pattern(4, 0.4)},
    "everything_reversed": {
        "lengths": LENGTHS,
        "mask": MASK,
        "resets": pattern(4, 0.4),
        "reverse": True,
    },
}


# Each of lengths, mask and resets with the others and without, in both directions, for one cell.
REFERENCE_BY_DEFAULT = {
    "gru": ("mask", "reverse_lengths", "reverse_resets", "everything", "everything_reversed"),
    "nested_2_multiply": ("everything_reversed",),
    "stack_skip_residual": ("everything",),
}


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        pytest.param(name, marks, marks=() if marks in REFERENCE_BY_DEFAULT[name] else pytest.mark.slow)
        for name in CELLS
        for marks in OVER_TIME
    ],
)
def test_equals_the_reference_run_on_the_valid_steps_of_each_example(name, marks):
    cell, reference = CELLS[name]
    references.assert_equals_reference(cell, reference, in_features=D, steps=5, batch=4, **OVER_TIME[marks])


CARRIES_BY_DEFAULT = (
    ("gru", "plain"),
    ("nested_2_multiply", "everything"),
    ("stack_skip_residual", "everything_reversed"),
)


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        pytest.param(*case, marks=() if case in CARRIES_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(CELLS, ("plain", "everything", "everything_reversed"))
    ],
)
def test_returned_carries_are_the_carries_after_each_step(name, marks):
    (cell, reference), over_time = CELLS[name], OVER_TIME.get(marks, {})
    params, xs, start = references.example(cell, in_features=D, steps=5, batch=4)
    expected = references.unroll(reference, params, xs, start, **over_time)
    found = references.run(cell, params, xs, start, **over_time, return_carries=True)
    for name, ours, theirs in zip(("last carry", "outputs", "carries"), found, expected, strict=True):
        references.assert_trees_close(ours, theirs, 1e-5, name)


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["gru"]))
def test_without_a_carry_it_starts_from_the_initial_one(name):
    cell, _ = CELLS[name]
    params, xs, _ = batch_of(cell)
    found = references.run(cell, params, xs)
    references.assert_trees_close(found, references.run(cell, params, xs, cell.initial_carry((4,))), 0.0)


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["nested_2_multiply"]))
def test_one_step_and_no_step(name):
    cell, _ = CELLS[name]
    params, xs, start = batch_of(cell)
    carry, ys = references.run(cell, params, xs[:1], start)
    expected = references.compiled(lambda: cell.step(params, start, cell.project(params, xs[0])))()
    references.assert_trees_close((carry, ys[0]), expected, 1e-6)
    carry, ys = references.run(cell, params, xs[:0], start)
    references.assert_trees_close(carry, start, 0.0)
    assert ys.shape == (0, 4, cell.out_features)


def test_two_windows_with_the_carry_passed_on_are_one_run():
    cell, _ = CELLS["stack_skip_residual"]
    params, xs, start = batch_of(cell)
    whole = references.run(cell, params, xs, start)
    middle, first = references.run(cell, params, xs[:2], start)
    last, second = references.run(cell, params, xs[2:], middle)
    references.assert_trees_close((last, np.concatenate([first, second])), whole, 1e-6)


@pytest.mark.slow  # By default NaN, for the core of the zoo: test_properties.
@pytest.mark.parametrize("garbage", [1e30, np.nan])
@pytest.mark.parametrize("reverse", [False, True])
@every_cell
def test_values_in_the_padding_change_nothing(name, reverse, garbage):
    cell, _ = CELLS[name]
    params, xs, start = batch_of(cell)
    valid = (np.arange(5)[:, None] < LENGTHS) & MASK
    dirty = np.where(valid[..., None], xs, garbage)
    weights = references.normal_like((start, np.zeros((5, 4, cell.out_features))), np.random.default_rng(2))
    clean, spoilt = (
        references.value_and_gradients(cell, params, inputs, start, weights, LENGTHS, MASK, reverse=reverse)
        for inputs in (xs, dirty)
    )
    references.assert_trees_close(spoilt, clean, 0.0)
    _, (_, xs_gradient, _) = spoilt
    np.testing.assert_array_equal(xs_gradient[~valid], 0.0)
    assert np.asarray(xs_gradient)[valid].all()


def test_past_the_end_outputs_are_zero_and_the_carry_is_frozen():
    cell = nested_lstm(3, 2)
    params, xs, start = batch_of(cell)
    carry, ys, carries = references.run(cell, params, xs, start, lengths=LENGTHS, return_carries=True)
    for b, length in enumerate(LENGTHS):
        assert not ys[length:, b].any()
        assert ys[:length, b].all()
        frozen = carries.h[length - 1, b] if length else start.h[b]
        np.testing.assert_array_equal(carry.h[b], frozen)


def test_outputs_of_a_reversed_run_belong_to_their_inputs():
    cell, _ = CELLS["stack_skip_residual"]
    params, xs, start = batch_of(cell)
    found = references.run(cell, params, xs, start, reverse=True)
    expected_carry, flipped = references.run(cell, params, jnp.flip(xs, 0), start)
    references.assert_trees_close(found, (expected_carry, flipped[::-1]), 1e-6)


def test_equals_torchs_packed_bidirectional_lstm():
    torch = pytest.importorskip("torch", reason="the comparison with packed sequences needs torch (extra: peers)")
    cell, lengths = LSTM(3), np.array([5, 3, 1, 2])
    forward, xs, _ = references.example(cell, in_features=D, steps=5, batch=4, seed=1)
    backward, _, _ = references.example(cell, in_features=D, seed=2)
    theirs = torch.nn.LSTM(2, 3, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for suffix, params in (("l0", forward), ("l0_reverse", backward)):
            getattr(theirs, f"weight_ih_{suffix}").copy_(torch.tensor(params.w_x.T))
            getattr(theirs, f"weight_hh_{suffix}").copy_(torch.tensor(params.w_h.T))
            getattr(theirs, f"bias_ih_{suffix}").copy_(torch.tensor(params.b))
            getattr(theirs, f"bias_hh_{suffix}").zero_()
    pack = torch.nn.utils.rnn.pack_padded_sequence
    packed = pack(torch.tensor(xs), torch.tensor(lengths), enforce_sorted=False)
    with torch.no_grad():
        ys, (h, c) = theirs(packed)
    ys = torch.nn.utils.rnn.pad_packed_sequence(ys)[0].numpy()
    with jax.enable_x64(True):
        for direction, params in enumerate((forward, backward)):
            carry, found = references.run(cell, params, xs, lengths=lengths, reverse=bool(direction))
            np.testing.assert_allclose(found, ys[..., 3 * direction : 3 * direction + 3], 1e-10, 1e-10)
            np.testing.assert_allclose(carry.h, h[direction].numpy(), 1e-10, 1e-10)
            np.testing.assert_allclose(carry.c, c[direction].numpy(), 1e-10, 1e-10)


def test_many_seeds_run_at_once_as_each_by_itself():
    cell = Elman(3, init_scheme="torch")
    keys = jax.random.split(KEY, 3)
    xs = jax.random.normal(KEY, (5, 4, 2))
    carry, ys = references.compiled(jax.vmap(lambda key: unroll(cell, cell.init(key, 2), xs)))(keys)
    for seed, key in enumerate(keys):
        alone = references.run(cell, cell.init(key, 2), xs)
        references.assert_trees_close((carry._replace(h=carry.h[seed]), ys[seed]), alone, 1e-5)


PARAMS = LSTM(3).init(jax.random.key(0), 2)
XS = jnp.zeros((5, 4, 2))
HALF = LSTMCarry(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
REFUSED = {
    "class": ((LSTM, PARAMS, XS), {}, r"cell: a layer expected, found the class LSTM"),
    "text": (
        ("lstm", PARAMS, XS),
        {},
        r"cell: a layer expected, found 'lstm', which lacks features, init, initial_carry",
    ),
    "list": ((LSTM(3), PARAMS, XS.tolist()), {}, r"xs: an array of floats expected, found list"),
    "integers": ((LSTM(3), PARAMS, XS.astype(int)), {}, r"xs: an array of floats expected, found one of int32"),
    "lengths": (
        (LSTM(3), PARAMS, XS),
        {"lengths": [1, 2, 3, 4]},
        r"lengths: an array of integers expected, found list",
    ),
    "negative length": (
        (LSTM(3), PARAMS, XS),
        {"lengths": jnp.array([5, 0, -1, 2])},
        r"lengths\[2\]: 0 to T = 5 expected, found -1",
    ),
    "long length": (
        (LSTM(3), PARAMS, XS),
        {"lengths": jnp.array([5, 0, 5, 6])},
        r"lengths\[3\]: 0 to T = 5 expected, found 6",
    ),
    "reverse": ((LSTM(3), PARAMS, XS), {"reverse": "yes"}, r"reverse: True or False expected, found 'yes'"),
    "number for a key": (
        (LSTM(3), PARAMS, XS),
        {"key": 0},
        r"key: one key, as of jax.random.key\(0\), expected, found int",
    ),
    "several keys": (
        (LSTM(3), PARAMS, XS),
        {"key": jax.random.split(jax.random.key(0))},
        r"key: one key, .* found an array of key<fry> of shape \(2,\)",
    ),
    "mask": (
        (LSTM(3), PARAMS, XS),
        {"mask": XS[..., 0]},
        r"mask: an array of booleans expected, found one of float32",
    ),
    "width": (
        (LSTM(3), PARAMS, XS[..., :1]),
        {},
        r"params: LSTM\(features=3\) on inputs of width 1: w_x of shape \(1, 12\) expected, found \(2, 12\)",
    ),
    "other cell": (
        (GRU(3), PARAMS, XS),
        {},
        r"params: GRU\(features=3\) on inputs of width 2: w_x of shape \(2, 9\) expected, found \(2, 12\)",
    ),
    "no peepholes": (
        (LSTM(3, peephole=True), PARAMS, XS),
        {},
        r"params: .* peephole of shape \(3, 3\) expected, found none",
    ),
    "peepholes": (
        (LSTM(3), LSTM(3, peephole=True).init(jax.random.key(0), 2), XS),
        {},
        r"params: .* LSTMParams expected, found LSTMParams with peephole",
    ),
    "tuple": ((LSTM(3), PARAMS, XS, (HALF.c, HALF.h)), {}, r"carry: .* of 4 sequences: c of shape \(4, 3\) expected"),
    "batch": ((LSTM(3), PARAMS, XS, HALF), {}, r"carry: .* c of shape \(4, 3\) expected, found \(2, 3\)"),
}


@pytest.mark.parametrize(("arguments", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_named(arguments, options, message):
    # As outside the tests, where nothing checks types.
    bare = inspect.unwrap(unroll)
    with pytest.raises(ValueError, match=f"^unroll: {message}"):
        bare(*arguments, **options)


def test_an_unknown_mode_is_refused_with_those_that_are_known():
    params, xs, _ = batch_of(Elman(3))
    with pytest.raises(ValueError, match=r"(?s)(?=.*fsued)(?=.*scan)(?=.*auto)"):
        references.run(Elman(3), params, xs, mode="fsued")
