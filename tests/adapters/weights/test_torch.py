import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.adapters.weights import from_torch, to_torch
from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    BidirectionalCarry,
    Elman,
    ElmanCarry,
    GRUCarry,
    LSTMCarry,
    Stack,
    StackCarry,
    VariationalDropout,
    Zoneout,
    nested_lstm,
    spec_repr,
)
from nlstm_jax.errors import DataError

WITHOUT_ONEDNN = "ignore:LSTM with projections is not supported with oneDNN"
KINDS = ("lstm", "projected", "gru", "tanh", "relu")
CARRIES = {"gru": GRUCarry, "tanh": ElmanCarry, "relu": ElmanCarry}


def drawn(layer):
    """Return random parameters. Unlike true initial values they need no compilation."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), references.example(layer)[0])


def case(index):
    """Return the options of a case: one of five kinds, and all other options in cycles of different lengths."""
    generator = np.random.default_rng(index)
    steps, batch, features, hidden = (int(generator.integers(*bounds)) for bounds in ((1, 9), (1, 5), (1, 6), (2, 7)))
    both, packed = index % 2 == 1, index % 4 < 2
    return {
        "kind": KINDS[index % 5],
        "layers": 1 + index % 3,
        "both": both,
        "bias": index % 7 != 3,
        "lengths": generator.integers(1, steps + 1, batch) if packed else None,
        "shape": (steps, batch, features),
        "hidden": hidden,
        "seed": index,
    }


def named(index):
    options = case(index)
    words = [options["kind"], str(options["layers"]), "both" if options["both"] else "one"]
    words += ["bare"] * (not options["bias"]) + ["packed"] * (options["lengths"] is not None)
    return pytest.param(options, id="-".join(words), marks=pytest.mark.slow if index >= 5 else ())


def module_of(torch, kind, features, hidden, layers=1, both=False, bias=True):
    options = {"num_layers": layers, "bidirectional": both, "bias": bias}
    if kind in ("lstm", "projected"):
        return torch.nn.LSTM(features, hidden, proj_size=hidden - 1 if kind == "projected" else 0, **options)
    if kind == "gru":
        return torch.nn.GRU(features, hidden, **options)
    return torch.nn.RNN(features, hidden, nonlinearity=kind, **options)


def carry_from(kind, states, layers, both):
    """Convert PyTorch's states [layers · directions, B, H] to a carry."""
    states = dict(zip("hc", states, strict=False))
    cells = [
        CARRIES.get(kind, LSTMCarry)(**{name: np.asarray(values[index]) for name, values in states.items()})
        for index in range(len(states["h"]))
    ]
    if both:
        cells = [BidirectionalCarry(*pair) for pair in zip(cells[::2], cells[1::2], strict=True)]
    assert len(cells) == layers
    return cells[0] if layers == 1 else StackCarry(tuple(cells))


def in_torchs_names(gradients, layers, both):
    """Convert gradients by this library's parameters to gradients by PyTorch's, by name."""
    found = {}
    for index, layer in enumerate(gradients.layers if layers > 1 else [gradients]):
        for suffix, own in zip(("", "_reverse"), layer if both else [layer], strict=False):
            biases = {} if own.b is None else {"bias_ih": own.b, "bias_hh": own.b}
            if getattr(own, "b_n", None) is not None:
                biases["bias_hh"] = np.concatenate([own.b[: -len(own.b_n)], own.b_n])
            projection = getattr(own, "w_p", None)
            kernels = {"weight_ih": own.w_x.T, "weight_hh": own.w_h.T}
            kernels |= {} if projection is None else {"weight_hr": projection.T}
            found |= {f"{name}_l{index}{suffix}": value for name, value in (kernels | biases).items()}
    return found


