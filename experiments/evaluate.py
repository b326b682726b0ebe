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
from nlstm_jax.runs import write_examples
from nlstm_jax.training import load_run

_WORKDIR = command.define_path("workdir", None, "the run folder", required=True)
_SPLIT = flags.DEFINE_enum("split", "valid", ["train", "valid", "test"], "which split")
_EXAMPLES = flags.DEFINE_bool(
    "examples", False, "also write what each example adds, for the bootstrap of `experiments.compare`"
)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")


def main(arguments: list[str]) -> None:
    """Load a run, evaluate it, and print the metrics. An evaluation on the test split is counted."""
    command.reject_positional(arguments)
    workdir = Path(_WORKDIR.value)
    split = _SPLIT.value
    run = load_run(workdir, _CHECKPOINT.value)
    metrics = run.evaluate(split)
    console = Console()
    metrics_text = "  ".join(f"{name} {value:.6f}" for name, value in metrics.items())
    console.print(f"{split} at step {run.step:,}: {metrics_text}", highlight=False, soft_wrap=True)
    if _EXAMPLES.value:
        path = write_examples(workdir, split, run.step, run.per_example_sums(split))
        console.print(f"wrote {path}", highlight=False, soft_wrap=True, markup=False)
    if split == "test" and run.summary:
        looks = run.summary["test_looks"]
        console.print(
            f"the test split of this run has been looked at {looks} time{'s' if looks > 1 else ''}", highlight=False
        )


if __name__ == "__main__":
    command.run(main)
