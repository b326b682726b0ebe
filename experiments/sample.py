"""Poems from a trained run.

    python -m experiments.sample --workdir=runs/lstm --count=4 --temperature=0.8 --seed=1
    python -m experiments.sample --workdir=runs/lstm --prompt="春 風" --top_k=50

The same flags give the same poems. They are also written to WORKDIR/samples/.
"""

from pathlib import Path

import jax
import numpy as np
from absl import flags
from rich.console import Console

from experiments import command
from nlstm_jax.data.poems import BEGIN
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.sampling import draw
from nlstm_jax.runs.files import SAMPLES
from nlstm_jax.tasks.poems import PoemTask
from nlstm_jax.tasks.verses import places, read_prompt, write_poem
from nlstm_jax.training import restore

_WORKDIR = flags.DEFINE_string("workdir", None, "the run folder of a poems run", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "below 1 safer, above 1 wilder, 0 the most probable", 0.0, 100.0)
_TOP_K = flags.DEFINE_integer("top_k", 0, "only the k most probable symbols; 0: all", lower_bound=0)
_PROMPT = flags.DEFINE_string("prompt", "", "what every poem begins with")
_SEED = flags.DEFINE_integer("seed", 0, "of the draw", lower_bound=0)
_COUNT = flags.DEFINE_integer("count", 1, "poems", lower_bound=1, upper_bound=10_000)


def main(arguments: list[str]) -> None:
    """Restore, draw, print and write."""
    command.no_positional(arguments)
    workdir = Path(_WORKDIR.value)
    restored = restore(workdir, _CHECKPOINT.value)
    task = restored.task
    if not isinstance(task, PoemTask):
        raise ConfigError(f"--workdir: a poems run expected, {workdir} is one of {restored.run.config['task']}")
    forced, allowed = places(task, read_prompt(task, _PROMPT.value))
    begin = task.vocabulary.symbols.index(BEGIN)
    key = jax.random.key(_SEED.value)
    temperature, top_k = _TEMPERATURE.value, _TOP_K.value
    symbols = draw(
        restored.model, begin, forced, allowed, key, count=_COUNT.value, temperature=temperature, top_k=top_k
    )
    poems = "\n\n".join(write_poem(task, row) for row in np.asarray(symbols))
    Console().print(poems, highlight=False, markup=False, soft_wrap=True)
    samples = workdir / SAMPLES
    samples.mkdir(exist_ok=True)
    name = f"step{restored.step}_seed{_SEED.value}_temperature{temperature:g}_top{top_k}.txt"
    (samples / name).write_text(poems + "\n", encoding="utf-8")


if __name__ == "__main__":
    command.run(main)
