"""Draw the verdicts of several tasks as one forest plot, with Holm's correction over the tasks.

    python -m experiments.compare 'runs/poems*' --margin=0.02 --contrast='nlstm depth=2 vs lstm layers=2' --out=poems
    python -m experiments.compare 'runs/sales*' --margin=0.01 --contrast='nlstm depth=2 vs lstm layers=2' --out=sales
    python -m experiments.forest poems/margin.json sales/margin.json --out=forest

Takes the files margin.json that `experiments.compare --margin` writes. Only differences that were named in advance are
drawn, each in units of its own margin. Prints their verdicts after the correction. Writes forest.png and margin.json
to --out.
"""

import json
from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import make_folder

_OUT = command.define_path("out", "forest", "Folder for the picture and the verdicts.")
_SPLIT = flags.DEFINE_enum("split", "valid", ["valid", "test"], "The split whose verdicts are drawn.")


def main(arguments: list[str]) -> None:
    """Read the verdicts, correct them, and draw them."""
    try:
        from nlstm_jax.analysis import figure
        from nlstm_jax.analysis.forest import correct_over_tasks, draw_forest, read_judgements
        from nlstm_jax.analysis.margin import sentence
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigError('forest draws with matplotlib: pip install -e ".[report]"') from None
    if not arguments[1:]:
        raise ConfigError("forest: files margin.json expected, found none")
    named = correct_over_tasks(read_judgements([Path(path) for path in arguments[1:]]), _SPLIT.value)
    if not named:
        raise ConfigError(f"forest: differences that were named in advance, on {_SPLIT.value}, expected, found none")

    console = Console(highlight=False, soft_wrap=True)
    for row in named:
        console.print(f"{row['title']}: {sentence(row)}", markup=False)
    out = Path(_OUT.value)
    make_folder(out, "--out")
    figure.save(draw_forest(named), out / "forest.png")
    (out / "margin.json").write_text(json.dumps(named, indent=1, ensure_ascii=False) + "\n", "utf-8")
    console.print(f"wrote forest.png, margin.json to {out}", markup=False)


if __name__ == "__main__":
    command.run(main)
