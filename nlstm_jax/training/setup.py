"""Checks before training, and the compiled programs and devices of the runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nlstm_jax import settings, tasks
from nlstm_jax.errors import ConfigError, RunFinishedError
from nlstm_jax.runs import RunFolder, differences, flatten
from nlstm_jax.training.group import RunGroup
from nlstm_jax.training.nonfinite import skip_limit
from nlstm_jax.training.optimizer import OptimizerFactory
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.shards import check_shards
from nlstm_jax.training.steps import CompiledSteps
from nlstm_jax.types import Config, JsonObject


class PendingRun(NamedTuple):
    """A run that has not ended: its configuration and its folder."""

    config: Config
    workdir: Path


def as_mapping(config: Config | ConfigDict) -> JsonObject:
    """Return a configuration of `ml_collections`, or a mapping of the same form, as plain JSON values."""
    return json.loads(config.to_json()) if hasattr(config, "to_json") else dict(config)


def unfinished_runs(configs: Sequence[Config], workdirs: Sequence[Path], overwrite: bool) -> list[PendingRun]:
    """Check all runs, and return those that have not ended.

    Raises:
        ConfigError: a setting that does not serve, settings in which the runs may not differ, a folder of another run.
        RunFinishedError: all runs have ended.
    """
    for config in configs:
        settings.check(config)
        check_shards(config)
        if config["train"].get("online"):
            raise ConfigError("config.train.online: False expected of several runs at once, found True")
    _check_one_program(configs)
    if len(configs) > 1 and jax.process_count() > 1:
        raise ConfigError(f"several runs at once: one process expected, found {jax.process_count()} of them")

    pending = []
    for config, workdir in zip(configs, workdirs, strict=True):
        try:
            RunFolder.check(workdir, config, overwrite=overwrite, with_defaults=settings.with_defaults)
        except RunFinishedError:
            if len(configs) == 1:
                raise
        else:
            pending.append(PendingRun(config, workdir))
    if not pending:
        raise RunFinishedError(f"all {len(configs)} runs have already ended; --overwrite starts them anew")
    return pending


def make_groups(
    config: Config,
    task: tasks.AnyTask,
    optimizer: OptimizerFactory,
    models: Sequence[nnx.Module],
    *,
    separate_devices: bool,
) -> list[RunGroup]:
    """Make the groups that train a number of models, without runs in them yet.

    Args:
        config: The configuration of one of the runs; the others differ in nothing that matters here.
        task: The task, with its data.
        optimizer: The maker of the optimizer.
        models: The initial model of each run.
        separate_devices: Whether every run has a device to itself; otherwise one program of all runs has all devices.

    Returns:
        One group of all runs, or with separate devices one for each run; run i belongs to group i modulo their number.
    """
    if separate_devices:
        meshes = [make_mesh({}, [device]) for device in jax.devices()[: len(models)]]
    else:
        meshes = [_shared_mesh(config, len(models))]
    runs_per_program = 0 if separate_devices or len(models) == 1 else len(models)
    shards = config["train"]["shards"]
    limit = skip_limit(config)
    programs = [
        CompiledSteps.from_model(models[0], task, optimizer, mesh, runs_per_program, shards, limit) for mesh in meshes
    ]
    splits = evaluated_splits(config, task)
    examples = [{split: replicate(task.splits[split], mesh) for split in splits} for mesh in meshes]

    groups = []
    for index in range(len(models) if separate_devices else 1):
        # With fewer devices than runs, several runs take turns on one device.
        device = index % len(meshes)
        groups.append(RunGroup(programs[device], [], examples[device]))
    return groups


def evaluated_splits(config: Config, task: tasks.AnyTask) -> list[str]:
    """Return the splits that are evaluated in training: the test split only where its curve is asked for."""
    splits = ["train", "valid"]
    if config["eval"]["test_curve"]:
        splits.append("test")
    return [split for split in splits if split in task.splits]


def _shared_mesh(config: Config, runs: int) -> Mesh:
    """Return all devices, for one program of several runs."""
    if runs > 1 and runs % jax.device_count() == 0:
        # The devices share the runs, so that no batch is split.
        return make_mesh({})
    if config["train"]["shards"] > 1:
        return make_mesh({"train.shards": config["train"]["shards"]})
    return make_mesh({f"{section}.batch_size": config[section]["batch_size"] for section in ("train", "eval")})


def _check_one_program(configs: Sequence[Config]) -> None:
    """Raise a ConfigError that names a setting in which runs trained together differ and may not."""
    first = settings.compile_key(configs[0])
    for config in configs[1:]:
        for key in differences(first, settings.compile_key(config)):
            expected = flatten(configs[0]).get(key)
            value = flatten(config).get(key)
            raise ConfigError(
                f"config.{key}: one value for all runs trained together expected, found {expected!r} and {value!r}"
            )
