"""Tests that runs are compared with baselines only if both forecast the same values."""

import pytest
from requirements import requires

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ended(trained_runs, run_scripts):
    requires("sklearn")
    run, text = trained_runs("stocks", "text")
    stocks = ["baselines", "--config=configs/stocks.py:variant=sequence,smoke", str(run)]
    return (run, text), run_scripts(
        {
            "same": stocks,
            "horizon": [*stocks, "--config.data.horizon=1"],
            "window": [*stocks, "--config.data.window=10"],
            "columns": [*stocks, "--config.data.columns=close=Last"],
            "data": [*stocks, "--config.data.seed=1"],
            "task": [*stocks[:2], str(text)],
            "online": ["baselines", "--config=configs/stocks.py:smoke"],
            "poems": ["baselines", "--config=configs/poems.py:smoke"],
        }
    )


def test_a_run_stands_beside_the_baselines_of_its_question(ended) -> None:
    _, ended = ended
    assert (ended["same"].code, ended["same"].err) == (0, "")
    header, rule, *rows = ended["same"].out.splitlines()
    assert header == "| forecast | valid rmse | seeds |"
    names = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert rule.startswith("| ---")
    assert {"lstm sequence", "no change", "mean change of the training days"} < set(names)
    values = [float(row.split(" | ")[1].split()[0]) for row in rows]
    assert values == sorted(values)


def test_runs_of_another_question_are_refused(ended, refused) -> None:
    (stocks, text), ended = ended
    refused(ended["horizon"], 2, f"{stocks}: config.data.horizon=1, as in --config, expected, found 5")
    window = "config.data.window=10, as in --config, expected, found 20"
    refused(ended["window"], 2, f"{stocks}: {window}")
    columns = "config.data.columns='close=Last', as in --config, expected, found ''"
    refused(ended["columns"], 2, f"{stocks}: {columns}")
    refused(ended["data"], 2, f"{stocks}: config.data.seed=1, as in --config, expected, found 0")
    refused(ended["task"], 2, f"{text}: a run of stocks expected, found one of text")
    refused(
        ended["poems"],
        2,
        "--config: a config of sales, stocks or a task with the method `baselines` expected, found one of poems",
    )
    refused(ended["online"], 2, "baselines: a task with valid expected, which validates or tests; found one without")