@pytest.mark.filterwarnings(WITHOUT_ONEDNN)
@pytest.mark.parametrize("options", [named(index) for index in range(50)])
def test_values_and_gradients_equal_torchs(options):
    torch = pytest.importorskip("torch", reason="the comparison with torch.nn needs torch (extra: peers)")
    kind, layers, both, lengths = (options[name] for name in ("kind", "layers", "both", "lengths"))
    torch.manual_seed(options["seed"])
    theirs = module_of(torch, kind, options["shape"][-1], options["hidden"], layers, both, options["bias"])
    xs = torch.randn(options["shape"], requires_grad=True)
    width = {"h": options["hidden"] - (kind == "projected"), "c": options["hidden"]}
    start = [
        torch.randn(layers * (1 + both), options["shape"][1], width[name], requires_grad=True)
        for name in ("hc" if kind in ("lstm", "projected") else "h")
    ]

    given = xs
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(lengths), enforce_sorted=False)
    ys, last = theirs(given, tuple(start) if len(start) == 2 else start[0])
    if lengths is not None:
        ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=options["shape"][0])
    last = last if isinstance(last, tuple) else (last,)
    weights = [torch.randn(value.shape) for value in (*last, ys)]
    sum((weight * value).sum() for weight, value in zip(weights, (*last, ys), strict=True)).backward()

    def carry(states):
        return carry_from(kind, [state.detach().numpy() for state in states], layers, both)

    cell, params = from_torch(theirs.state_dict(), nonlinearity=kind if kind == "relu" else "tanh")
    on_device = jax.tree.map(jnp.asarray, (xs.detach().numpy(), carry(start)))
    marked = {} if lengths is None else {"lengths": lengths}
    found, gradients = references.value_and_gradients(
        cell, params, *on_device, (carry(weights[:-1]), weights[-1].numpy()), **marked
    )
    references.assert_trees_close(found, (carry(last), ys.detach().numpy()), 1e-5, "value of (carry, ys)")
    expected = {name: value.grad.numpy() for name, value in theirs.named_parameters()}
    references.assert_trees_close(in_torchs_names(gradients[0], layers, both), expected, 1e-5, "gradient by ")
    inputs = (xs.grad.numpy(), carry([state.grad for state in start]))
    references.assert_trees_close(gradients[1:], inputs, 1e-5, "gradient by (xs, carry)")


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_a_single_cell_of_torchs_equals_one_step(kind):
    torch = pytest.importorskip("torch", reason="the comparison with torch.nn's cells needs torch (extra: peers)")
    torch.manual_seed(0)
    made = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}.get(kind, torch.nn.RNNCell)
    theirs = made(3, 4, **({"nonlinearity": "relu"} if kind == "relu" else {}))
    x, h, c = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 4)
    with torch.no_grad():
        expected = theirs(x, (h, c)) if kind == "lstm" else (theirs(x, h),)
    cell, params = from_torch(theirs.state_dict(), nonlinearity="relu" if kind == "relu" else "tanh")
    start = carry_from(kind, [h[None], c[None]] if kind == "lstm" else [h[None]], 1, False)
    start, x = jax.tree.map(jnp.asarray, (start, x.numpy()))
    carry, y = cell.step(params, start, cell.project(params, x))
    wanted = carry_from(kind, [state[None] for state in expected], 1, False)
    references.assert_trees_close((carry, y), (wanted, expected[0].numpy()), 1e-5)


def test_a_prefix_picks_a_layer_out_of_a_model():
    torch = pytest.importorskip("torch", reason="a model's state dict needs torch (extra: peers)")
    model = torch.nn.ModuleDict({"encoder": torch.nn.ModuleDict({"rnn": torch.nn.GRU(3, 4)})})
    model["head"] = torch.nn.Linear(4, 2)
    found = from_torch(model.state_dict(), "encoder.rnn.")
    expected = from_torch(model["encoder"]["rnn"].state_dict())
    assert found[0] == expected[0] == GRU(4)
    references.assert_trees_close(found[1], expected[1], 0.0)


