"""How long `experiments.compare` takes for hundreds of runs, and how large its page is.

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


def write_runs(folder: Path, runs: int, evaluations: int, seeds: int = 5) -> None:
    """Run folders as training would leave them: cells by learning rates, `seeds` of each."""
    generator = np.random.default_rng(0)
    for number in range(runs):
        group, seed = divmod(number, seeds)
        cell = ("lstm", "gru", "nlstm", "peephole")[group % 4]
        config = json.loads(settings.defaults("poems", cell).to_json())
        config["name"] = cell
        config["optimizer"]["learning_rate"] = rate = 1e-3 * 1.1 ** (group // 4)
        config["seeds"] = dict.fromkeys(config["seeds"], seed)
        run = folder / f"run{number:03}"
        run.mkdir(parents=True)
        write_json(run / CONFIG, config)
        write_json(run / ENVIRONMENT, {"commit": "0" * 40, "tokens_per_step": 1536.0, "data": {"checksums": {}}})
        noise = 0.02 * generator.normal(size=(evaluations, 2)) + 0.01 * generator.normal()
        with (run / METRICS).open("w", encoding="utf-8") as file:
            for index in range(evaluations):
                for place, split in enumerate(("train", "valid")):
                    loss = 5 - 2 * (1 - np.exp(-index / 10)) + 20 * rate + 0.1 * place + noise[index, place]
                    line = {"step": 100 * (index + 1), "epoch": float(index + 1), "split": split, "log_loss": loss}
                    line |= {"log_loss_per_character": loss + 0.3, "perplexity": float(np.exp(loss))}
                    line |= {"gradient_norm": 1.0 + place, "learning_rate": rate, "wall_seconds": 3.0 * (index + 1)}
                    line |= {"examples_per_second": 2133.3, "tokens_per_second": 51200.0}
                    file.write(json.dumps(line) + "\n")
        ended = {"status": "finished", "steps": 100 * evaluations, "best_step": 100 * evaluations}
        write_json(run / SUMMARY, ended | {"cell_parameters": 100_000, "parameters": 200_000, "wall_seconds": 130.0})


def main() -> None:
    """Write, compare, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="where runs and comparison are left")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        write_runs(folder / "runs", chosen.runs, chosen.evaluations)
        command = [sys.executable, "-m", "experiments.compare", str(folder / "runs" / "*"), f"--out={folder / 'out'}"]
        begun = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - begun
        size = (folder / "out" / "compare.html").stat().st_size
        print(f"{chosen.runs} runs, {chosen.evaluations} evaluations each: {seconds:.1f} s, page {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
