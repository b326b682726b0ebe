"""A generated chain of shops in the format of Kaggle's "Predict Future Sales", for runs without a download.

Some regularities can be learned. A few items sell most, items are released and fade, December is the peak of each
year, shops differ in size and taste, trade shrinks slowly, and a discount sells. The rest is noise: a row is one
purchase, drawn from a gamma-mixed rate, so that a pair's monthly counts are over-dispersed like negative binomials.

Dimension letters: S shops, I items, M months, n rows.
"""

import csv
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from nlstm_jax.data.sales import MOST_MONTHS, SalesHistory, SalesRows, TestPairs, aggregate

FIRST_MONTH = np.datetime64("2013-01", "M")

_DISPERSION = 3.0  # shape of the gamma factor of a pair's month: the variance is mean + mean² / 3
_EXTRA = (0.3, 0.55)  # units beyond the first in one row: negative binomial, mean 0.25
_RETURNS = 0.0025  # share of the rows that are returns
_ELASTICITY = 1.5  # a price cut of 10 % sells 17 % more
_FADING = 0.012  # decrease of the logarithm of the chain's trade per month
_WRITE_ROWS = 1 << 17

_FORMS = ("novel", "film", "album", "game", "puzzle", "calendar", "figurine", '"collector" box')
_ADJECTIVES = (
    "Amber", "Bitter", "Crooked", "Distant", "Early", "Frozen", "Golden", "Hollow", "Iron", "Jade", "Kindled", "Lost",
    "Midnight", "Northern", "Open", "Paper", "Quiet", "Red", "Silver", "Twelfth", "Unwritten", "Velvet", "Winter",
)  # fmt: skip
_NOUNS = (
    "Anchor", "Bridge", "Cartographer", "Door", "Engine", "Falcon", "Garden", "Harbour", "Island", "Journey", "Key",
    "Lantern", "Mountain", "Nightingale", "Orchard", "Piano", "Quarry", "River", "Staircase", "Tide", "Umbrella",
)  # fmt: skip
_SECTIONS = ("Books", "Films", "Music", "Games", "Toys", "Gifts", "Software", "Stationery")
_GENRES = ("Adventure", "Children", "Classics", "Comedy", "Crime", "Fantasy", "History", "Home", "Nature", "Travel")
_STREETS = ("Bridge Street", "Castle Arcade", "Harbour Street", "Market Square", "Mill Lane", "Station Road")
_TOWNS = ("Alderby", "Brackenford", "Copperhill", "Dunmere", "Elmstead", "Fairhaven", "Greywater", "Hartsend")


@dataclass(frozen=True)
class ShopWorld:
    """The size of the chain. `rows` and `test_pairs` are met exactly. The size of the real file is

        ShopWorld(shops=60, items=22_170, rows=2_935_849, test_pairs=214_200)

    Attributes:
        shops: The number of shops, S.
        items: The number of items, I.
        months: The number of months with sales, M.
        rows: The number of rows of sales_train.csv, n.
        test_pairs: The number of pairs in test.csv.
        seed: The seed of all draws.

    Raises:
        ValueError: A size below 1, more months than a file may have, more test pairs than shops × items, or a
            negative seed.
    """

    shops: int = 10
    items: int = 300
    months: int = 34
    rows: int = 20_000
    test_pairs: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("shops", "items", "months", "rows", "test_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} found, at least 1 accepted")
        if self.months > MOST_MONTHS:
            raise ValueError(f"months: {self.months} found, at most {MOST_MONTHS} accepted")
        if self.test_pairs > self.shops * self.items:
            raise ValueError(f"test_pairs: {self.test_pairs} found, at most {self.shops * self.items} accepted")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} found, at least 0 accepted")


class ShopColumns(NamedTuple):
    """The contents of all files.

    Attributes:
        sales: The rows of sales_train.csv.
        test: The pairs of test.csv.
        item_names: The name of each item, by id.
        item_categories: The category of each item, by id.
        category_names: The name of each category, by id.
        shop_names: The name of each shop, by id.
    """

    sales: SalesRows
    test: TestPairs
    item_names: list[str]
    item_categories: Int64[np.ndarray, " I"]
    category_names: list[str]
    shop_names: list[str]


