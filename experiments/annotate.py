"""A note and tags for run folders; `experiments.compare` shows them, and takes the runs with a tag.

python -m experiments.annotate runs/lstm2 runs/nlstm2 --add=paper,table2 --note="clip_norm 5, as in the paper"
python -m experiments.annotate 'runs/*' --remove=paper
python -m experiments.annotate 'runs/*'                             shows what is there
"""

from absl import flags
from rich.console import Console

from nlstm_jax import command, settings
from nlstm_jax.runs import find_runs, read_notes, write_notes

_NOTE = flags.DEFINE_string("note", None, "a text in the place of the old one; empty: none")
_ADD = flags.DEFINE_list("add", [], "tags, with commas between them")
_REMOVE = flags.DEFINE_list("remove", [], "tags to take away")


def main(arguments: list[str]) -> None:
    """Change the notes and tags of the run folders if a flag says so, and show them."""
    runs, notes = find_runs(arguments[1:], settings.with_defaults)
    added = [tag.strip() for tag in _ADD.value if tag.strip()]
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in notes:
        console.print(line)

    for run in runs:
        if _NOTE.value is not None or added or _REMOVE.value:
            run_notes = write_notes(run.path, text=_NOTE.value, tags=added, without=_REMOVE.value)
        else:
            run_notes = read_notes(run.path)
        line = f"{run.path}: {', '.join(run_notes.tags) or 'no tags'}"
        if run_notes.text:
            line += f"; {run_notes.text}"
        console.print(line)


if __name__ == "__main__":
    command.run(main)
