"""Exact metrics of a trained run over a whole split.

    python -m experiments.evaluate --workdir=runs/lstm                  the validation split
    python -m experiments.evaluate --workdir=runs/lstm --examples       and what each of its examples adds
    python -m experiments.evaluate --workdir=runs/lstm --split=test     counted in summary.json as a look

Look at the test split once, when everything is chosen: every look is recorded.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import check_test_look, record_test_look, write_examples
from nlstm_jax.training import restore

_WORKDIR = command.define_path("workdir", None, "the run folder", required=True)
_SPLIT = flags.DEFINE_enum("split", "valid", ["train", "valid", "test"], "which split")
_EXAMPLES = flags.DEFINE_bool(
    "examples", False, "also write what each example adds, for the bootstrap of `experiments.compare`"
)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")


def main(arguments: list[str]) -> None:
    """Restore a run, evaluate it, record an evaluation on the test split, and print the metrics."""
    command.reject_positional(arguments)
    workdir = Path(_WORKDIR.value)
    split = _SPLIT.value
    restored = restore(workdir, _CHECKPOINT.value)
    if split not in restored.task.splits:
        raise ConfigError(f"--split: one of {', '.join(restored.task.splits)} expected, found {split}")
    if split == "test":
        check_test_look(restored.run)

    metrics = restored.evaluate(split)
    looks = 0
    if split == "test":
        # Nothing is shown that has not been counted.
        looks = record_test_look(workdir, metrics, restored.step)
    console = Console()
    metrics_text = "  ".join(f"{name} {value:.6f}" for name, value in metrics.items())
    console.print(f"{split} at step {restored.step:,}: {metrics_text}", highlight=False, soft_wrap=True)
    if _EXAMPLES.value:
        path = write_examples(workdir, split, restored.step, restored.per_example_sums(split))
        console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)
    if looks:
        console.print(
            f"the test split of this run has been looked at {looks} time{'s' if looks > 1 else ''}", highlight=False
        )


if __name__ == "__main__":
    command.run(main)
