"""The whole model of a trained run for other programs: embedding, cell and head.

    python -m experiments.export --workdir=runs/lstm --format=stablehlo --out=stablehlo
    python -m experiments.export --workdir=runs/lstm --format=onnx --out=onnx
    python -m experiments.export --workdir=runs/lstm --format=safetensors --out=weights

`stablehlo` writes a function of a sequence and one of a step, with the parameters inside. They run wherever JAX runs,
without this package. `onnx` writes both as graphs of the standard operators LSTM, GRU and RNN, for models of these
cells. `safetensors` writes the parameters by name. model.json beside them has the architecture and the symbols.
docs/serving.md shows how to use all three. `experiments.convert` writes one layer in another framework's layout.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command
from nlstm_jax.training import load_run
from nlstm_jax.training.export import FORMATS, export_run

_WORKDIR = command.define_path("workdir", None, "the run folder", required=True)
_FORMAT = flags.DEFINE_enum("format", "stablehlo", FORMATS, "the kind of files")
_OUT = command.define_path("out", None, "the folder of the files; default: export in the run folder")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "best", ["best", "last"], "which checkpoint")


def main(arguments: list[str]) -> None:
    """Load a run, write its model, and name the files."""
    command.reject_positional(arguments)
    workdir = Path(_WORKDIR.value)
    out = Path(_OUT.value) if _OUT.value else workdir / "export"
    names = export_run(load_run(workdir, _CHECKPOINT.value), out, _FORMAT.value)
    Console().print(f"wrote {', '.join(names)} to {out}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    command.run(main)
