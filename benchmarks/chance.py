"""Measure the log-loss of chance on the tasks of `suite_v1` with real data.

    NLSTM_JAX_DATA=data python -m benchmarks.chance --out=docs/results/suite_v1/chance.json

Chance is what a model without a memory reaches on the test split, see docs/results/suite_v1/protocol.md: on language
the add-½ unigram model of the training targets, on sales one negative binomial distribution that is fitted to them. A
task whose data are missing keeps its entry in the file. `experiments.answer` reads the file.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import nbinom

from configs.sweeps.suite_v1.designs import DRAW_SEED, add_draw, data_path
from configs.sweeps.suite_v1.report import SPEC, SUITES
from nlstm_jax import tasks
from nlstm_jax.sweeps import TrialCollector
from nlstm_jax.tasks.poems import PoemExamples
from nlstm_jax.tasks.sales_windows import SalesWindows, collect_months
from nlstm_jax.tasks.text_windows import TextWindows
from nlstm_jax.types import Config, JsonObject


def unigram_log_loss(train: np.ndarray, test: np.ndarray, vocabulary: int) -> float:
    """Return the log-loss of the add-½ unigram model of the training symbols, in nats per test symbol.

    >>> round(unigram_log_loss(np.array([0, 0, 1]), np.array([1]), vocabulary=2), 4)
    0.9808
    """
    counts = np.bincount(train, minlength=vocabulary) + 0.5
    return float(-np.log(counts / counts.sum())[test].mean())


def negative_binomial_log_loss(train: np.ndarray, test: np.ndarray) -> float:
    """Return the log-loss of one negative binomial distribution, fitted to the training counts, per test count.

    Its mean of highest likelihood is the mean of the counts. Only its size is searched for.
    """
    values, counts = np.unique(train, return_counts=True)
    mean = float(train.mean())

    def log_loss(log_size: float) -> float:
        size = np.exp(log_size)
        return float(-(counts * nbinom.logpmf(values, size, size / (size + mean))).sum() / counts.sum())

    size = float(np.exp(minimize_scalar(log_loss, bounds=(-10, 10), method="bounded").x))
    return float(-nbinom.logpmf(test, size, size / (size + mean)).mean())


def targets(examples: object) -> np.ndarray:
    """Return all targets of a split.

    Raises:
        TypeError: The split is of another task.
    """
    if isinstance(examples, SalesWindows):
        months = range(examples.first, examples.first + examples.months)
        return np.rint(collect_months(examples, months, examples.window)[1]).astype(int)
    if isinstance(examples, TextWindows):
        return np.asarray(examples.tokens)[:, 1 : examples.length + 1].ravel()
    if isinstance(examples, PoemExamples):
        symbols = np.asarray(examples.tokens)[:, 1:]
        is_target = np.arange(symbols.shape[1]) < np.asarray(examples.lengths)[:, None]
        return symbols[is_target]
    raise TypeError(f"chance: windows of sales or text, or poems, expected, found {type(examples).__name__}")


def measure(config: Config) -> JsonObject:
    """Return the log-loss of chance on the test split of a configuration's task, with the checksums of its data."""
    task = tasks.build(config)
    train = targets(task.splits["train"])
    test = targets(task.splits["test"])
    if "vocabulary" in task.model_dims:
        log_loss = unigram_log_loss(train, test, task.model_dims["vocabulary"])
    else:
        log_loss = negative_binomial_log_loss(train, test)
    return {"log_loss": log_loss, "targets": test.size, "checksums": dict(task.metadata["checksums"])}


def main() -> None:
    """Measure every task whose data are there, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; entries of other tasks are kept")
    out = parser.parse_args().out
    document = json.loads(out.read_text("utf-8")) if out.exists() else {}
    for task in SPEC.tasks:
        if not task.data or not Path(data_path(task.data)).is_dir():
            continue
        collector = TrialCollector(task.name)
        suite = SUITES[task.name]
        add_draw(collector.add, suite, 0, DRAW_SEED, suite.short_epochs)
        document[task.name] = measure(collector.trials[0].config)
        print(f"{task.name}: {document[task.name]['log_loss']:.4f} {task.unit}", flush=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
