"""Error rates of the verdicts with a margin: false "better", false "equivalent", and the power of "equivalent".

    python -m benchmarks.margins --out=docs/results/margins.md     a minute on one core
    python -m benchmarks.margins --simulations=100                 to try it

Simulates comparisons of two groups of six seeds, and judges each by `analysis.margin.judge`. The values are normal
with equal or unequal spreads, or are drawn from recorded runs (docs/results/verdicts.json, see `benchmarks.verdicts`).
Steps to solve are geometric, in evaluations of 100 steps, and censored at 6,000 steps.
"""

import argparse
import json
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from nlstm_jax.analysis.equivalence import seeds_for_equivalence
from nlstm_jax.analysis.margin import MarginOptions, MarginVerdict, Measured, judge
from nlstm_jax.analysis.statistics import POWER
from nlstm_jax.runs import describe_environment
from nlstm_jax.types import Float

SEEDS = 6
"""The number of seeds of each group."""

MARGINS = (1.0, 2.0, 3.0)
"""The margins, in standard deviations: the root of the mean variance of the two groups."""

RECORDED = Path("docs/results/verdicts.json")

_MANY = 150
"""A number of draws that have about the true spreads."""

_STEPS = 6000
_EVERY = 100
_SOLVING_RUNS = 20

Draw: TypeAlias = Callable[[np.random.Generator, int], tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]]
"""A function that draws the values of two groups of equal means, whose mean variance is 1."""


class Rate(NamedTuple):
    """A share of simulated comparisons.

    Attributes:
        share: The share.
        error: Its standard error.
    """

    share: float
    error: float

    def __str__(self) -> str:
        """Return the share in percent with its standard error."""
        return f"{100 * self.share:.1f} ± {100 * self.error:.1f} %"


def normal(ratio: float) -> Draw:
    """Return a function that draws normal values.

    Args:
        ratio: The standard deviation of the second group, divided by that of the first one.
    """
    first = math.sqrt(2 / (1 + ratio**2))

    def draw(generator: np.random.Generator, seeds: int) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        return first * generator.standard_normal(seeds), ratio * first * generator.standard_normal(seeds)

    return draw


def recorded(first: Float[np.ndarray, "R"], second: Float[np.ndarray, "R"]) -> Draw:
    """Return a function that draws recorded values without replacement. Each group is moved to the mean 0.

    Args:
        first: The recorded values of the first group.
        second: Those of the second group. If they are those of the first one, no run is drawn for both.
    """
    scale = math.sqrt((first.var() + second.var()) / 2)
    first_pool = (first - first.mean()) / scale
    second_pool = (second - second.mean()) / scale

    def draw(generator: np.random.Generator, seeds: int) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        order = generator.permutation(first_pool.size)
        return first_pool[order[:seeds]], second_pool[order[seeds : 2 * seeds]]

    return draw


def verdicts(
    draw: Draw, margin: float, difference: float, seeds: int, simulations: int, generator: np.random.Generator
) -> list[MarginVerdict]:
    """Judge simulated comparisons.

    Args:
        draw: The function that draws the values.
        margin: The margin, in standard deviations.
        difference: The true difference, in standard deviations.
        seeds: The number of seeds of each group.
        simulations: The number of comparisons.
        generator: The random generator.
    """
    options = MarginOptions(margin)
    judged = []
    for _ in range(simulations):
        first, second = draw(generator, seeds)
        judged.append(judge(Measured((first + difference).tolist(), second.tolist()), options))
    return judged


def rate_of(judged: list[MarginVerdict], part: str) -> Rate:
    """Return the share of verdicts whose words have a part, such as `better`."""
    share = float(np.mean([part in verdict.name(verdict.p) for verdict in judged]))
    return Rate(share, math.sqrt(share * (1 - share) / len(judged)))


def seeds_for_power(draw: Draw, margin: float, simulations: int, generator: np.random.Generator) -> int:
    """Return the smallest number of seeds with which "equivalent" is found at no difference as often as `POWER`."""
    seeds = 2
    while True:
        judged = verdicts(draw, margin, 0.0, seeds, simulations, generator)
        if rate_of(judged, "within").share >= POWER:
            return seeds
        seeds += 1