class _Items(NamedTuple):
    """The items of the chain.

    Attributes:
        categories: The category of each item.
        prices: The price of each item in each month, rounded to the cent.
        demand: The relative demand for each item in each month. The last column is the month to forecast.
    """

    categories: Int64[np.ndarray, " I"]
    prices: Float64[np.ndarray, "I M"]
    demand: Float64[np.ndarray, "I M+1"]


class _Shops(NamedTuple):
    """The shops of the chain.

    Attributes:
        sizes: The relative size of each shop.
        opens: The first month in which each shop is open.
        closes: The month after the last one in which each shop is open.
    """

    sizes: Float64[np.ndarray, " S"]
    opens: Int64[np.ndarray, " S"]
    closes: Int64[np.ndarray, " S"]


def generate(world: ShopWorld) -> ShopColumns:
    """Draw the chain. Rows are in a random order within each month, test pairs are sorted by shop.

    >>> columns = generate(ShopWorld(rows=500, test_pairs=40))
    >>> len(columns.sales.counts), len(columns.test.ids)
    (500, 40)
    """
    items = _items(world)
    shops = _shops(world)
    return ShopColumns(
        sales=_sales(world, items, shops),
        test=_test_pairs(world, items, shops),
        item_names=[_item_name(item) for item in range(world.items)],
        item_categories=items.categories,
        category_names=[_category_name(category) for category in range(_category_count(world))],
        shop_names=[_shop_name(shop) for shop in range(world.shops)],
    )


def shop_world_history(world: ShopWorld) -> SalesHistory:
    """Return what `read_sales` returns for the files of the world, without writing them. `checksums` is empty.

    >>> shop_world_history(ShopWorld()).counts.shape[1]
    34
    """
    columns = generate(world)
    names = dict(enumerate(columns.item_names))
    notes = (f"generated: {world}",)
    return SalesHistory(*aggregate(columns.sales), world.rows, columns.test, item_names=names, notes=notes)


def write_shop_world(world: ShopWorld, folder: Path) -> None:
    """Write the six files of the competition into `folder`, which is created if necessary."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    columns = generate(world)
    _write_sales(folder / "sales_train.csv", columns.sales)

    ids = columns.test.ids.tolist()
    test_rows = zip(ids, columns.test.shop_ids.tolist(), columns.test.item_ids.tolist(), strict=True)
    item_rows = zip(columns.item_names, range(world.items), columns.item_categories.tolist(), strict=True)
    shop_rows = zip(columns.shop_names, range(world.shops), strict=True)
    category_rows = zip(columns.category_names, range(len(columns.category_names)), strict=True)
    submission_rows = ((row_id, 0.5) for row_id in ids)
    _write_csv(folder / "test.csv", ("ID", "shop_id", "item_id"), test_rows)
    _write_csv(folder / "items.csv", ("item_name", "item_id", "item_category_id"), item_rows)
    _write_csv(folder / "shops.csv", ("shop_name", "shop_id"), shop_rows)
    _write_csv(folder / "item_categories.csv", ("item_category_name", "item_category_id"), category_rows)
    _write_csv(folder / "sample_submission.csv", ("ID", "item_cnt_month"), submission_rows)


def _write_sales(path: Path, sales: SalesRows) -> None:
    """Write sales_train.csv in blocks of rows."""
    days, day_of_row = np.unique(sales.dates, return_inverse=True)
    day_texts = [day.strftime("%d.%m.%Y") for day in days.tolist()]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("date,date_block_num,shop_id,item_id,item_price,item_cnt_day\n")
        for start in range(0, len(day_of_row), _WRITE_ROWS):
            block = slice(start, start + _WRITE_ROWS)
            columns = [column[block].tolist() for column in (day_of_row, *sales[1:])]
            file.writelines(
                f"{day_texts[day]},{month},{shop},{item},{price},{count}.0\n"
                for day, month, shop, item, price, count in zip(*columns, strict=True)
            )


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    """Write a small CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _draws(world: ShopWorld, name: str) -> np.random.Generator:
    """Return the random stream of one part of the chain.

    Each part has its own stream, so that a change of one part does not change the others.
    """
    return np.random.default_rng([world.seed, zlib.crc32(name.encode())])


