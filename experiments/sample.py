"""Poems or text from a trained run; of an echo run, what it was given and what it said.

    python -m experiments.sample --workdir=runs/lstm --count=4 --temperature=0.8 --seed=1
    python -m experiments.sample --workdir=runs/lstm --prompt="春 風" --top_k=50
    python -m experiments.sample --workdir=runs/ptb --prompt="the company" --length=40
    python -m experiments.sample --workdir=runs/echo --count=8

The same flags give the same samples. They are also written to WORKDIR/samples/.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from experiments import command
from nlstm_jax.data.poems import BEGIN
from nlstm_jax.data.text import END_OF_LINE
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.sampling import draw
from nlstm_jax.runs.files import SAMPLES
from nlstm_jax.tasks import passages, verses
from nlstm_jax.tasks.echo import EchoTask, echo_table, parse_sequences, sample_sequences
from nlstm_jax.tasks.poems import PoemTask
from nlstm_jax.tasks.text import TextTask
from nlstm_jax.training import LoadedRun, restore

_WORKDIR = flags.DEFINE_string("workdir", None, "the run folder of a poems, text or echo run", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "below 1 safer, above 1 wilder, 0 the most probable", 0.0, 100.0)
_TOP_K = flags.DEFINE_integer("top_k", 0, "only the k most probable symbols; 0: all", lower_bound=0)
_PROMPT = flags.DEFINE_string("prompt", "", "what every poem or passage begins with; a sequence to echo")
_LENGTH = flags.DEFINE_integer("length", 60, "text: symbols of a passage after the prompt", 1, 100_000)
_SEED = flags.DEFINE_integer("seed", 0, "of the draw", lower_bound=0)
_COUNT = flags.DEFINE_integer("count", 1, "samples", lower_bound=1, upper_bound=10_000)


def main(arguments: list[str]) -> None:
    """Restore a run, draw samples from it, print them and write them to a file."""
    command.reject_positional(arguments)
    workdir = Path(_WORKDIR.value)
    restored = restore(workdir, _CHECKPOINT.value)
    samples = _draw_samples(restored)
    Console().print(samples, highlight=False, markup=False, soft_wrap=True)

    folder = workdir / SAMPLES
    folder.mkdir(exist_ok=True)
    with (folder / _file_name(restored.step)).open("w", encoding="utf-8") as file:
        Console(file=file, width=400).print(samples, highlight=False, markup=False, soft_wrap=True)


def _file_name(step: int) -> str:
    """Return the name of the file of samples, which differs for different flags."""
    name = f"step{step}_seed{_SEED.value}_temperature{_TEMPERATURE.value:g}_top{_TOP_K.value}"
    other_flags = (_PROMPT, _LENGTH, _COUNT)
    if any(flag.value != flag.default for flag in other_flags):
        values = repr([flag.value for flag in other_flags])
        name += f"_{hashlib.sha256(values.encode()).hexdigest()[:6]}"
    return f"{name}.txt"


def _draw_samples(restored: LoadedRun) -> str | Table:
    """Return the poems or passages as text; for an echo run, return a table.

    Raises:
        ConfigError: The run is one of another task.
    """
    task = restored.task
    write: Callable[[Any], str]
    if isinstance(task, EchoTask):
        if _PROMPT.value:
            return echo_table(task, restored.model, parse_sequences(task, _PROMPT.value))
        return echo_table(task, restored.model, sample_sequences(task, _COUNT.value, _SEED.value))

    if isinstance(task, PoemTask):
        begin = task.vocabulary.symbols.index(BEGIN)
        write = partial(verses.write_poem, task)
        forced, allowed = verses.poem_constraints(task, verses.read_prompt(task, _PROMPT.value))
    elif isinstance(task, TextTask):
        begin = task.symbols.index(END_OF_LINE)
        write = partial(passages.write_passage, task)
        prompt = passages.read_prompt(task, _PROMPT.value)
        forced, allowed = passages.passage_constraints(task, prompt, _LENGTH.value)
    else:
        raise ConfigError(f"--workdir: a poems, text or echo run expected, found one of {restored.run.config['task']}")

    key = jax.random.key(_SEED.value)
    options = {"count": _COUNT.value, "temperature": _TEMPERATURE.value, "top_k": _TOP_K.value}
    symbols = draw(restored.model, begin, forced, allowed, key, **options)
    return "\n\n".join(write(row) for row in np.asarray(symbols))


if __name__ == "__main__":
    command.run(main)
