"""Draw the committed results anew, from the metrics that lie beside them.

    python -m experiments.results                          all of docs/results, as `make results` does
    python -m experiments.results docs/results/demo        one of them

A result is a folder that `experiments.compare … --out=docs/results/NAME --archive` has written. A test compares its
pages and tables with what today's code makes of its metrics.
"""

from pathlib import Path

from nlstm_jax import command, settings
from nlstm_jax.analysis.results import find_results, write_result
from nlstm_jax.errors import ConfigError

ROOT = Path(__file__).parents[1] / "docs" / "results"
"""The folder of the committed results."""


def main(arguments: list[str]) -> None:
    """Draw the named results, or all."""
    folders = [Path(name).expanduser() for name in arguments[1:]] or [ROOT]
    for folder in folders:
        results = find_results(folder)
        if not results:
            raise ConfigError(f"{folder}: a folder of results expected, found none with an archive of runs")
        for result in results:
            print(f"{result}: {', '.join(write_result(result, settings.with_defaults))}", flush=True)


if __name__ == "__main__":
    command.run(main)