def _items(world: ShopWorld) -> _Items:
    """Draw the items with their prices and demand."""
    draws = _draws(world, "items")
    months = np.arange(world.months + 1)
    categories = draws.integers(0, _category_count(world), world.items)
    popularity = draws.lognormal(0.0, 1.2, world.items)
    releases = draws.integers(-24, world.months + 1, world.items)
    # Item 0 is the carrier bag that every shop always has, so that no month is without anything to sell.
    popularity[0] = 3.0
    releases[0] = -24
    age = months - releases[:, None]
    lifetimes = draws.lognormal(np.log(9), 0.6, world.items)
    lasting = draws.beta(1, 5, world.items)
    life = lasting[:, None] + (1 - lasting[:, None]) * np.exp(-np.maximum(age, 0) / lifetimes[:, None])

    base_prices = draws.lognormal(np.log(500), 0.9, world.items)
    drift = np.exp(np.cumsum(draws.normal(0.003, 0.02, age.shape), axis=1))
    discount = np.where(draws.random(age.shape) < 0.08, 0.75, 1.0) * (0.65 + 0.35 * np.exp(-np.maximum(age, 0) / 12))
    exact_prices = base_prices[:, None] * drift * discount
    # Prices above 50 end in 9, as in shops.
    prices = np.where(exact_prices > 50, np.floor(exact_prices / 10) * 10 + 9, np.round(exact_prices + 0.01, 2))

    taste_for_season = draws.uniform(0.6, 1.4, _category_count(world))[categories, None]
    season = np.where(months % 12 == 11, 0.6, 0.15 * np.cos(2 * np.pi * (months - 11) / 12))
    chain = draws.normal(0.0, 0.05, len(months)) - _FADING * months
    demand = popularity[:, None] * life * np.exp(taste_for_season * season + chain)
    demand *= (exact_prices / base_prices[:, None] / drift) ** -_ELASTICITY * (age >= 0)
    return _Items(categories, prices[:, :-1], demand)


