"""A generated chain of shops in the format of Kaggle's "Predict Future Sales", for runs without a download.

What there is to learn: a few items sell most, items come out and fade, December is the peak of each year, shops
differ in size and taste, trade shrinks slowly, a discount sells. What there is not: a row is one visit to the till,
drawn from a gamma-mixed rate, so that a pair's monthly counts are over-dispersed as negative binomials are.

Letters here: S shops, I items, M months, n rows.
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

from nlstm_jax.data.sales import FIRST_MONTH, MOST_MONTHS, SalesHistory, SalesRows, TestPairs, aggregate

_DISPERSION = 3.0  # shape of the gamma of a pair's month: its variance is mean + mean² / 3
_EXTRA = (0.3, 0.55)  # items beyond the first in one row: negative binomial, mean 0.25
_RETURNS = 0.0025
_ELASTICITY = 1.5  # a price 10 % down sells 17 % more
_FADING = 0.012  # of the chain's trade, a month

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
    """How large the chain is; `rows` and `test_pairs` are met exactly. The real file's size is

        ShopWorld(shops=60, items=22_170, rows=2_935_849, test_pairs=214_200)

    Raises:
        ValueError: a size below 1, more months than a file may have, more test pairs than shops × items, or a
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
    """All that the files hold; names are listed by id."""

    sales: SalesRows
    test: TestPairs
    item_names: list[str]
    item_categories: Int64[np.ndarray, " I"]
    category_names: list[str]
    shop_names: list[str]


class _Items(NamedTuple):
    categories: Int64[np.ndarray, " I"]
    prices: Float64[np.ndarray, "I M"]  # what a month asks, to the cent
    demand: Float64[np.ndarray, "I M+1"]  # relative; the last column is the month to forecast


class _Shops(NamedTuple):
    sizes: Float64[np.ndarray, " S"]
    opens: Int64[np.ndarray, " S"]
    closes: Int64[np.ndarray, " S"]


def generate(world: ShopWorld) -> ShopColumns:
    """Draws the chain: rows in a random order within each month, test pairs shop by shop.

    >>> columns = generate(ShopWorld(rows=500, test_pairs=40))
    >>> len(columns.sales.counts), len(columns.test.ids)
    (500, 40)
    """
    items, shops = _items(world), _shops(world)
    names = [_item_name(item) for item in range(world.items)]
    categories = [_category_name(category) for category in range(_category_count(world))]
    shop_names = [_shop_name(shop) for shop in range(world.shops)]
    sales, test = _sales(world, items, shops), _test_pairs(world, items, shops)
    return ShopColumns(sales, test, names, items.categories, categories, shop_names)


def shop_world_history(world: ShopWorld) -> SalesHistory:
    """What `read_sales` gives for the written world, without files; `checksums` is empty.

    >>> shop_world_history(ShopWorld()).counts.shape[1]
    34
    """
    columns = generate(world)
    names = dict(enumerate(columns.item_names))
    notes = (f"generated: {world}",)
    return SalesHistory(*aggregate(columns.sales), world.rows, columns.test, item_names=names, notes=notes)


