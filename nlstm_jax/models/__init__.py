"""The models: Flax NNX modules around a cell.

Embedding, dense layers and dropout are Flax modules. `adapters.nnx.Recurrent` wraps a cell and its parameters in a
module. A model holds no random state. It takes a key when it is called; without a key there is no noise.

The functions `build_…` make a model of the settings of an experiment. `build` is what a training run calls:

>>> from nlstm_jax import settings
>>> config = settings.defaults("classify", "lstm").to_dict()
>>> config["cell"]["features"] = 4
>>> check_budget(config, {"vocabulary": 3, "classes": 2})
>>> model = build(config, {"vocabulary": 3, "classes": 2})
>>> type(model).__name__, count_parameters(model)
('Classifier', 138)
>>> type(build_classifier(config, vocabulary=3, classes=2)) is type(model)
True
>>> config["model"]["parameters"] = 10_000
>>> widths, parameters = fit_budget(config, {"vocabulary": 3, "classes": 2})
>>> abs(parameters - 10_000) < 100
True
>>> [layer.cell.features for layer in recurrent_layers(model)]
[4]
>>> import jax, tempfile
>>> from pathlib import Path
>>> from nlstm_jax import LSTM
>>> from nlstm_jax.adapters import weights
>>> with tempfile.TemporaryDirectory() as folder:
...     weights.save(f"{folder}/lstm.safetensors", LSTM(4), LSTM(4).init(jax.random.key(1), in_features=3))
...     load_cell(model, Path(folder, "lstm.safetensors"))
>>> choice: LoopChoice = fastest_loop(one_device=True)
>>> choice.name in ("fused", "native")
True
>>> set_loop(model, "scan")
>>> graph, parameters = split(model)
>>> parameters["head/kernel"].shape, merge(graph, parameters).cell.mode
((4, 2), 'scan')
"""

from nlstm_jax.models.build import (
    build,
    build_classifier,
    build_forecaster,
    build_language_model,
    build_seq2seq,
    check_budget,
    fit_budget,
    load_cell,
)
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.loops import LoopChoice, fastest_loop, recurrent_layers, set_loop
from nlstm_jax.models.parameters import Parameters, count_parameters, is_recurrent, merge, split
from nlstm_jax.models.seq2seq import Seq2Seq
from nlstm_jax.models.vectors import load_vectors

__all__ = [
    "Classifier",
    "Forecaster",
    "LanguageModel",
    "LoopChoice",
    "Parameters",
    "Seq2Seq",
    "build",
    "build_classifier",
    "build_forecaster",
    "build_language_model",
    "build_seq2seq",
    "check_budget",
    "count_parameters",
    "fastest_loop",
    "fit_budget",
    "is_recurrent",
    "load_cell",
    "load_vectors",
    "merge",
    "recurrent_layers",
    "set_loop",
    "split",
]
