"""Duration of `nlstm_jax.load_runs` and `experiments.compare` on hundreds of runs, and the size of the page.

python -m benchmarks.comparing                    500 runs of 100 configurations, 40 evaluations each
python -m benchmarks.comparing --keep=/tmp/runs   in a folder that stays
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nlstm_jax import settings
from nlstm_jax.runs.files import CONFIG, ENVIRONMENT, METRICS, SUMMARY, write_json
from nlstm_jax.types import Float, JsonObject


def write_runs(folder: Path, runs: int, evaluations: int, seeds: int = 5) -> None:
    """Write run folders as training would leave them.

    Args:
        folder: The folder for the run folders.
        runs: The number of runs. They combine four cells with several learning rates.
        evaluations: The number of evaluations of each run.
        seeds: The number of runs of each configuration.
    """
    generator = np.random.default_rng(0)
    for index in range(runs):
        group, seed = divmod(index, seeds)
        cell = ("lstm", "gru", "nlstm", "peephole")[group % 4]
        rate = 1e-3 * 1.1 ** (group // 4)
        config = json.loads(settings.defaults("poems", cell).to_json())
        config["name"] = cell
        config["optimizer"]["learning_rate"] = rate
        config["seeds"] = dict.fromkeys(config["seeds"], seed)

        run = folder / f"run{index:03}"
        run.mkdir(parents=True)
        write_json(run / CONFIG, config)
        write_json(run / ENVIRONMENT, {"commit": "0" * 40, "tokens_per_step": 1536.0, "data": {"checksums": {}}})
        noise = 0.02 * generator.normal(size=(evaluations, 2)) + 0.01 * generator.normal()
        lines = _metric_lines(rate, noise)
        (run / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        steps = 100 * evaluations
        summary = {"status": "finished", "steps": steps, "best_step": steps}
        summary |= {"cell_parameters": 100_000, "parameters": 200_000, "wall_seconds": 130.0}
        write_json(run / SUMMARY, summary)


def _metric_lines(rate: float, noise: Float[np.ndarray, "E 2"]) -> list[JsonObject]:
    """Return the metric lines of a run: for each evaluation one of the training and one of the validation split.

    Args:
        rate: The learning rate.
        noise: The noise of each evaluation on both splits.
    """
    lines = []
    for evaluation in range(len(noise)):
        for column, split in enumerate(("train", "valid")):
            loss = 5 - 2 * (1 - np.exp(-evaluation / 10)) + 20 * rate + 0.1 * column + noise[evaluation, column]
            lines.append(
                {
                    "step": 100 * (evaluation + 1),
                    "epoch": float(evaluation + 1),
                    "split": split,
                    "log_loss": loss,
                    "log_loss_per_character": loss + 0.3,
                    "perplexity": float(np.exp(loss)),
                    "gradient_norm": 1.0 + column,
                    "learning_rate": rate,
                    "wall_seconds": 3.0 * (evaluation + 1),
                    "examples_per_second": 2133.3,
                    "tokens_per_second": 51200.0,
                }
            )
    return lines


def main() -> None:
    """Write the runs, load and compare them in processes of their own, and print how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="where runs and comparison are left")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        write_runs(folder / "runs", arguments.runs, arguments.evaluations)
        program = f"import nlstm_jax; nlstm_jax.load_runs({str(folder / 'runs' / '*')!r})"
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", program], check=True)
        seconds_to_load = time.monotonic() - start
        command = [sys.executable, "-m", "experiments.compare", str(folder / "runs" / "*"), f"--out={folder / 'out'}"]
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        size = (folder / "out" / "compare.html").stat().st_size
        print(
            f"{arguments.runs} runs, {arguments.evaluations} evaluations each: load_runs {seconds_to_load:.1f} s, "
            f"compare {seconds:.1f} s, page {size / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