def false_log_rank(probability: float, simulations: int, generator: np.random.Generator) -> Rate:
    """Return how often one of two equal groups of censored steps is named better.

    Args:
        probability: The probability that a run has solved the task at the end.
        simulations: The number of comparisons.
        generator: The random generator.
    """
    hazard = 1 - (1 - probability) ** (_EVERY / _STEPS)
    judged = []
    for _ in range(simulations):
        steps = _EVERY * generator.geometric(hazard, (2, _SOLVING_RUNS))
        solved = steps <= _STEPS
        first, second = np.minimum(steps, _STEPS).astype(float).tolist()
        judged.append(judge(Measured(first, second, solved[0].tolist(), solved[1].tolist()), MarginOptions(0.5)))
    return rate_of(judged, "better")


def _skewness(values: Float[np.ndarray, "R"]) -> float:
    """Return the skewness of values."""
    return float(np.mean((values - values.mean()) ** 3) / values.std() ** 3)


def page(simulations: int) -> str:
    """Simulate all comparisons, and return the page of results in Markdown."""
    generator = np.random.default_rng(0)
    pool = [np.array(values) for values in json.loads(RECORDED.read_text("utf-8")).values()]
    best, worst = sorted(pool, key=lambda values: float(values.mean()))[:: len(pool) - 1]
    cases: dict[str, Draw] = {
        "normal, equal spreads": normal(1.0),
        "normal, spreads 1 : 3": normal(3.0),
        "normal, spreads 1 : 10": normal(10.0),
        "recorded runs of one learning rate": recorded(best, best),
        "recorded runs of two learning rates": recorded(best, worst),
    }
    commit = (describe_environment([], {})["commit"] or "unknown")[:10]
    lines = [
        "# How often a verdict with a margin errs",
        "",
        "Written by `python -m benchmarks.margins --out=docs/results/margins.md`. Two groups of "
        f"{SEEDS} seeds, {simulations:,} simulated comparisons for each entry, with its standard error. The verdicts "
        "are those of `experiments.compare --margin`. The recorded runs are those of [verdicts](verdicts.md), at the "
        f"learning rates with the best and the worst mean; their spreads are 1 : {worst.std() / best.std():.2f}, "
        f"and their skewness is {_skewness(best):.1f} and {_skewness(worst):.1f}. The first group has the best mean.",
        "",
        '| values | false "better" at no difference, ≤ 5 % |',
        "| --- | ---: |",
    ]
    for name, draw in cases.items():
        lines.append(f"| {name} | {rate_of(verdicts(draw, 1.0, 0.0, SEEDS, simulations, generator), 'better')} |")
    for probability in (0.5, 0.95):
        rate = false_log_rank(probability, simulations, generator)
        title = f"steps to solve of {_SOLVING_RUNS} runs each, {100 * probability:.0f} % of which solve the task"
        lines.append(f"| {title} | {rate} |")

    lines += [
        "",
        "The margin is in standard deviations between seeds: the root of the mean variance of the two groups. The "
        "seeds are the fewest of each group with so much power in the simulation. The last column is what "
        f"`seeds_for_equivalence` says of {_MANY} draws.",
        "",
        '| values | margin | false "equivalent" at a difference of the margin, ≤ 5 %: first group higher | first '
        'group lower | power of "equivalent" at no '
        f"difference, {SEEDS} seeds | seeds for {100 * POWER:.0f} % | by the formula |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, draw in cases.items():
        for margin in MARGINS:
            above = rate_of(verdicts(draw, margin, margin, SEEDS, simulations, generator), "within")
            below = rate_of(verdicts(draw, margin, -margin, SEEDS, simulations, generator), "within")
            power = rate_of(verdicts(draw, margin, 0.0, SEEDS, simulations, generator), "within")
            seeds = seeds_for_power(draw, margin, simulations, generator)
            first, second = draw(generator, _MANY)
            formula = seeds_for_equivalence(first.tolist(), second.tolist(), margin)
            lines.append(f"| {name} | {margin:g} | {above} | {below} | {power} | {seeds} | {formula} |")
    return "\n".join([*lines, "", f"{date.today()}, commit {commit}.", ""])


def main() -> None:
    """Simulate comparisons, and print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000, help="comparisons for each entry")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    text = page(arguments.simulations)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
