"""What run folders, trained models and the data of a config hold, without training.

    python -m experiments.show run --workdir=runs/lstm
    python -m experiments.show data --config=configs/poems.py --config.data.path=my_poems.txt --examples=3
    python -m experiments.show data --workdir=runs/lstm
    python -m experiments.show memory 'runs/nlstm2-*' 'runs/lstm2-*' --out=memory

`run` checks the files, the order of the lines of metrics, and the digests of every checkpoint. It writes nothing. The
data are not read. A damaged checkpoint is named; the exit code is 5 if none is whole, and 3 if a file is damaged.

`data` reads the data of a config or of a run. It prints the splits with their sizes, what is unusual, the checksums,
and the first examples to train and validate on. No example of the test split is shown.

`memory` measures over how many steps the memories of trained models reach, against the same models before training, on
validation data. It takes run folders and patterns. It prints what training adds, and writes memory.md, memory.csv,
memory.json, curves.png, excess.png, and a picture of one text under its words to --out. See docs/memories.md.
"""

from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from nlstm_jax import command, settings, tasks
from nlstm_jax.errors import ConfigError
from nlstm_jax.probes.run import MemoryOptions
from nlstm_jax.runs import find_runs, read_run
from nlstm_jax.tasks.abilities import ShowsExamples
from nlstm_jax.tasks.small_corpus import settings_for_short_run
from nlstm_jax.training.inspection import inspect_run
from nlstm_jax.types import Config

_WORKDIR = command.define_path("workdir", None, "the run folder")
_CONFIG = config_flags.DEFINE_config_file("config", None, "data: a config file and its argument, in place of a run")
_OUT = command.define_path("out", "memory", "memory: the folder for tables and pictures")
_SEQUENCES = flags.DEFINE_integer("sequences", 256, "memory: validation examples that are read", lower_bound=1)
_LAGS = flags.DEFINE_integer("lags", 64, "memory: the largest lag in steps", lower_bound=1)
_DELAY = flags.DEFINE_integer("delay", 8, "memory: steps by which a memory is held back", lower_bound=1)
_EXAMPLES = flags.DEFINE_integer("examples", 2, "data: examples of a split", lower_bound=0)


def main(arguments: list[str]) -> None:
    """Run the subcommand that the command line names."""
    _, *names = arguments
    if names[:1] == ["memory"]:
        _show_memory(names[1:])
        return
    if len(names) != 1 or names[0] not in _SUBCOMMANDS:
        accepted = ", ".join((*_SUBCOMMANDS, "memory"))
        raise ConfigError(f"one of {accepted} expected, found {' '.join(names) or 'none'}; --help describes them")
    _SUBCOMMANDS[names[0]]()


def _show_run() -> None:
    """Print what a run folder holds, and raise the error that keeps it from being used."""
    if _WORKDIR.value is None:
        raise ConfigError("--workdir: a run folder expected, found none")
    inspection = inspect_run(Path(_WORKDIR.value))
    _print(inspection.lines)
    if inspection.error is not None:
        raise inspection.error


def _show_data() -> None:
    """Print what was read: splits and sizes, remarks, checksums and the first examples."""
    config = _read_config()
    task = tasks.build(config)
    lines = [f"{config['task']}: {config['data'].get('path') or 'generated data'}", *task.log_lines]
    lines += [f"sha256 of {name}: {checksum}" for name, checksum in task.metadata["checksums"].items()]
    if isinstance(task, ShowsExamples):
        shown = [split for split in task.splits if split != "test"]
        for split in shown:
            for number, text in enumerate(task.example_lines(split, _EXAMPLES.value), start=1):
                lines += ["", f"{split}, example {number}:", text]
    _print(lines)


def _show_memory(names: list[str]) -> None:
    """Measure the memories of runs, print what training adds to them, and write tables and pictures.

    Args:
        names: Run folders and patterns, besides that of --workdir.
    """
    try:
        from nlstm_jax.probes.report import write_report
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigError('show memory draws with matplotlib: pip install -e ".[report]"') from None
    if _WORKDIR.value is not None:
        names = [_WORKDIR.value, *names]
    runs, notes = find_runs(names, settings.with_defaults)
    options = MemoryOptions(_SEQUENCES.value, _LAGS.value, _DELAY.value)
    _print([*notes, *write_report(runs, options, Path(_OUT.value))])


def _read_config() -> Config:
    """Return the configuration of the config file or of the run folder.

    Raises:
        ConfigError: There is neither or both, or the configuration is invalid.
    """
    if _CONFIG.present == (_WORKDIR.value is not None):
        found = "both" if _CONFIG.present else "none"
        raise ConfigError(f"--config or --workdir: one of them expected, found {found}")
    if _WORKDIR.value is not None:
        return read_run(Path(_WORKDIR.value), settings.with_defaults).config

    chosen = set(config_flags.get_override_values(flags.FLAGS["config"]))
    config = command.read_config(_CONFIG)
    config.update_from_flattened_dict(settings_for_short_run(config.to_dict(), chosen))
    settings.check(config.to_dict())
    return config.to_dict()


def _print(lines: list[str]) -> None:
    """Print lines as they are."""
    console = Console()
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


_SUBCOMMANDS: dict[str, Callable[[], None]] = {"run": _show_run, "data": _show_data}


if __name__ == "__main__":
    command.run(main)
