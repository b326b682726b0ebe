"""Poems or text from a trained run; of an echo run, what it was given and what it said.

    python -m experiments.sample --workdir=runs/lstm --count=4 --temperature=0.8 --seed=1
    python -m experiments.sample --workdir=runs/lstm --prompt="春 風" --top_k=50
    python -m experiments.sample --workdir=runs/ptb --prompt="the company" --length=40
    python -m experiments.sample --workdir=runs/echo --count=8

The same flags give the same samples. They are also written to WORKDIR/samples/.
"""

import hashlib
from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command
from nlstm_jax.runs.files import SAMPLES
from nlstm_jax.training import load_run

_WORKDIR = command.define_path("workdir", None, "the run folder of a poems, text or echo run", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "below 1 safer, above 1 wilder, 0 the most probable", 0.0, 100.0)
_TOP_K = flags.DEFINE_integer("top_k", 0, "only the k most probable symbols; 0: all", lower_bound=0)
_PROMPT = flags.DEFINE_string("prompt", "", "what every poem or passage begins with; a sequence to echo")
_LENGTH = flags.DEFINE_integer("length", 60, "text: symbols of a passage after the prompt", 1, 100_000)
_SEED = flags.DEFINE_integer("seed", 0, "of the draw", lower_bound=0)
_COUNT = flags.DEFINE_integer("count", 1, "samples", lower_bound=1, upper_bound=10_000)


def main(arguments: list[str]) -> None:
    """Load a run, draw samples from it, print them and write them to a file."""
    command.reject_positional(arguments)
    workdir = Path(_WORKDIR.value)
    run = load_run(workdir, _CHECKPOINT.value)
    samples = run.sample(
        count=_COUNT.value,
        seed=_SEED.value,
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        prompt=_PROMPT.value,
        length=_LENGTH.value,
    )
    Console().print(samples, highlight=False, markup=False, soft_wrap=True)

    folder = workdir / SAMPLES
    folder.mkdir(exist_ok=True)
    with (folder / _file_name(run.step)).open("w", encoding="utf-8") as file:
        Console(file=file, width=400).print(samples, highlight=False, markup=False, soft_wrap=True)


def _file_name(step: int) -> str:
    """Return the name of the file of samples, which differs for different flags."""
    name = f"step{step}_seed{_SEED.value}_temperature{_TEMPERATURE.value:g}_top{_TOP_K.value}"
    other_flags = (_PROMPT, _LENGTH, _COUNT)
    if any(flag.value != flag.default for flag in other_flags):
        values = repr([flag.value for flag in other_flags])
        name += f"_{hashlib.sha256(values.encode()).hexdigest()[:6]}"
    return f"{name}.txt"


if __name__ == "__main__":
    command.run(main)