def write_shop_world(world: ShopWorld, folder: Path) -> None:
    """Writes the six files of the competition into `folder`, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sales, test, item_names, item_categories, category_names, shop_names = generate(world)
    days, day_of_row = np.unique(sales.dates, return_inverse=True)
    day_texts = [day.strftime("%d.%m.%Y") for day in days.tolist()]
    with (folder / "sales_train.csv").open("w", encoding="utf-8", newline="") as file:
        file.write("date,date_block_num,shop_id,item_id,item_price,item_cnt_day\n")
        for start in range(0, world.rows, 1 << 17):
            block = slice(start, start + (1 << 17))
            columns = [column[block].tolist() for column in (day_of_row, *sales[1:])]
            file.writelines(
                f"{day_texts[day]},{month},{shop},{item},{price},{count}.0\n"
                for day, month, shop, item, price, count in zip(*columns, strict=True)
            )
    tests = zip(test.ids.tolist(), test.shop_ids.tolist(), test.item_ids.tolist(), strict=True)
    items = zip(item_names, range(world.items), item_categories.tolist(), strict=True)
    _write_csv(folder / "test.csv", ("ID", "shop_id", "item_id"), tests)
    _write_csv(folder / "items.csv", ("item_name", "item_id", "item_category_id"), items)
    _write_csv(folder / "shops.csv", ("shop_name", "shop_id"), zip(shop_names, range(world.shops), strict=True))
    _write_csv(
        folder / "item_categories.csv",
        ("item_category_name", "item_category_id"),
        zip(category_names, range(len(category_names)), strict=True),
    )
    _write_csv(folder / "sample_submission.csv", ("ID", "item_cnt_month"), ((row, 0.5) for row in test.ids.tolist()))


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _draws(world: ShopWorld, name: str) -> np.random.Generator:
    """A stream of its own for each part, so that a change of one part leaves the others as they were."""
    return np.random.default_rng([world.seed, zlib.crc32(name.encode())])


def _items(world: ShopWorld) -> _Items:
    draws = _draws(world, "items")
    months = np.arange(world.months + 1)
    categories = draws.integers(0, _category_count(world), world.items)
    popularity = draws.lognormal(0.0, 1.2, world.items)
    releases = draws.integers(-24, world.months + 1, world.items)
    # item 0 is the carrier bag that every shop always has: no month is without anything to sell
    popularity[0], releases[0] = 3.0, -24
    age = months - releases[:, None]
    lifetimes, lasting = draws.lognormal(np.log(9), 0.6, world.items), draws.beta(1, 5, world.items)
    life = lasting[:, None] + (1 - lasting[:, None]) * np.exp(-np.maximum(age, 0) / lifetimes[:, None])

    bases = draws.lognormal(np.log(500), 0.9, world.items)
    drift = np.exp(np.cumsum(draws.normal(0.003, 0.02, age.shape), axis=1))
    discount = np.where(draws.random(age.shape) < 0.08, 0.75, 1.0) * (0.65 + 0.35 * np.exp(-np.maximum(age, 0) / 12))
    asked = bases[:, None] * drift * discount
    prices = np.where(asked > 50, np.floor(asked / 10) * 10 + 9, np.round(asked + 0.01, 2))

    taste_for_season = draws.uniform(0.6, 1.4, _category_count(world))[categories, None]
    season = np.where(months % 12 == 11, 0.6, 0.15 * np.cos(2 * np.pi * (months - 11) / 12))
    chain = draws.normal(0.0, 0.05, len(months)) - _FADING * months
    demand = popularity[:, None] * life * np.exp(taste_for_season * season + chain)
    demand *= (asked / bases[:, None] / drift) ** -_ELASTICITY * (age >= 0)
    return _Items(categories, prices[:, :-1], demand)


def _shops(world: ShopWorld) -> _Shops:
    draws = _draws(world, "shops")
    sizes = draws.lognormal(0.0, 0.5, world.shops)
    late, early = draws.random((2, world.shops)) < 0.12
    opens = np.where(late, draws.integers(0, max(1, world.months // 2), world.shops), 0)
    closes = np.where(early, draws.integers(world.months // 2 + 1, world.months + 1, world.shops), world.months + 1)
    return _Shops(sizes, opens, closes)


def _sales(world: ShopWorld, items: _Items, shops: _Shops) -> SalesRows:
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
    item_ids, block_nums, days, shop_ids = item_ids[order], block_nums[order], days[order], shop_ids[order]
    counts = 1 + draws.negative_binomial(*_EXTRA, world.rows)
    counts[draws.random(world.rows) < _RETURNS] = -1
    card = np.where(draws.random(world.rows) < 0.05, 0.9, 1.0)
    prices = np.round(items.prices[item_ids, block_nums] * card, 2)
    dates = (FIRST_MONTH + block_nums).astype("datetime64[D]") + days
    block_nums, shop_ids, item_ids, counts = np.stack([block_nums, shop_ids, item_ids, counts]).astype(np.int32)
    return SalesRows(dates, block_nums, shop_ids, item_ids, prices, counts)


def _shop_sales(
    world: ShopWorld, items: _Items, draws: np.random.Generator, is_open: np.ndarray, size: float, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Item, month and day (from 0) of one shop's rows."""
    taste = draws.lognormal(0.0, 0.5, _category_count(world))[items.categories]
    taste *= draws.lognormal(0.0, 0.8, world.items)
    carried = draws.random(world.items) < min(0.9, 0.5 * size**0.5)
    carried[0] = True
    rates = items.demand[:, :-1] * (taste * carried)[:, None] * is_open
    rates *= draws.standard_gamma(_DISPERSION, rates.shape)
    ends = np.cumsum(rates)
    # given their total, Poisson counts are one multinomial draw: the number of rows is met, the law is kept
    cells = np.sort(np.searchsorted(ends, draws.random(rows) * ends[-1], side="right"))
    item_ids, months = np.divmod(cells, world.months)
    # steps coprime to 28, 29, 30 and 31: a pair's rows fall on different days until the month is full
    first = np.searchsorted(cells, cells)
    steps = np.array([11, 13, 17, 19, 23])[draws.integers(0, 5, rows)][first]
    starts = draws.integers(0, 31, rows)[first]
    lengths = np.diff((FIRST_MONTH + np.arange(world.months + 1)).astype("datetime64[D]")).astype(np.int64)
    days = (starts + (np.arange(rows) - first) * steps) % lengths[months]
    return item_ids, months, days


