"""The page of a search: what it says of a study whose answer is known."""

import math
import re

import pytest
from requirements import requires

optuna = requires("optuna")
requires("plotly")
requires("sklearn")

from nlstm_jax.sweeps.search_page import render  # noqa: E402


def objective(trial, sign: int) -> float:
    """Return a value that the rate decides alone, the best one at 0.01."""
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    trial.suggest_float("dropout", 0.0, 0.6)
    trial.suggest_categorical("<cell>", ["lstm", "nlstm"])
    return sign * (5 - math.log10(rate / 0.01) ** 2)


def importances(page: str) -> list[str]:
    """Return the settings by falling importance, as the bars have them from bottom to top."""
    bars = re.search(r'"x":\[[^\]]*\],"y":\[([^\]]*)\],"type":"bar"', page.partition("<h2>Importances")[2])
    return re.findall(r'"([^"]+)"', bars[1])[::-1]


@pytest.mark.slow
@pytest.mark.parametrize("higher_is_better", [False, True])
def test_the_setting_that_decides_is_the_most_important(higher_is_better: bool) -> None:
    study = optuna.create_study(study_name="<rates>", sampler=optuna.samplers.RandomSampler(seed=0))
    sign = -1 if higher_is_better else 1
    study.optimize(lambda trial: objective(trial, sign), n_trials=30)
    study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    metric = "accuracy" if higher_is_better else "log_loss"
    page = render(study, metric, higher_is_better=higher_is_better)
    assert "30 trials finished, 1 stopped early or diverged." in page
    assert importances(page)[0] == "rate"
    best = sign * study.best_value
    assert f"Trial {study.best_trial.number}: best valid {metric} {best:.6g}." in page
    assert '"type":"parcoords"' in page
    # Names are text, and nothing is fetched.
    assert "<title>Search &lt;rates&gt;</title>" in page
    assert "<th>&lt;cell&gt;</th>" in page
    assert not re.search(r'<(?:script|link)[^>]*(?:src|href)="', page)


@pytest.mark.slow
def test_a_search_without_finished_trials_or_with_equal_ones_has_a_page() -> None:
    study = optuna.create_study()
    assert "0 trials finished, 0 stopped" in render(study, "log_loss", higher_is_better=False)
    study.optimize(lambda trial: trial.suggest_int("depth", 1, 3) * 0.0, n_trials=3)
    page = render(study, "log_loss", higher_is_better=False)
    assert "3 trials finished" in page
    assert "<h2>Importances" not in page
    assert "<h2>All trials" in page
