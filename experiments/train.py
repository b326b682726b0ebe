"""Train a model in a run folder; the same command again goes on where it stopped.

    python -m experiments.train --config=configs/poems.py:cell=nlstm,depth=2 --workdir=runs/nlstm2
    python -m experiments.train --config=configs/poems.py:cell=lstm,layers=2,params=394240,seed=1 \\
        --config.data.path=poems/ --config.train.epochs=10 --workdir=runs/lstm2

    python -m experiments.train --config=configs/sales.py:cell=nlstm --vmap_seeds=8 --workdir=runs/nlstm

Every setting can be changed by --config.SECTION.NAME=VALUE; docs/settings.md lists them. What comes out:
WORKDIR/metrics.jsonl, summary.json, checkpoints/, log.txt. Compare runs with `python -m experiments.compare`.
"""

import copy
import os
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from nlstm_jax import command, process
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.small_corpus import settings_for_short_run
from nlstm_jax.training import fit, fit_together

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "a config file and its argument, e.g. configs/poems.py:cell=nlstm,depth=2", lock_config=True
)
_WORKDIR = command.define_path("workdir", None, "the run folder; made if it is missing")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "start anew, deleting the run in the folder")
_VMAP_SEEDS = flags.DEFINE_integer(
    "vmap_seeds",
    1,
    "so many runs at once in this process, seeds counted up, in WORKDIR/seed0, seed1, …",
    lower_bound=1,
)
_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices",
    None,
    "CPU devices that share a batch, or the runs of --vmap_seeds; 0: one a core; if not given, 1, or 0 for runs",
    lower_bound=0,
)
_COORDINATOR = flags.DEFINE_string("coordinator", "", "several processes: address and port of the first, node1:9876")
_PROCESSES = flags.DEFINE_integer("processes", 0, "several processes: how many", lower_bound=0)
_PROCESS = flags.DEFINE_integer("process", -1, "several processes: which one this is, from 0", lower_bound=-1)
_MIRROR = flags.DEFINE_list("mirror", [], "where the metrics are also shown: tensorboard, wandb, trackio")
for _flag, _expected in (("config", "a config, such as demo:cell=lstm,"), ("workdir", "a run folder")):
    flags.register_validator(_flag, lambda value: value is not None, f"{_expected} expected, found none")


def main(arguments: list[str]) -> None:
    """Read the configuration, then train one run, or one run per seed."""
    command.reject_positional(arguments)
    chosen = set(config_flags.get_override_values(flags.FLAGS["config"]))
    config = command.read_config(_CONFIG)
    config.update_from_flattened_dict(settings_for_short_run(config.to_dict(), chosen))
    workdir = Path(_WORKDIR.value)
    is_single_run = _VMAP_SEEDS.value == 1

    jax.config.update("jax_num_cpu_devices", _cpu_devices(is_single_run))
    if _COORDINATOR.value and not is_single_run:
        raise ConfigError("--vmap_seeds: runs of one process expected, found --coordinator")
    process.initialize_distributed(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)

    if is_single_run:
        fit(config, workdir, overwrite=_OVERWRITE.value, metric_writers=_MIRROR.value)
        return
    configs = [_shift_seeds(config, offset) for offset in range(_VMAP_SEEDS.value)]
    folders = [workdir / f"seed{run_config.seeds.init}" for run_config in configs]
    fit_together(configs, folders, overwrite=_OVERWRITE.value, metric_writers=_MIRROR.value)


def _cpu_devices(is_single_run: bool) -> int:
    """Return the number of CPU devices: the flag's, else 1 for a single run and one per core for several runs.

    A flag of 0 means one device per core.
    """
    devices = _CPU_DEVICES.value
    if devices is None:
        devices = 1 if is_single_run else 0
    return devices or len(os.sched_getaffinity(0))


def _shift_seeds(config: ConfigDict, offset: int) -> ConfigDict:
    """Return a copy of the configuration with `offset` added to every seed."""
    shifted = copy.deepcopy(config)
    for name in shifted.seeds:
        shifted.seeds[name] += offset
    return shifted


if __name__ == "__main__":
    command.run(main)