def _test_pairs(world: ShopWorld, items: _Items, shops: _Shops) -> TestPairs:
    """As at Kaggle: some of the shops still open, times the items on sale in the month after the last."""
    draws = _draws(world, "test")
    shop_count = max(round(0.7 * world.shops), math.ceil(world.test_pairs / world.items))
    closed_last = np.lexsort((draws.random(world.shops), shops.closes <= world.months))
    chosen_shops = draws.permutation(closed_last[:shop_count])
    with np.errstate(divide="ignore"):
        liking = np.log(items.demand[:, -1]) + draws.gumbel(0.0, 1.0, world.items)
    chosen_items = draws.permutation(np.argsort(-liking)[: math.ceil(world.test_pairs / shop_count)])
    shop_ids = np.repeat(chosen_shops, len(chosen_items))[: world.test_pairs].astype(np.int32)
    item_ids = np.tile(chosen_items, shop_count)[: world.test_pairs].astype(np.int32)
    return TestPairs(np.arange(world.test_pairs, dtype=np.int32), shop_ids, item_ids)


def _category_count(world: ShopWorld) -> int:
    return min(len(_SECTIONS) * len(_GENRES), 2 + world.items // 25)


def _item_name(item: int) -> str:
    if item == 0:
        return "Carrier bag"
    rest, adjective = divmod(item, len(_ADJECTIVES))
    volume, noun = divmod(rest, len(_NOUNS))
    title = f"{_ADJECTIVES[adjective]} {_NOUNS[noun]}"
    return f"{title}{f', volume {volume + 1}' if volume else ''} ({_FORMS[item % len(_FORMS)]})"


def _category_name(category: int) -> str:
    genre, section = divmod(category, len(_SECTIONS))
    return f"{_SECTIONS[section]} - {_GENRES[genre]}"


def _shop_name(shop: int) -> str:
    rest, street = divmod(shop, len(_STREETS))
    branch, town = divmod(rest, len(_TOWNS))
    return f"{_STREETS[street]}, {_TOWNS[town]}{f' {branch + 1}' if branch else ''}"