def _shops(world: ShopWorld) -> _Shops:
    """Draw the sizes of the shops and the months in which they are open. Some open late, some close early."""
    draws = _draws(world, "shops")
    sizes = draws.lognormal(0.0, 0.5, world.shops)
    late, early = draws.random((2, world.shops)) < 0.12
    opens = np.where(late, draws.integers(0, max(1, world.months // 2), world.shops), 0)
    closes = np.where(early, draws.integers(world.months // 2 + 1, world.months + 1, world.shops), world.months + 1)
    return _Shops(sizes, opens, closes)


def _sales(world: ShopWorld, items: _Items, shops: _Shops) -> SalesRows:
    """Draw the rows of all shops, in a random order within each month."""
    draws = _draws(world, "sales")
    months = np.arange(world.months)
    trade = items.demand[:, :-1].sum(axis=0)
    is_open = (months >= shops.opens[:, None]) & (months < shops.closes[:, None])
    share = shops.sizes * (is_open * trade).sum(axis=1)
    rows_of_shop = draws.multinomial(world.rows, share / share.sum())
    parts = [
        _shop_sales(world, items, draws, is_open[shop], float(shops.sizes[shop]), rows)
        for shop, rows in enumerate(rows_of_shop.tolist())
    ]
    item_ids, block_nums, days = (np.concatenate(part) for part in zip(*parts, strict=True))
    shop_ids = np.repeat(np.arange(world.shops), rows_of_shop)

    order = draws.permutation(world.rows)
    order = order[np.argsort(block_nums[order], kind="stable")]
    item_ids = item_ids[order]
    block_nums = block_nums[order]
    days = days[order]
    shop_ids = shop_ids[order]

    counts = 1 + draws.negative_binomial(*_EXTRA, world.rows)
    counts[draws.random(world.rows) < _RETURNS] = -1
    card_discount = np.where(draws.random(world.rows) < 0.05, 0.9, 1.0)
    prices = np.round(items.prices[item_ids, block_nums] * card_discount, 2)
    dates = (FIRST_MONTH + block_nums).astype("datetime64[D]") + days
    return SalesRows(
        dates=dates,
        months=block_nums.astype(np.int32),
        shop_ids=shop_ids.astype(np.int32),
        item_ids=item_ids.astype(np.int32),
        prices=prices,
        counts=counts.astype(np.int32),
    )


def _shop_sales(
    world: ShopWorld, items: _Items, draws: np.random.Generator, is_open: np.ndarray, size: float, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the rows of one shop.

    Args:
        world: The size of the chain.
        items: The items of the chain.
        draws: The random stream of all sales.
        is_open: True in the months in which the shop is open, bool [M].
        size: The relative size of the shop.
        rows: The number of rows.

    Returns:
        The item, the month and the day (from 0) of each row.
    """
    taste = draws.lognormal(0.0, 0.5, _category_count(world))[items.categories]
    taste *= draws.lognormal(0.0, 0.8, world.items)
    in_range = draws.random(world.items) < min(0.9, 0.5 * size**0.5)
    in_range[0] = True
    rates = items.demand[:, :-1] * (taste * in_range)[:, None] * is_open
    rates *= draws.standard_gamma(_DISPERSION, rates.shape)
    ends = np.cumsum(rates)
    # Poisson counts with a fixed total follow a multinomial: the number of rows is exact, the distribution is kept.
    cells = np.sort(np.searchsorted(ends, draws.random(rows) * ends[-1], side="right"))
    item_ids, months = np.divmod(cells, world.months)

    # The steps are coprime to 28, 29, 30 and 31, so a pair's rows fall on different days until the month is full.
    first = np.searchsorted(cells, cells)
    steps = np.array([11, 13, 17, 19, 23])[draws.integers(0, 5, rows)][first]
    starts = draws.integers(0, 31, rows)[first]
    month_starts = (FIRST_MONTH + np.arange(world.months + 1)).astype("datetime64[D]")
    month_lengths = np.diff(month_starts).astype(np.int64)
    days = (starts + (np.arange(rows) - first) * steps) % month_lengths[months]
    return item_ids, months, days


def _test_pairs(world: ShopWorld, items: _Items, shops: _Shops) -> TestPairs:
    """Draw the pairs to forecast.

    As at Kaggle these are some of the shops that are still open, combined with items on sale in the month after the
    last.
    """
    draws = _draws(world, "test")
    shop_count = max(round(0.7 * world.shops), math.ceil(world.test_pairs / world.items))
    open_shops_first = np.lexsort((draws.random(world.shops), shops.closes <= world.months))
    chosen_shops = draws.permutation(open_shops_first[:shop_count])
    with np.errstate(divide="ignore"):
        log_demand = np.log(items.demand[:, -1])
    preference = log_demand + draws.gumbel(0.0, 1.0, world.items)
    chosen_items = draws.permutation(np.argsort(-preference)[: math.ceil(world.test_pairs / shop_count)])
    shop_ids = np.repeat(chosen_shops, len(chosen_items))[: world.test_pairs].astype(np.int32)
    item_ids = np.tile(chosen_items, shop_count)[: world.test_pairs].astype(np.int32)
    return TestPairs(np.arange(world.test_pairs, dtype=np.int32), shop_ids, item_ids)


def _category_count(world: ShopWorld) -> int:
    """Return the number of item categories."""
    return min(len(_SECTIONS) * len(_GENRES), 2 + world.items // 25)


def _item_name(item: int) -> str:
    """Return the name of an item. No two items have the same name."""
    if item == 0:
        return "Carrier bag"
    rest, adjective = divmod(item, len(_ADJECTIVES))
    volume, noun = divmod(rest, len(_NOUNS))
    title = f"{_ADJECTIVES[adjective]} {_NOUNS[noun]}"
    if volume:
        title += f", volume {volume + 1}"
    return f"{title} ({_FORMS[item % len(_FORMS)]})"


def _category_name(category: int) -> str:
    """Return the name of a category."""
    genre, section = divmod(category, len(_SECTIONS))
    return f"{_SECTIONS[section]} - {_GENRES[genre]}"


def _shop_name(shop: int) -> str:
    """Return the name of a shop: street, town, and a number if the chain has several shops there."""
    rest, street = divmod(shop, len(_STREETS))
    branch, town = divmod(rest, len(_TOWNS))
    name = f"{_STREETS[street]}, {_TOWNS[town]}"
    if branch:
        name += f" {branch + 1}"
    return name
