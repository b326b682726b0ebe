"""Cells and wrappers that several test modules share, by name and with tags.

A test module selects its cells by tag: `zoo.parametrize("stack")`, `zoo.cells("noisy", without="bidirectional")`.

| tag | cells that have it |
|---|---|
| `single` | a single cell without wrappers: Elman, GRU, LSTM, Nested, a cell of the user |
| `elman`, `gru`, `lstm`, `deep`, `stack`, `bidirectional`, `own` | the kind of the outermost layer |
| `nested` | a Nested LSTM, possibly inside a wrapper |
| `option` | a single cell with one option that differs from its default |
| `pair` | several options together, or a wrapper with several; an error in one option shows here too |
| `wrapper` | VariationalDropout, Zoneout, DeepTransition, DeepOutput |
| `noisy` | draws noise if it gets a key |
| `once` | noisy, and its noise is drawn once per sequence: it does not depend on the time step |
| `stepped` | has a `step`: every layer except `bidirectional` |
| `reference` | has an entry in the NumPy references |
| `fused` | together they have every operation that the fused loop handles specially |
| `core` | a few cells that together use every mechanism of `unroll`; the default run takes these |

Widths are small: H = 3 hidden units, D = 2 input features.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import Step

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    Layer,
    LSTMCarry,
    Nested,
    NestedCarry,
    Stack,
    VariationalDropout,
    Zoneout,
    nested_lstm,
    with_regularizers,
)
from nlstm_jax.cells.base import no_noise

D, H = 2, 3
RICH = {"peephole": True, "projection": 2, "layer_norm": True}


class Entry(NamedTuple):
    """One cell of the zoo.

    Attributes:
        make: The function that builds the cell from the dtype of all matrix products, or None.
        tags: The tags from the table above.
        reference: The same cell in NumPy (`references`), or None.
    """

    make: Callable[[Any], Layer]
    tags: frozenset[str]
    reference: Step | None


class OwnParams(NamedTuple):
    """A bundle of a matrix that is multiplied from the left, a matrix for two gates, and a scalar."""

    left: jax.Array
    both: jax.Array
    scale: jax.Array


class OwnCarry(NamedTuple):
    """A bundle of an output, a vector that never changes, and a counter."""

    h: jax.Array
    kept: jax.Array
    count: jax.Array


@jax.jit
def _relu_plus_elu(x, y):
    return jax.nn.relu(x) + jnp.where(y > 0, y, jnp.expm1(y))


@dataclass(frozen=True)
class Own:
    """A cell of the user, with jitted functions, and with matrices that are used twice, split, cast or on the left."""

    features: int
    count: str = "float32"
    sample_noise = staticmethod(no_noise)

    @property
    def out_features(self):
        return self.features

    def init(self, key, in_features):
        width = self.features
        return OwnParams(*(jax.random.normal(key, shape) for shape in ((width, width), (width, 2 * width), ())))

    def initial_carry(self, batch_shape):
        zeros = jnp.zeros((*batch_shape, self.features))
        return OwnCarry(zeros, zeros, jnp.zeros(batch_shape, self.count))

    def project(self, params, x):
        return jnp.tile(x, 2)

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        first, second = jnp.split(params.both, 2, axis=-1)
        once = carry.h @ first + carry.h @ second.astype(jnp.bfloat16).astype(jnp.float32)
        twice = jnp.tanh(once) @ first * params.both[0, 0]
        left = (params.left @ carry.h[..., None])[..., 0]
        gate, piece, straight = jnp.split(
            jnp.concatenate([twice, left, z], -1), [self.features, 2 * self.features], axis=-1
        )
        straight = straight[..., : self.features]
        y = (
            jax.nn.sigmoid(gate) * jnp.tanh(piece) * params.scale
            + _relu_plus_elu(straight, piece)
            + np.arange(self.features)
        )
        y = y / (1 + jnp.linalg.norm(y, axis=-1, keepdims=True))
        return OwnCarry(y, carry.kept, carry.count + 1), jnp.concatenate([y[..., :2], jnp.ones_like(y[..., 2:])], -1)


class MinGRUParams(NamedTuple):
    """A bundle of the matrices of the gate and of the candidate."""

    w_z: jax.Array
    w_h: jax.Array


class MinGRUCarry(NamedTuple):
    """A bundle of the output alone."""

    h: jax.Array


@dataclass(frozen=True)
class MinGRU:
    """A minimal gated recurrent unit (Feng et al. 2024, arXiv 2410.01201) with three methods."""

    features: int

    def init(self, key, in_features):
        return MinGRUParams(*jax.random.normal(key, (2, in_features, self.features)))

    def initial_carry(self, batch_shape):
        return MinGRUCarry(jnp.zeros((*batch_shape, self.features)))

    def step(self, params, carry, x):
        z = jax.nn.sigmoid(x @ params.w_z)
        h = (1 - z) * carry.h + z * (x @ params.w_h)
        return MinGRUCarry(h), h


def _transition(*cells: Step) -> Step:
    """Return the reference of a `DeepTransition`. Only the first cell reads the input."""

    def step(p, carry, x):
        for cell, cell_params in zip(cells, p.cells, strict=True):
            carry, y = cell(cell_params, carry, x)
            x = np.zeros(0)
        return carry, y

    return step


def _output(cell: Step, activation="tanh") -> Step:
    """Return the reference of a `DeepOutput`."""

    def step(p, carry, x):
        carry, y = cell(p.cell, carry, x)
        for layer in p.layers:
            y = references.ACTIVATIONS[activation](y @ layer.w + layer.b)
        return carry, y

    return step


ENTRIES: dict[str, Entry] = {}


def _add(name: str, tags: str, make: Callable[[Any], Layer], reference: Step | None = None) -> None:
    """Add a cell to the zoo. The tags `reference` and `stepped` are added automatically."""
    assert name not in ENTRIES, f"zoo: {name}: a new name expected"
    all_tags = set(tags.split())
    if reference is not None:
        all_tags.add("reference")
    if "bidirectional" not in all_tags:
        all_tags.add("stepped")
    ENTRIES[name] = Entry(make, frozenset(all_tags), reference)


def _lstm(**options) -> tuple[Callable[[Any], Layer], Step]:
    """Return an LSTM with options, and its reference."""
    return lambda dtype: LSTM(H, dtype=dtype, **options), references.lstm(**options)


def _gru(**options) -> tuple[Callable[[Any], Layer], Step]:
    """Return a GRU with options, and its reference."""
    return lambda dtype: GRU(H, dtype=dtype, **options), references.gru(**options)


def _elman(**options) -> tuple[Callable[[Any], Layer], Step]:
    """Return an Elman cell with options, and its reference."""
    return lambda dtype: Elman(H, dtype=dtype, **options), references.elman(**options)


_add("elman", "single elman fused", *_elman())
_add("elman_no_bias", "single elman option", *_elman(use_bias=False))
_add("elman_relu", "single elman option", *_elman(activation="relu"))
_add("elman_relu_no_bias", "single elman pair fused", *_elman(activation="relu", use_bias=False))
_add("elman_hard_sigmoid", "single elman option", *_elman(activation="hard_sigmoid"))
_add("elman_softsign", "single elman option", *_elman(activation="softsign"))

_add("gru", "single gru core fused", *_gru())
_add("gru_reset_before", "single gru option fused", *_gru(reset_after=False))
_add("gru_no_bias", "single gru option", *_gru(use_bias=False))
_add("gru_reset_before_no_bias", "single gru pair", *_gru(reset_after=False, use_bias=False))
_add("gru_activations", "single gru pair", *_gru(candidate_activation="sigmoid", gate_activation="tanh"))

_add("lstm", "single lstm fused", *_lstm())
_add("lstm_add", "single lstm option", *_lstm(gating="add"))
_add("lstm_identity_output", "single lstm option", *_lstm(output_activation="identity"))
_add("lstm_tanh_gates", "single lstm option", *_lstm(gate_activation="tanh"))
_add(
    "lstm_activations",
    "single lstm pair fused",
    *_lstm(candidate_activation="softsign", gate_activation="hard_sigmoid"),
)
_add("lstm_hard_sigmoid_keras2", "single lstm option", *_lstm(gate_activation="hard_sigmoid_keras2"))
_add("lstm_no_bias", "single lstm option", *_lstm(use_bias=False))
_add("lstm_peephole", "single lstm option", *_lstm(peephole=True))
_add("lstm_projection", "single lstm option", *_lstm(projection=2))
_add("lstm_wide_projection", "single lstm option", *_lstm(projection=5))
_add("lstm_layer_norm", "single lstm option", *_lstm(layer_norm=True))
_add("lstm_layer_norm_epsilon", "single lstm pair", *_lstm(layer_norm=True, norm_epsilon=0.3))
_add("lstm_peephole_projection", "single lstm pair", *_lstm(peephole=True, projection=2))
_add("lstm_peephole_layer_norm", "single lstm pair", *_lstm(peephole=True, layer_norm=True))
_add(
    "lstm_projection_layer_norm_no_bias",
    "single lstm pair",
    *_lstm(projection=2, layer_norm=True, use_bias=False),
)
_add("lstm_options", "single lstm pair core fused", *_lstm(**RICH))
_add(
    "lstm_all_options",
    "single lstm pair",
    *_lstm(
        gating="add",
        candidate_activation="sigmoid",
        output_activation="identity",
        gate_activation="tanh",
        norm_epsilon=0.1,
        use_bias=False,
        **RICH,
    ),
)

_NESTED_TAGS = {(2, "multiply"): "single nested fused", (3, "add"): "single nested core fused"}
for _depth in (1, 2, 3, 4):
    for _gating in ("multiply", "add"):
        _add(
            f"nested_{_depth}_{_gating}",
            _NESTED_TAGS.get((_depth, _gating), "single nested"),
            lambda dtype, depth=_depth, gating=_gating: nested_lstm(H, depth, gating, dtype=dtype),
            references.nested_lstm(_depth, _gating),
        )
_add(
    "nested_gru",
    "single nested",
    lambda dtype: Nested(H, GRU(H, dtype=dtype), dtype=dtype),
    references.nested(references.gru()),
)
_add(
    "nested_gru_reset_before_add",
    "single nested pair",
    lambda dtype: Nested(H, GRU(H, reset_after=False, dtype=dtype), gating="add", dtype=dtype),
    references.nested(references.gru(reset_after=False), gating="add"),
)
_add(
    "nested_nested_gru",
    "single nested pair",
    lambda dtype: Nested(H, Nested(H, GRU(H, dtype=dtype), candidate_activation="tanh", dtype=dtype), dtype=dtype),
    references.nested(references.nested(references.gru(), candidate_activation="tanh")),
)
_add(
    "nested_elman",
    "single nested",
    lambda dtype: Nested(H, Elman(H, dtype=dtype), dtype=dtype),
    references.nested(references.elman()),
)
_add(
    "nested_projected_lstm",
    "single nested option",
    lambda dtype: Nested(H, LSTM(5, projection=H, dtype=dtype), dtype=dtype),
    references.nested(references.lstm(projection=H)),
)
_INSIDE = {"peephole": True, "layer_norm": True, "projection": H, "gating": "add", "use_bias": False}
_add(
    "nested_lstm_options",
    "single nested pair",
    lambda dtype: Nested(H, LSTM(4, dtype=dtype, **_INSIDE), dtype=dtype),
    references.nested(references.lstm(**_INSIDE)),
)
_OUTSIDE = {
    "candidate_activation": "tanh",
    "output_activation": "identity",
    "gate_activation": "tanh",
    "use_bias": False,
}
_add(
    "nested_options",
    "single nested pair",
    lambda dtype: Nested(H, LSTM(H, dtype=dtype), dtype=dtype, **_OUTSIDE),
    references.nested(references.lstm(), **_OUTSIDE),
)

_add("own", "single own", lambda dtype: Own(H))

_add(
    "transition_elman",
    "deep wrapper",
    lambda dtype: DeepTransition((Elman(H, dtype=dtype),) * 3),
    _transition(*[references.elman()] * 3),
)
_add(
    "transition_gru",
    "deep wrapper",
    lambda dtype: DeepTransition((GRU(H, dtype=dtype),) * 2),
    _transition(*[references.gru()] * 2),
)
_add(
    "transition_lstm",
    "deep wrapper",
    lambda dtype: DeepTransition((LSTM(H, dtype=dtype),) * 2),
    _transition(*[references.lstm()] * 2),
)
_add(
    "transition_options",
    "deep wrapper pair",
    lambda dtype: DeepTransition(
        (GRU(H, dtype=dtype), GRU(H, reset_after=False, dtype=dtype), GRU(H, use_bias=False, dtype=dtype))
    ),
    _transition(references.gru(), references.gru(reset_after=False), references.gru(use_bias=False)),
)
_add(
    "transition_nested",
    "deep wrapper pair",
    lambda dtype: DeepTransition((nested_lstm(H, 2, dtype=dtype),) * 2),
    _transition(*[references.nested_lstm(2)] * 2),
)
_add(
    "output_lstm",
    "deep wrapper",
    lambda dtype: DeepOutput(LSTM(H, dtype=dtype), widths=(4, 2)),
    _output(references.lstm()),
)
_add(
    "output_projection",
    "deep wrapper pair",
    lambda dtype: DeepOutput(LSTM(H, projection=2, dtype=dtype), widths=(3,), activation="softsign"),
    _output(references.lstm(projection=2), "softsign"),
)
_add(
    "output_transition",
    "deep wrapper pair",
    lambda dtype: DeepOutput(DeepTransition((Elman(H, dtype=dtype),) * 3), widths=(2,)),
    _output(_transition(*[references.elman()] * 3)),
)
_add(
    "output_output",
    "deep wrapper pair",
    lambda dtype: DeepOutput(DeepOutput(GRU(H, dtype=dtype), (2,)), (4,)),
    _output(_output(references.gru())),
)
_add(
    "stack_of_deep",
    "deep wrapper stack pair",
    lambda dtype: Stack((DeepOutput(GRU(H, dtype=dtype), widths=(2,)), DeepTransition((Elman(H, dtype=dtype),) * 3))),
    references.stack(_output(references.gru()), _transition(*[references.elman()] * 3)),
)

_add(
    "stack_widths",
    "stack",
    lambda dtype: Stack((LSTM(4, dtype=dtype), LSTM(5, dtype=dtype))),
    references.stack(*[references.lstm()] * 2),
)
_add(
    "stack_skip",
    "stack option",
    lambda dtype: Stack((LSTM(4, dtype=dtype), GRU(3, dtype=dtype), Elman(2, dtype=dtype)), skip=True),
    references.stack(references.lstm(), references.gru(), references.elman(), skip=True),
)
_add(
    "stack_residual",
    "stack option",
    lambda dtype: Stack(tuple(LSTM(width, dtype=dtype) for width in (4, 4, 3, 3)), residual=True),
    references.stack(*[references.lstm()] * 4, residual=True),
)
_add(
    "stack_skip_residual",
    "stack pair",
    lambda dtype: Stack((LSTM(4, dtype=dtype), LSTM(4, dtype=dtype)), skip=True, residual=True),
    references.stack(*[references.lstm()] * 2, skip=True, residual=True),
)
_add(
    "stack_as_wide_as_its_input",
    "stack pair",
    lambda dtype: Stack((LSTM(D, dtype=dtype), LSTM(D, dtype=dtype)), residual=True),
    references.stack(*[references.lstm()] * 2, residual=True),
)
_add(
    "stack_nested",
    "stack",
    lambda dtype: Stack((nested_lstm(3, 2, dtype=dtype), nested_lstm(4, 3, dtype=dtype))),
    references.stack(references.nested_lstm(2), references.nested_lstm(3)),
)
_add(
    "stack_projection",
    "stack pair",
    lambda dtype: Stack((LSTM(5, projection=2, dtype=dtype), LSTM(4, dtype=dtype))),
    references.stack(references.lstm(projection=2), references.lstm()),
)
_add(
    "stack_of_stacks",
    "stack pair",
    lambda dtype: Stack((Stack((LSTM(3, dtype=dtype), LSTM(2, dtype=dtype))), Elman(3, dtype=dtype))),
    references.stack(references.stack(*[references.lstm()] * 2), references.elman()),
)
_add(
    "stack_dropout",
    "stack option noisy fused",
    lambda dtype: Stack((LSTM(H, dtype=dtype), GRU(H, dtype=dtype)), skip=True, dropout=0.4),
)
_add(
    "stack",
    "stack pair noisy core",
    lambda dtype: Stack(
        (Zoneout(LSTM(H, dtype=dtype), 0.3), nested_lstm(H, 2, dtype=dtype)), skip=True, residual=True, dropout=0.4
    ),
)

_RATES = {"inputs": 0.4, "recurrent": 0.4, "weights": 0.4}
for _kind in _RATES:
    _add(
        f"dropped_{_kind}",
        "wrapper option noisy once",
        lambda dtype, kind=_kind: VariationalDropout(LSTM(H, dtype=dtype), **{kind: 0.4}),
    )
_add("dropped", "wrapper pair noisy once core", lambda dtype: VariationalDropout(LSTM(H, dtype=dtype), **_RATES))
_add("zoneout", "wrapper noisy", lambda dtype: Zoneout(GRU(H, dtype=dtype), 0.4))
_add(
    "zoneout_rates",
    "wrapper option noisy",
    lambda dtype: Zoneout(LSTM(H, dtype=dtype), LSTMCarry(c=0.5, h=0.2)),
)
_add(
    "nested_around_dropped",
    "nested wrapper noisy once",
    lambda dtype: Nested(H, VariationalDropout(LSTM(H, dtype=dtype), **_RATES), dtype=dtype),
)
_add(
    "zoneout_dropped_nested",
    "nested wrapper pair noisy core",
    lambda dtype: Zoneout(
        VariationalDropout(nested_lstm(H, 2, dtype=dtype), inputs=0.3, recurrent=0.3),
        NestedCarry(h=0.2, inner=LSTMCarry(c=0.4, h=0.0)),
    ),
)
_add(
    "nested_all_noise",
    "nested wrapper pair noisy fused",
    lambda dtype: with_regularizers(
        nested_lstm(H, 2, dtype=dtype),
        input_dropout=(0.2,),
        recurrent_dropout=(0.3,),
        weight_drop=(0.4,),
        zoneout=(0.1,),
    ),
)
_add(
    "deep_transition",
    "deep wrapper pair noisy once",
    lambda dtype: DeepTransition((GRU(H, dtype=dtype), VariationalDropout(GRU(H, dtype=dtype), recurrent=0.4))),
)
_add(
    "deep_output",
    "deep wrapper pair noisy",
    lambda dtype: DeepOutput(Zoneout(LSTM(H, dtype=dtype), 0.4), widths=(4, 2)),
)
_add(
    "deep_output_transition",
    "deep wrapper pair fused",
    lambda dtype: DeepOutput(DeepTransition((GRU(H, dtype=dtype), GRU(H, dtype=dtype))), (3,)),
)

_add(
    "bidirectional",
    "bidirectional noisy once core fused",
    lambda dtype: Bidirectional(LSTM(H, dtype=dtype), VariationalDropout(GRU(2, dtype=dtype), recurrent=0.4)),
)
for _merge in ("sum", "mul", "ave"):
    _add(
        f"bidirectional_{_merge}",
        "bidirectional option",
        lambda dtype, merge=_merge: Bidirectional(Elman(H, dtype=dtype), nested_lstm(H, 2, dtype=dtype), merge=merge),
    )
_add(
    "bidirectional_of_stacks",
    "bidirectional stack pair",
    lambda dtype: Bidirectional(
        Stack((GRU(H, dtype=dtype), Elman(2, dtype=dtype))),
        Stack((GRU(2, dtype=dtype), LSTM(4, projection=2, dtype=dtype))),
        merge="sum",
    ),
)
_add(
    "stack_of_bidirectional",
    "bidirectional stack pair noisy core",
    lambda dtype: Stack(
        (
            Bidirectional(GRU(2, dtype=dtype), GRU(2, dtype=dtype)),
            Bidirectional(GRU(2, dtype=dtype), GRU(2, dtype=dtype)),
            Elman(H, dtype=dtype),
        ),
        residual=True,
        dropout=0.4,
    ),
)
KNOWN = frozenset().union(*(entry.tags for entry in ENTRIES.values()))


def build(name: str, dtype: Any = None) -> Layer:
    """Build the cell with the given name.

    Args:
        name: The name of the cell, a key of `ENTRIES`.
        dtype: The dtype of all its matrix products. None means the dtype of its parameters.
    """
    return ENTRIES[name].make(dtype)


def names(*tags: str, without: str | Iterable[str] = ()) -> list[str]:
    """List the names of all cells that have all of `tags` and none of `without`."""
    unwanted = {without} if isinstance(without, str) else set(without)
    unknown = {*tags, *unwanted} - KNOWN
    assert not unknown, f"zoo: tags among {sorted(KNOWN)} expected, found {sorted(unknown)}"
    return [name for name, entry in ENTRIES.items() if entry.tags.issuperset(tags) and entry.tags.isdisjoint(unwanted)]


def cells(*tags: str, without: str | Iterable[str] = ()) -> dict[str, Layer]:
    """Build the cells of `names`, by name."""
    return {name: build(name) for name in names(*tags, without=without)}


def parametrize(
    *tags: str,
    without: str | Iterable[str] = (),
    default: Iterable[str] | None = None,
    also: Iterable[str] = (),
) -> pytest.MarkDecorator:
    """Parametrize a test by the `name` of each cell with these tags.

    Args:
        tags: The tags that every cell has.
        without: The tag or tags that no cell has.
        default: The names that the default run takes. The others are marked slow. None means all names.
        also: The names of further cells for the default run.
    """
    chosen = list(dict.fromkeys([*names(*tags, without=without), *also]))
    return pytest.mark.parametrize("name", marked(chosen, default if default is None else {*default, *also}))


def marked(chosen: Iterable[str], default: Iterable[str] | None = None) -> list[Any]:
    """Return the names as parameters of a test. Names that are not in `default` are marked slow."""
    quick = None if default is None else set(default)
    marks = {name: () if quick is None or name in quick else pytest.mark.slow for name in chosen}
    return [pytest.param(name, id=name, marks=mark) for name, mark in marks.items()]
