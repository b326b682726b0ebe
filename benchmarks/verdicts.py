"""How often a verdict errs: a model against itself, and against one that is better by two standard deviations.

    python -m benchmarks.verdicts --out=docs/results/verdicts.md     six minutes on two cores
    python -m benchmarks.verdicts --runs=20 --simulations=50         to try it

Trains many small runs of one model, `--runs` seeds at each of three learning rates, all seeds of a rate in one vmapped
program. A simulated comparison draws runs from them for two models that are one and the same, and puts them through
all that a real one goes through: a grid of the three learning rates with one seed each, the best of them run with six
more, `tune`, `compare`, `verdict`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import jax
import numpy as np

from configs import poems
from nlstm_jax import models, tasks
from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.statistics import estimate
from nlstm_jax.analysis.tuning import tune
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.runs import Run, describe_environment
from nlstm_jax.tasks.base import ShuffledSampler
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps
from nlstm_jax.types import Float

RATES = (0.003, 0.01, 0.03)
SEEDS = 6
"""Of each model, besides the one that tunes it."""

STEPS = 150
SHIFT = 2.0
"""How many standard deviations the better model is better."""


def train_pool(runs: int, at_once: int = 50) -> Float[np.ndarray, "rates runs"]:
    """The validation log-loss of small LSTMs that differ in learning rate and seed."""
    config = json.loads(poems.get_config("cell=lstm,smoke").to_json())
    config["cell"]["features"] = config["model"]["embedding"] = 8
    config["train"] |= {"batch_size": 8, "steps": STEPS}
    task = tasks.build(config)
    size, mesh = task.splits["train"].size, make_mesh({})
    examples = {split: replicate(task.splits[split], mesh) for split in ("train", "valid")}
    program = None
    pool = np.empty((len(RATES), runs))
    for row, rate in enumerate(RATES):
        config["optimizer"]["learning_rate"] = rate
        for start in range(0, runs, at_once):
            seeds = range(start, min(start + at_once, runs))
            members = [{**config, "seeds": dict.fromkeys(config["seeds"], seed)} for seed in seeds]
            drawn = [models.build(each, task.model_dims) for each in members]
            if program is None or program.runs != len(members):
                rule = OptimizerFactory.from_config(config, TrainingSchedule.from_config(config, size))
                program = CompiledSteps.from_model(drawn[0], task, rule, mesh, len(members))
            numbers = [traced_hparams(each) for each in members]
            state = program.stack_runs([program.init_state(*each) for each in zip(drawn, numbers, strict=True)])
            orders = [ShuffledSampler(seed, size, config["train"]["batch_size"]).batches(0, STEPS) for seed in seeds]
            state, _ = program.train(
                state, program.stack_runs(numbers), examples["train"], np.stack(orders, axis=1), STEPS
            )
            sums = program.eval_sums(state.parameters, examples["valid"], 64)
            pool[row, list(seeds)] = [float(each["log_loss"].sum / each["log_loss"].weight) for each in sums]
            print(f"learning rate {rate}: {seeds.stop} of {runs} runs", file=sys.stderr)
    return pool


def judged(pool: Float[np.ndarray, "rates runs"], generator: np.random.Generator, shift: float = 0.0) -> str:
    """One comparison of models `a`, better by `shift`, and `b`: the label of the one that is named better, or none."""
    runs = []
    for name, better in (("a", shift), ("b", 0.0)):
        places = generator.permutation(pool.shape[1])
        grid = [_run(name, rate, 0, pool[row, places[row]] - better) for row, rate in enumerate(RATES)]
        best = int(np.argmin(pool[np.arange(len(RATES)), places[: len(RATES)]]))
        later = pool[best, places[len(RATES) : len(RATES) + SEEDS]] - better
        runs += grid + [_run(name, RATES[best], seed, value) for seed, value in enumerate(later, start=1)]
    tuned = tune(runs, ["optimizer.learning_rate"], "log_loss")
    # The models may be at different learning rates, and are told apart by their names alone.
    sentence = verdict(compare([run for each in tuned for run in each.runs]), "log_loss")
    resolved = sentence.partition(";")[0].rstrip(".").endswith("the difference is resolved")
    return sentence.split()[0] if resolved else ""


def study(pool: Float[np.ndarray, "rates runs"], simulations: int, seed: int = 0) -> dict[str, Any]:
    """Rates of errors and of differences found, and how often t-intervals cover the truth."""
    generator = np.random.default_rng(seed)
    best = pool[int(np.argmin(pool.mean(1)))]
    deviation = float(best.std(ddof=1))
    named = [judged(pool, generator) for _ in range(simulations)]
    found = [judged(pool, generator, SHIFT * deviation) for _ in range(simulations)]
    covered = {}
    for count in (5, 10):
        draws = best[generator.integers(best.size, size=(2000, count))]
        estimates = [estimate(row.tolist()) for row in draws]
        inside = [abs(each.value - best.mean()) <= (each.half_width or 0) for each in estimates]
        covered[count] = float(np.mean(inside))
    return {
        "simulations": simulations,
        "standard_deviation": deviation,
        "itself": sum(map(bool, named)) / simulations,
        "better": found.count("a") / simulations,
        "wrong": found.count("b") / simulations,
        "covered": covered,
    }


def page(found: Mapping[str, Any], more: Mapping[str, Any], pool: Float[np.ndarray, "rates runs"]) -> str:
    """The table."""
    environment = describe_environment([device.device_kind for device in jax.devices()], {})
    rates, deviation = ", ".join(map(str, RATES)), found["standard_deviation"]
    way = f"a grid of the rates with one seed, {SEEDS} more seeds of the best rate, then `tune`, `compare`, `verdict`"
    lines = [
        "# How often a verdict errs",
        "",
        "Written by `python -m benchmarks.verdicts --out=docs/results/verdicts.md`. "
        f"{pool.shape[1]:,} runs of a small LSTM on generated poems at each of the learning rates {rates}, "
        f"{STEPS} steps each. A comparison draws from them for two models that are the same: {way}. The better model "
        f"is better by {SHIFT:g} standard deviations between seeds, {deviation:.4f} each.",
        "",
        f"| | expected | of {found['simulations']:,} comparisons | of {more['simulations']:,} |",
        "| --- | ---: | ---: | ---: |",
    ]
    for title, expected, key in (
        ("a model against itself: one is named better", "≤ 5 %", "itself"),
        ("against one that is better: that is found", "≥ 80 %", "better"),
        ("against one that is better: the other is named", "0 %", "wrong"),
    ):
        lines.append(f"| {title} | {expected} | {100 * found[key]:.1f} % | {100 * more[key]:.1f} % |")
    for count in found["covered"]:
        values = " | ".join(f"{100 * each['covered'][count]:.1f} %" for each in (found, more))
        lines.append(f"| 95 % t-intervals of {count} runs that cover the mean of all, of 2,000 | 95 % | {values} |")
    commit = (environment["commit"] or "unknown")[:10]
    versions = f"JAX {environment['versions']['jax']}, Python {environment['python']}"
    return "\n".join([*lines, "", f"{date.today()}, commit {commit}, {versions}.", ""])


def _run(name: str, rate: float, seed: int, value: float) -> Run:
    """As from a run folder."""
    config = {"name": name, "task": "poems", "optimizer": {"learning_rate": rate}, "seeds": {"init": seed}}
    lines = [{"step": STEPS, "split": "valid", "log_loss": float(value)}]
    return Run(Path(f"{name}{rate}{seed}"), config, {}, lines, {"status": "finished"})


def main() -> None:
    """Train, simulate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300, help="at each learning rate")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a Markdown file; the runs' log-losses lie beside it as JSON")
    chosen = parser.parse_args()
    pool = train_pool(chosen.runs)
    text = page(study(pool, chosen.simulations), study(pool, 10 * chosen.simulations, seed=1), pool)
    print(text)
    if chosen.out:
        chosen.out.write_text(text, "utf-8")
        rounded = {
            str(rate): [round(value, 6) for value in row] for rate, row in zip(RATES, pool.tolist(), strict=True)
        }
        chosen.out.with_suffix(".json").write_text(json.dumps(rounded) + "\n", "utf-8")


if __name__ == "__main__":
    main()
