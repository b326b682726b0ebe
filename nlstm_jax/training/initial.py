"""The model that a run starts from."""

from pathlib import Path

from flax import nnx

from nlstm_jax import models, tasks
from nlstm_jax.errors import ConfigError
from nlstm_jax.types import Config


def initial_model(config: Config, task: tasks.AnyTask) -> nnx.Module:
    """Draw the model before its first step, or load the values that its configuration names.

    Raises:
        ConfigError: see `models.build`, `models.load_cell` and `models.load_vectors`.
        DataError: a file of weights or vectors that does not serve.
    """
    model = models.build(config, task.model_dims)
    if config["cell"]["weights"]:
        models.load_cell(model, Path(config["cell"]["weights"]).expanduser())
    if config["model"].get("vectors"):
        symbols = getattr(task, "symbols", None)
        if symbols is None:
            raise ConfigError(f"config.model.vectors: a task with symbols expected, found {config['task']}")
        models.load_vectors(model, Path(config["model"]["vectors"]).expanduser(), symbols)
    return model
