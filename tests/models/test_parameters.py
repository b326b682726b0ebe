import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import LSTM, Stack, count_parameters, nested_lstm
from nlstm_jax.models import Forecaster, LanguageModel, merge, split
from nlstm_jax.models import count_parameters as count_all

KEY = jax.random.key(0)
MODELS = {
    "lstm": lambda: LanguageModel(7, 3, LSTM(4, layer_norm=True, peephole=True), key=KEY),
    "nested": lambda: LanguageModel(7, 3, nested_lstm(4, depth=3), projection=3, tied=True, key=KEY),
    "stack": lambda: LanguageModel(7, 3, Stack((LSTM(4), LSTM(4))), dropout_output=0.5, key=KEY),
    "forecaster": lambda: Forecaster(2, nested_lstm(4, depth=2), outputs=2, key=KEY),
}


def inputs(name):
    return jnp.ones((5, 2, 2)) if name == "forecaster" else jnp.zeros((5, 2), jnp.int32)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_put_together_again_is_the_same(name):
    model = MODELS[name]()
    again = merge(*split(model))
    assert split(again)[1].keys() == split(model)[1].keys()
    for key in (None, jax.random.key(1)):
        first, second = (
            references.compiled(lambda xs, m=m, key=key: m(xs, key=key))(inputs(name)) for m in (model, again)
        )
        jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_named_once_and_moves_the_model(name):
    model = MODELS[name]()
    graph, parameters = split(model)
    assert count_all(model) == sum(value.size for value in parameters.values())

    def output(parameters):
        result = merge(graph, parameters)(inputs(name))
        return sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(result))

    gradients = references.compiled(jax.grad(output))(parameters)
    assert gradients.keys() == parameters.keys()
    still = {key for key, gradient in gradients.items() if not np.asarray(gradient).any()}
    assert not still


def test_names_are_the_paths_in_the_model():
    parameters = split(MODELS["stack"]())[1]
    cell = {f"cell/params/layers/{layer}/{leaf}" for layer in (0, 1) for leaf in ("w_x", "w_h", "b")}
    assert set(parameters) == {"embedding/embedding", "softmax/kernel", "softmax/bias", *cell}
    nested = {name for name in split(MODELS["nested"]())[1] if name.startswith("cell/")}
    levels = ("", "inner/", "inner/inner/")
    assert nested == {f"cell/params/{level}{leaf}" for level in levels for leaf in ("w_x", "w_h", "b")}


def test_the_cells_parameters_are_as_many_as_the_cell_says():
    parameters = split(MODELS["nested"]())[1]
    sizes = [value.size for name, value in parameters.items() if name.startswith("cell/")]
    assert sum(sizes) == count_parameters(nested_lstm(4, depth=3), in_features=3)


def test_changed_values_are_the_models_values():
    graph, parameters = split(MODELS["forecaster"]())
    changed = {name: value + 1 for name, value in parameters.items()}
    found = split(merge(graph, changed))[1]
    for name, value in changed.items():
        np.testing.assert_array_equal(found[name], value)