@pytest.mark.filterwarnings(WITHOUT_ONEDNN)
def test_torch_takes_what_is_written_for_it():
    torch = pytest.importorskip("torch", reason="load_state_dict needs torch (extra: peers)")
    layer = Stack(tuple(Bidirectional(LSTM(4, projection=2), LSTM(4, projection=2)) for _ in range(2)))
    params, xs, _ = references.example(layer)
    params = jax.tree.map(jnp.asarray, params)
    theirs = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in to_torch(layer, params).items()})
    with torch.no_grad():
        expected = theirs(torch.tensor(xs, dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(references.run(layer, params, xs)[1], expected, 1e-5, 1e-5)


CELLS = {
    "lstm": LSTM(4),
    "lstm_no_bias": LSTM(4, use_bias=False),
    "projection": LSTM(4, projection=2),
    "gru": GRU(4),
    "gru_no_bias": GRU(4, use_bias=False),
    "elman": Elman(4),
    "elman_relu": Elman(4, activation="relu"),
    "elman_no_bias": Elman(4, use_bias=False),
}


@pytest.mark.parametrize("structure", ["cell", "both", "stack", "stack of both"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_way_to_torch_and_back_changes_no_bit(cell, structure):
    layer = Bidirectional(cell, cell) if "both" in structure else cell
    layer = Stack((layer,) * 3) if "stack" in structure else layer
    params = drawn(layer)
    nonlinearity = getattr(cell, "activation", "tanh")
    back, values = from_torch(to_torch(layer, params, "a.b."), "a.b.", nonlinearity=nonlinearity)
    assert back == layer
    references.assert_trees_close(values, params, 0.0)


def test_dropout_is_left_out():
    noisy = Stack((VariationalDropout(LSTM(4), recurrent=0.5), LSTM(4)), dropout=0.5)
    plain = Stack((LSTM(4), LSTM(4)))
    params = drawn(plain)
    found, expected = to_torch(noisy, params), to_torch(plain, params)
    references.assert_trees_close(found, expected, 0.0)


def test_half_precision_is_read_as_float32():
    tensors = {name: value.astype(np.float16) for name, value in to_torch(LSTM(4), drawn(LSTM(4))).items()}
    params = from_torch(tensors)[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(params.w_x, tensors["weight_ih_l0"].T)


def test_a_module_in_bfloat16_is_read_as_float32():
    torch = pytest.importorskip("torch", reason="a module in bfloat16 needs torch (extra: peers)")
    module = torch.nn.LSTM(3, 4).to(torch.bfloat16)
    cell, params = from_torch(module.state_dict())
    expected = from_torch(module.float().state_dict())
    assert cell == expected[0]
    np.testing.assert_array_equal(params.w_h, expected[1].w_h, strict=True)


TWO = Stack((Bidirectional(GRU(4), GRU(4)),) * 2)


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def with_(name, shape):
    return lambda tensors: tensors | {name: np.zeros(shape, np.float32)}


MISTAKES = {
    "no weight_ih": (without("m.weight_ih_l1_reverse"), r"m\.weight_ih_l1_reverse: missing"),
    "no direction": (
        lambda tensors: {key: value for key, value in tensors.items() if "_l1_reverse" not in key},
        r"m\.weight_hh_l1_reverse: missing",
    ),
    "no weight_hh": (without("m.weight_hh_l0"), r"m\.weight_hh_l0: missing"),
    "no bias_hh": (without("m.bias_hh_l1"), r"m\.bias_hh_l1: missing"),
    "no bias_ih": (without("m.bias_ih_l1"), r"m\.bias_(ih|hh)_l1"),
    "no layer": (
        lambda tensors: {key: value for key, value in tensors.items() if "_l0" not in key},
        r"m\.weight_.._l0",
    ),
    "other inputs than the layer below has outputs": (with_("m.weight_ih_l1", (12, 7)), r"m\.weight_ih_l1"),
    "other inputs than the other direction": (with_("m.weight_ih_l0_reverse", (12, 7)), r"m\.weight_ih_l0_reverse"),
    "13 rows": (with_("m.weight_hh_l0", (13, 4)), r"m\.weight_hh_l0: .*13"),
    "one axis": (with_("m.weight_hh_l0", (12,)), r"m\.weight_hh_l0: .*\[12\]"),
    "long bias": (with_("m.bias_ih_l0", (16,)), r"m\.bias_ih_l0: .*\[12\].*\[16\]"),
    "projected GRU": (with_("m.weight_hr_l0", (4, 4)), r"m\.weight_h[rh]_l0"),
    "left over": (with_("m.head.weight", (2, 2)), r"no place for m\.head\.weight"),
}


@pytest.mark.parametrize(("broken", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_tensor_is_told_by_its_full_name(broken, named):
    tensors = to_torch(TWO, drawn(TWO), "m.")
    with pytest.raises(DataError, match=named):
        from_torch(broken(tensors), "m.")


def test_a_prefix_that_would_serve_is_told():
    tensors = to_torch(TWO, drawn(TWO), "encoder.rnn.")
    with pytest.raises(DataError, match=r"weight_hh_l0: missing among .*; is the prefix 'encoder\.rnn\.'\?$"):
        from_torch(tensors | {"head.weight": np.zeros((2, 2))})


def test_a_nonlinearity_is_that_of_a_simple_layer():
    tensors = to_torch(TWO, drawn(TWO))
    with pytest.raises(DataError, match=r"^from_torch: nonlinearity: none expected.* found 'relu'$"):
        from_torch(tensors, nonlinearity="relu")
    assert from_torch(tensors, nonlinearity="tanh")[0] == from_torch(tensors)[0]


def test_a_module_is_no_dictionary_but_its_named_parameters_are():
    torch = pytest.importorskip("torch", reason="a module needs torch (extra: peers)")
    module = torch.nn.GRU(3, 4)
    with pytest.raises(DataError, match=r"^from_torch: a dictionary of arrays by name expected, found GRU$"):
        from_torch(module)
    found = from_torch(dict(module.named_parameters()))
    references.assert_trees_close(found[1], from_torch(module.state_dict())[1], 0.0)


def test_a_cell_of_ones_own_is_refused():
    with pytest.raises(
        ValueError, match=r"^to_torch: an LSTM, GRU or Elman expected, found Zoneout, which takes part"
    ):
        to_torch(Zoneout(LSTM(4), 0.1), drawn(LSTM(4)))


def test_a_wrong_prefix_is_told_with_the_names_that_there_are():
    with pytest.raises(DataError, match=r"(?s)'n\.'.*m\.weight_ih_l0"):
        from_torch(to_torch(GRU(4), drawn(GRU(4)), "m."), "n.")


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (LSTM(4, peephole=True), "LSTM: peephole=False expected, found True"),
        (LSTM(4, layer_norm=True), "LSTM: layer_norm=False expected, found True"),
        (LSTM(4, gating="add"), "LSTM: gating='multiply' expected, found 'add'"),
        (LSTM(4, candidate_activation="identity"), "LSTM: candidate_activation='tanh' expected, found 'identity'"),
        (LSTM(4, gate_activation="hard_sigmoid"), "LSTM: gate_activation='sigmoid' expected, found 'hard_sigmoid'"),
        (GRU(4, reset_after=False), "GRU: reset_after=True expected, found False"),
        (Elman(4, activation="sigmoid"), r"Elman: activation=\('tanh', 'relu'\) expected, found 'sigmoid'"),
        (nested_lstm(4, 2), "an LSTM, GRU or Elman expected, found Nested"),
        (Stack((LSTM(4), LSTM(5))), "layers and directions alike expected.*LSTM.*LSTM"),
        (Stack((LSTM(4), GRU(4))), "layers and directions alike expected.*LSTM.*GRU"),
        (Bidirectional(LSTM(4), LSTM(4, use_bias=False)), "layers and directions alike expected"),
        (Bidirectional(LSTM(4), LSTM(4), "sum"), "Bidirectional: merge='concat' expected, found 'sum'"),
        (Stack((LSTM(4), Bidirectional(LSTM(4), LSTM(4)))), "direction.* expected, found Bidirectional"),
        (Stack((LSTM(4), LSTM(4)), skip=True), "Stack: skip=False expected, found True"),
        (Stack((LSTM(4), LSTM(4)), residual=True), "Stack: residual=False expected, found True"),
    ],
    ids=lambda value: "" if isinstance(value, str) else spec_repr(value).replace("features=4", ""),
)
def test_what_torch_does_not_have_is_refused_by_name(layer, named):
    with pytest.raises(ValueError, match=named):
        to_torch(layer, drawn(layer))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_biases_in_half_precision_are_added_in_single(kind) -> None:
    generator = np.random.default_rng(9)
    gates = {"lstm": 4, "gru": 3}[kind]
    shapes = {"weight_ih_l0": (4 * gates, 3), "weight_hh_l0": (4 * gates, 4)}
    shapes |= {"bias_ih_l0": (4 * gates,), "bias_hh_l0": (4 * gates,)}
    halves = {name: generator.standard_normal(shape).astype(np.float16) for name, shape in shapes.items()}
    singles = {name: value.astype(np.float32) for name, value in halves.items()}
    ours, expected = (from_torch(tensors)[1] for tensors in (halves, singles))
    for leaf, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(leaf, other)
