"""Train a model in a run folder; the same command again goes on where it stopped.

    python -m experiments.train --config=configs/poems.py:cell=nlstm,depth=2 --workdir=runs/nlstm2
    python -m experiments.train --config=configs/poems.py:cell=lstm,layers=2,params=394240,seed=1 \\
        --config.data.path=poems/ --config.train.epochs=10 --workdir=runs/lstm2

Every setting can be changed by --config.SECTION.NAME=VALUE; docs/settings.md lists them. What comes out:
WORKDIR/metrics.jsonl, summary.json, checkpoints/, log.txt. Compare runs with `python -m experiments.compare`.
"""

import os
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from experiments import command
from nlstm_jax.training import fit

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "a config file and its argument, e.g. configs/poems.py:cell=nlstm,depth=2", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "the run folder; made if it is missing")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "start anew, deleting the run in the folder")
_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices", 1, "CPU devices that share a batch; 0: one for every core", lower_bound=0
)
flags.mark_flags_as_required(["config", "workdir"])


def main(arguments: list[str]) -> None:
    """Parse, then `fit`."""
    command.no_positional(arguments)
    config = command.config_of(_CONFIG)
    jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value or len(os.sched_getaffinity(0)))
    fit(config, Path(_WORKDIR.value), overwrite=_OVERWRITE.value)


if __name__ == "__main__":
    command.run(main)
