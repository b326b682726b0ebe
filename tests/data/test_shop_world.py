"""`nlstm_jax.data.generators.shop_world`: exact sizes, reading of written files, and regularities to learn."""

from pathlib import Path

import numpy as np
import pytest

from nlstm_jax.data.generators.shop_world import ShopWorld, generate, shop_world_history, write_shop_world
from nlstm_jax.data.sales import join_pairs, read_sales

WORLDS = (
    ShopWorld(),
    ShopWorld(seed=7),
    ShopWorld(shops=1, items=1, months=1, rows=1, test_pairs=1),
    ShopWorld(shops=3, items=5, months=40, rows=999, test_pairs=15),
    ShopWorld(shops=60, items=40, rows=5_000, test_pairs=2_399),
)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_written_and_read_is_the_same_history(world: ShopWorld, tmp_path: Path) -> None:
    direct = shop_world_history(world)
    write_shop_world(world, tmp_path)
    read = read_sales(tmp_path)
    for name in ("shop_ids", "item_ids", "counts", "prices"):
        assert getattr(direct, name).dtype == getattr(read, name).dtype
        np.testing.assert_array_equal(getattr(direct, name), getattr(read, name), err_msg=name)
    assert (direct.rows, direct.item_names) == (read.rows, read.item_names)
    assert direct.test is not None
    assert read.test is not None
    for name in ("ids", "shop_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(direct.test, name), getattr(read.test, name), err_msg=name)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_sizes_are_exact(world: ShopWorld) -> None:
    columns = generate(world)
    assert {len(column) for column in columns.sales} == {world.rows}
    assert len(columns.test.ids) == world.test_pairs
    assert (
        len(set(zip(columns.test.shop_ids.tolist(), columns.test.item_ids.tolist(), strict=True))) == world.test_pairs
    )
    assert columns.sales.months.max() < world.months
    assert len(set(columns.item_names)) == world.items
    assert len(set(columns.shop_names)) == world.shops


def test_a_seed_gives_one_world() -> None:
    one, same, other = (generate(ShopWorld(seed=seed)).sales for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.item_ids, other.item_ids)


def test_six_files_of_the_competition(tmp_path: Path) -> None:
    write_shop_world(ShopWorld(), tmp_path)
    headers = {path.name: path.read_text().split("\n", 1)[0] for path in tmp_path.iterdir()}
    assert headers == {
        "sales_train.csv": "date,date_block_num,shop_id,item_id,item_price,item_cnt_day",
        "test.csv": "ID,shop_id,item_id",
        "items.csv": "item_name,item_id,item_category_id",
        "shops.csv": "shop_name,shop_id",
        "item_categories.csv": "item_category_name,item_category_id",
        "sample_submission.csv": "ID,item_cnt_month",
    }
    assert len((tmp_path / "sample_submission.csv").read_text().splitlines()) == 601


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return shop_world_history(ShopWorld(shops=20, items=600, rows=100_000)).counts


def test_december_is_the_peak_of_each_year(counts: np.ndarray) -> None:
    trade = counts.sum(axis=0)
    assert [int(trade[year : year + 12].argmax()) for year in (0, 12)] == [11, 11]
    assert trade[23] > 1.4 * trade[12:23].mean()


def test_few_items_sell_most_and_shops_differ() -> None:
    sales = generate(ShopWorld(shops=20, items=600, rows=100_000)).sales
    sold = np.sort(np.bincount(sales.item_ids))[::-1]
    assert 0.4 < sold[:60].sum() / sold.sum() < 0.8
    trade = np.bincount(sales.shop_ids)
    assert trade.max() > 4 * trade.min()


def test_names_stay_different_at_full_size() -> None:
    columns = generate(ShopWorld(shops=60, items=22_170, rows=100, test_pairs=100))
    assert len(set(columns.item_names)) == 22_170
    assert len(set(columns.shop_names)) == 60
    assert len(set(columns.category_names)) == len(columns.category_names)


def test_counts_are_overdispersed_with_some_returns() -> None:
    columns = generate(ShopWorld(shops=20, items=600, rows=100_000))
    assert 0.001 < np.mean(columns.sales.counts == -1) < 0.005
    assert 1.2 < columns.sales.counts.mean() < 1.3
    assert columns.sales.counts.max() > 5
    history = shop_world_history(ShopWorld(shops=20, items=600, rows=100_000))
    months = history.counts[:, 24:30]
    means, variances = months.mean(axis=1), months.var(axis=1, ddof=1)
    assert np.median(variances[means > 2] / means[means > 2]) > 1.5


def test_the_past_tells_of_the_future(counts: np.ndarray) -> None:
    clipped = np.clip(counts, 0, 20)
    target = clipped[:, 33]
    errors = [
        np.sqrt(np.mean((target - guess) ** 2))
        for guess in (clipped[:, 21:33].mean(axis=1), clipped[:, 32], np.full_like(target, target.mean()))
    ]
    assert errors[0] < 0.9 * errors[1]
    assert errors[0] < 0.9 * errors[2]


def test_items_come_out_and_prices_move() -> None:
    columns, history = generate(ShopWorld()), shop_world_history(ShopWorld())
    first_months = np.full(300, 99)
    np.minimum.at(first_months, columns.sales.item_ids, columns.sales.months)
    assert 0.3 < (first_months > 12).mean() < 0.7
    assert np.isin(columns.test.item_ids, np.flatnonzero(first_months > 33)).any(), "a new item is asked for"
    cents = columns.sales.prices * 100
    np.testing.assert_allclose(cents, np.round(cents), rtol=0, atol=1e-6)
    priced = history.prices[history.prices[:, 0] > 0]
    assert (priced[:, -1] != priced[:, 0]).mean() > 0.8
    assert history.prices.min() >= 0


def test_some_test_pairs_have_no_history() -> None:
    history = shop_world_history(ShopWorld())
    assert history.test is not None
    share = join_pairs(history, history.test.shop_ids, history.test.item_ids).has_history.mean()
    assert 0.3 < share < 0.8


@pytest.mark.parametrize(
    ("sizes", "validation_error"),
    [
        ({"rows": 0}, "rows: 0 found, at least 1 accepted"),
        ({"shops": 2, "items": 3, "test_pairs": 7}, "test_pairs: 7 found, at most 6 accepted"),
        ({"months": 241}, "months: 241 found, at most 240 accepted"),
        ({"seed": -1}, "seed: -1 found, at least 0 accepted"),
    ],
)
def test_impossible_worlds(sizes: dict[str, int], validation_error: str) -> None:
    with pytest.raises(ValueError, match=f"^{validation_error}$"):
        ShopWorld(**sizes)
