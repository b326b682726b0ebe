import csv
import json
import shutil
from collections import defaultdict

import pytest

from nlstm_jax.data.sales import read_sales

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def forecasts(trained, run_scripts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecasts")
    shutil.copytree(trained / "sales", folder / "sales")
    (folder / "there").mkdir()
    run = f"--workdir={folder / 'sales'}"
    ended = run_scripts(
        {
            "here": ["forecast", run],
            "there": ["forecast", run, f"--out={folder / 'there' / 'submission.csv'}"],
            "nowhere": ["forecast", run, f"--out={folder / 'missing' / 'submission.csv'}"],
            "poems": ["forecast", f"--workdir={trained / 'poems'}"],
        }
    )
    return folder, ended


def read(path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_pair_of_the_test_file_is_answered_in_its_order(forecasts, trained):
    assert (forecasts[1]["here"].code, forecasts[1]["here"].err) == (0, "")
    rows, asked = read(forecasts[0] / "sales" / "forecast.csv"), read(trained / "world" / "test.csv")
    assert list(rows[0]) == ["ID", "item_cnt_month"]
    assert [row["ID"] for row in rows] == [pair["ID"] for pair in asked]
    assert len(rows) == 300
    assert all(0 <= float(row["item_cnt_month"]) <= 20 for row in rows)
    assert f"300 rows in {forecasts[0] / 'sales' / 'forecast.csv'}" in forecasts[1]["here"].out.replace("\n", " ")


def test_pairs_without_a_history_get_one_value_and_the_others_their_own(forecasts, trained):
    history = read_sales(trained / "world")
    known = set(zip(history.shop_ids.tolist(), history.item_ids.tolist(), strict=True))
    values = defaultdict(set)
    rows, asked = read(forecasts[0] / "sales" / "forecast.csv"), read(trained / "world" / "test.csv")
    for row, pair in zip(rows, asked, strict=True):
        values[(int(pair["shop_id"]), int(pair["item_id"])) in known].add(row["item_cnt_month"])
    assert len(values[False]) == 1
    assert len(values[True]) > 10


def test_the_ranking_adds_up_what_the_shops_are_to_sell(forecasts, trained):
    rows, asked = read(forecasts[0] / "sales" / "forecast.csv"), read(trained / "world" / "test.csv")
    totals = defaultdict(float)
    for row, pair in zip(rows, asked, strict=True):
        totals[int(pair["item_id"])] += float(row["item_cnt_month"])
    names = {int(row["item_id"]): row["item_name"] for row in read(trained / "world" / "items.csv")}
    ranking = read(forecasts[0] / "sales" / "ranking.csv")
    assert [int(row["rank"]) for row in ranking] == list(range(1, len(totals) + 1))
    assert {int(row["item_id"]) for row in ranking} == totals.keys()
    expected = [float(row["expected_sales"]) for row in ranking]
    assert expected == sorted(expected, reverse=True)
    for row in ranking:
        assert float(row["expected_sales"]) == pytest.approx(totals[int(row["item_id"])], abs=2e-4)
        assert row["item_name"] == names[int(row["item_id"])]


def test_a_forecast_goes_where_it_is_told_and_is_the_same_there(forecasts, trained, refused):
    folder, ended = forecasts
    assert ended["there"].code == 0
    assert sorted(path.name for path in (folder / "there").iterdir()) == ["ranking.csv", "submission.csv"]
    assert (folder / "there" / "submission.csv").read_bytes() == (folder / "sales" / "forecast.csv").read_bytes()
    refused(
        ended["nowhere"],
        2,
        f"--out: a file in an existing folder expected, found {folder / 'missing' / 'submission.csv'}",
    )
    refused(
        ended["poems"],
        2,
        f"{trained / 'poems'}: a run of sales or a task with the method `forecast` expected, found one of poems",
    )
    assert not (trained / "poems" / "forecast.csv").exists()


def test_forecasting_is_no_look_at_the_test_split(forecasts):
    assert "test_looks" not in json.loads((forecasts[0] / "sales" / "summary.json").read_text("utf-8"))
