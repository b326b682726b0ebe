"""Error rates of verdicts: a model against itself, and against one that is better by two standard deviations.

    python -m benchmarks.verdicts --out=docs/results/verdicts.md     six minutes on two cores
    python -m benchmarks.verdicts --runs=20 --simulations=50         to try it

Trains many small runs of one model: `--runs` seeds at each of three learning rates, with many seeds of a rate in one
vmapped program. A simulated comparison draws runs from them for two models that are in truth the same, and takes the
steps of a real comparison: a grid of the three learning rates with one seed each, the best rate run with six more
seeds, `tune`, `compare` and `verdict`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TypedDict

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
from nlstm_jax.types import Float, JsonObject

RATES = (0.003, 0.01, 0.03)
"""The learning rates."""

SEEDS = 6
"""The number of seeds that judge each model, besides the one that tunes it."""

STEPS = 150
"""The number of training steps of each run."""

SHIFT = 2.0
"""The advantage of the better model, in standard deviations between seeds."""

COVERAGE_DRAWS = 2000
"""The number of t-intervals that are drawn to measure how often they cover the true mean."""


class ErrorRates(TypedDict):
    """The rates of correct and of wrong verdicts.

    Attributes:
        simulations: The number of simulated comparisons of each kind.
        standard_deviation: The standard deviation between seeds at the best learning rate, in nats.
        itself: The fraction of comparisons of a model with itself in which one is named better.
        better: The fraction of comparisons with a better model in which it is named better.
        wrong: The fraction of comparisons with a better model in which the other one is named better.
        covered: The fraction of t-intervals that cover the mean of all runs, by the number of runs in an interval.
    """

    simulations: int
    standard_deviation: float
    itself: float
    better: float
    wrong: float
    covered: dict[int, float]


def train_pool(runs: int, at_once: int = 50) -> Float[np.ndarray, "rates runs"]:
    """Train small LSTMs that differ in learning rate and seed.

    Args:
        runs: The number of seeds at each learning rate.
        at_once: The number of seeds in one vmapped program.

    Returns:
        The validation log-loss of every run, one row per learning rate.
    """
    config = json.loads(poems.get_config("cell=lstm,smoke").to_json())
    config["cell"]["features"] = 8
    config["model"]["embedding"] = 8
    config["train"] |= {"batch_size": 8, "steps": STEPS}
    task = tasks.build(config)
    size = task.splits["train"].size
    mesh = make_mesh({})
    examples = {split: replicate(task.splits[split], mesh) for split in ("train", "valid")}
    program = None
    pool = np.empty((len(RATES), runs))
    for row, rate in enumerate(RATES):
        config["optimizer"]["learning_rate"] = rate
        for start in range(0, runs, at_once):
            seeds = range(start, min(start + at_once, runs))
            configs = [{**config, "seeds": dict.fromkeys(config["seeds"], seed)} for seed in seeds]
            built = [models.build(run_config, task.model_dims) for run_config in configs]
            if program is None or program.runs != len(configs):
                optimizer = OptimizerFactory.from_config(config, TrainingSchedule.from_config(config, size))
                program = CompiledSteps.from_model(built[0], task, optimizer, mesh, len(configs))

            hparams = [traced_hparams(run_config) for run_config in configs]
            state = program.stack_runs([program.init_state(*pair) for pair in zip(built, hparams, strict=True)])
            samplers = [ShuffledSampler(seed, size, config["train"]["batch_size"]) for seed in seeds]
            batches = np.stack([sampler.batches(0, STEPS) for sampler in samplers], axis=1)
            state, _ = program.train(state, program.stack_runs(hparams), examples["train"], batches, STEPS)

            sums = program.eval_sums(state.parameters, examples["valid"], 64)
            pool[row, list(seeds)] = [float(run["log_loss"].sum / run["log_loss"].weight) for run in sums]
            print(f"learning rate {rate}: {seeds.stop} of {runs} runs", file=sys.stderr)
    return pool


def judged(pool: Float[np.ndarray, "rates runs"], generator: np.random.Generator, shift: float = 0.0) -> str:
    """Simulate one comparison of two models `a` and `b`.

    Args:
        pool: The log-losses to draw runs from, one row per learning rate.
        generator: The random generator that draws.
        shift: The advantage of `a` in nats.

    Returns:
        The label of the model that is named better, or an empty text if the difference is not resolved.
    """
    runs: list[Run] = []
    for name, advantage in (("a", shift), ("b", 0.0)):
        order = generator.permutation(pool.shape[1])
        tuning_values = pool[np.arange(len(RATES)), order[: len(RATES)]]
        for rate, value in zip(RATES, tuning_values, strict=True):
            runs.append(_run(name, rate, 0, value - advantage))
        best = int(np.argmin(tuning_values))
        judging_values = pool[best, order[len(RATES) : len(RATES) + SEEDS]]
        for seed, value in enumerate(judging_values, start=1):
            runs.append(_run(name, RATES[best], seed, value - advantage))

    tunings = tune(runs, ["optimizer.learning_rate"], "log_loss")
    # The two models may have different learning rates. Their labels are their names nevertheless.
    comparison = compare([run for tuning in tunings for run in tuning.runs])
    sentence = verdict(comparison, "log_loss")
    first_clause = sentence.partition(";")[0].rstrip(".")
    if first_clause.endswith("the difference is resolved"):
        return sentence.split()[0]
    return ""


def study(pool: Float[np.ndarray, "rates runs"], simulations: int, seed: int = 0) -> ErrorRates:
    """Return the error rates of verdicts, the rate of differences found, and the coverage of t-intervals.

    Args:
        pool: The log-losses to draw runs from, one row per learning rate.
        simulations: The number of simulated comparisons of each kind.
        seed: The seed of the random generator.
    """
    generator = np.random.default_rng(seed)
    best = pool[int(np.argmin(pool.mean(1)))]
    deviation = float(best.std(ddof=1))
    named_on_itself = [judged(pool, generator) for _ in range(simulations)]
    named_on_better = [judged(pool, generator, SHIFT * deviation) for _ in range(simulations)]
    covered = {}
    for count in (5, 10):
        draws = best[generator.integers(best.size, size=(COVERAGE_DRAWS, count))]
        estimates = [estimate(row.tolist()) for row in draws]
        covers = [abs(interval.value - best.mean()) <= (interval.half_width or 0) for interval in estimates]
        covered[count] = float(np.mean(covers))
    return {
        "simulations": simulations,
        "standard_deviation": deviation,
        "itself": sum(map(bool, named_on_itself)) / simulations,
        "better": named_on_better.count("a") / simulations,
        "wrong": named_on_better.count("b") / simulations,
        "covered": covered,
    }


def page(few: ErrorRates, many: ErrorRates, pool: Float[np.ndarray, "rates runs"]) -> str:
    """Return the page of results in Markdown.

    Args:
        few: The error rates in the number of comparisons that was asked for.
        many: The error rates in ten times as many comparisons.
        pool: The log-losses that runs were drawn from.
    """
    environment = describe_environment([device.device_kind for device in jax.devices()], {})
    rates = ", ".join(map(str, RATES))
    way = f"a grid of the rates with one seed, {SEEDS} more seeds of the best rate, then `tune`, `compare`, `verdict`"
    lines = [
        "# How often a verdict errs",
        "",
        "Written by `python -m benchmarks.verdicts --out=docs/results/verdicts.md`. "
        f"{pool.shape[1]:,} runs of a small LSTM on generated poems at each of the learning rates {rates}, "
        f"{STEPS} steps each. A comparison draws from them for two models that are the same: {way}. The better model "
        f"is better by {SHIFT:g} standard deviations between seeds, {few['standard_deviation']:.4f} each.",
        "",
        f"| | expected | of {few['simulations']:,} comparisons | of {many['simulations']:,} |",
        "| --- | ---: | ---: | ---: |",
        _page_row("a model against itself: one is named better", "≤ 5 %", few["itself"], many["itself"]),
        _page_row("against one that is better: that is found", "≥ 80 %", few["better"], many["better"]),
        _page_row("against one that is better: the other is named", "0 %", few["wrong"], many["wrong"]),
    ]
    for count in few["covered"]:
        title = f"95 % t-intervals of {count} runs that cover the mean of all, of {COVERAGE_DRAWS:,}"
        lines.append(_page_row(title, "95 %", few["covered"][count], many["covered"][count]))
    commit = (environment["commit"] or "unknown")[:10]
    versions = f"JAX {environment['versions']['jax']}, Python {environment['python']}"
    return "\n".join([*lines, "", f"{date.today()}, commit {commit}, {versions}.", ""])


def _page_row(title: str, expected: str, few: float, many: float) -> str:
    """Return a row of the table. The fractions are shown as percentages."""
    return f"| {title} | {expected} | {100 * few:.1f} % | {100 * many:.1f} % |"


def _run(name: str, rate: float, seed: int, value: float) -> Run:
    """Return a run as it would be read from its folder."""
    config: JsonObject = {"name": name, "task": "poems"}
    config["optimizer"] = {"learning_rate": rate}
    config["seeds"] = {"init": seed}
    metrics = [{"step": STEPS, "split": "valid", "log_loss": float(value)}]
    return Run(Path(f"{name}{rate}{seed}"), config, {}, metrics, {"status": "finished"})


def _pool_json(pool: Sequence[Sequence[float]]) -> str:
    """Return the log-losses by learning rate as JSON, with six decimals."""
    rounded = {}
    for rate, row in zip(RATES, pool, strict=True):
        rounded[str(rate)] = [round(value, 6) for value in row]
    return json.dumps(rounded) + "\n"


def main() -> None:
    """Train the runs, simulate comparisons, and print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300, help="at each learning rate")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a Markdown file; the runs' log-losses lie beside it as JSON")
    arguments = parser.parse_args()
    pool = train_pool(arguments.runs)
    few = study(pool, arguments.simulations)
    many = study(pool, 10 * arguments.simulations, seed=1)
    text = page(few, many, pool)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
        arguments.out.with_suffix(".json").write_text(_pool_json(pool.tolist()), "utf-8")


if __name__ == "__main__":
    main()
