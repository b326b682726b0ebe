"""`nlstm_jax.data.sales` against a plain loop over `csv`, on a generated chain of shops and on the real subset."""

import csv
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from requirements import real_data
from sales_files import ROWS, TRAIN, assert_same, write, write_folder

from nlstm_jax.data import csv_columns, csv_kinds, sales
from nlstm_jax.data.generators.shop_world import ShopWorld, write_shop_world


@pytest.fixture(scope="module")
def world_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_shop_world(ShopWorld(shops=6, items=60, rows=3_000, test_pairs=100), folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path)


@pytest.fixture(scope="module")
def real_folder() -> Path:
    return real_data("sales/sales_train.csv").parent


def plain_pivot(folder: Path) -> tuple[list[tuple[int, int]], np.ndarray, np.ndarray]:
    """Return pairs, counts and prices, computed by loops over dictionaries."""
    counts: dict = defaultdict(float)
    prices: dict = defaultdict(list)
    with (folder / "sales_train.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            day = datetime.strptime(row["date"], "%d.%m.%Y")
            month = (day.year - 2013) * 12 + day.month - 1
            assert month == int(row["date_block_num"])
            key = (int(row["shop_id"]), int(row["item_id"]), month)
            counts[key] += float(row["item_cnt_day"])
            prices[key].append(float(row["item_price"]))
    pairs = sorted({key[:2] for key in counts})
    length = 1 + max(key[2] for key in counts)
    count_table, price_table = np.zeros((2, len(pairs), length), np.float32)
    for row_number, pair in enumerate(pairs):
        price = 0.0
        for month in range(length):
            if (*pair, month) in counts:
                price = sum(prices[*pair, month]) / len(prices[*pair, month])
                count_table[row_number, month] = counts[*pair, month]
            price_table[row_number, month] = price
    return pairs, count_table, price_table


def assert_is_plain_pivot(history: sales.SalesHistory, folder: Path) -> None:
    pairs, counts, prices = plain_pivot(folder)
    assert list(zip(history.shop_ids.tolist(), history.item_ids.tolist(), strict=True)) == pairs
    np.testing.assert_array_equal(history.counts, counts)
    np.testing.assert_array_equal(history.prices, prices)


def test_four_rows_by_hand(folder: Path) -> None:
    history = sales.read_sales(folder)
    assert history.shop_ids.tolist() == [2, 5]
    assert history.item_ids.tolist() == [7, 30]
    assert history.counts.tolist() == [[0, 21, 0], [3, 0, -1]]
    assert history.prices.tolist() == [[0, 100, 100], [100, 100, 80]]
    assert history.rows == 4
    assert history.item_names == {30: 'Red Lantern, "film"', 7: "Bag"}
    assert history.test is not None
    assert history.test.ids.tolist() == [0, 1, 2]
    assert set(history.checksums) == {p.name for p in folder.iterdir()}
    assert history.notes == (
        "sales_train.csv: 4 rows; the complete public file has 2,935,849",
        "sales_train.csv: months 2013-01 to 2013-03",
        "sales_train.csv: item_cnt_day from -1 to 21, item_price up to 100.50",
        "test.csv: 2 of 3 pairs have a history",
    )


def test_generated_world_equals_a_plain_loop(world_folder: Path) -> None:
    assert_is_plain_pivot(sales.read_sales(world_folder), world_folder)


def test_real_subset(real_folder: Path) -> None:
    history = sales.read_sales(real_folder)
    assert history.rows == 275_993
    assert history.counts.shape == history.prices.shape == (4_440, 33)
    assert len(np.unique(history.shop_ids)) == 25
    assert len(np.unique(history.item_ids)) == 494
    assert len(history.item_names) == 22_170
    assert history.test is not None
    joined = sales.join_pairs(history, history.test.shop_ids, history.test.item_ids)
    assert joined.counts.shape == (214_200, 33)
    assert joined.has_history.sum() == 4_351
    assert_is_plain_pivot(history, real_folder)


def test_real_subset_has_the_known_errors_of_naive_forecasts(real_folder: Path) -> None:
    clipped = np.clip(sales.read_sales(real_folder).counts, 0, 20)
    errors = {}
    for month in (31, 32):
        errors[month, "zero"] = np.sqrt(np.mean(clipped[:, month] ** 2))
        errors[month, "last"] = np.sqrt(np.mean((clipped[:, month] - clipped[:, month - 1]) ** 2))
    known = {(31, "zero"): 4.538, (32, "zero"): 4.484, (31, "last"): 2.798, (32, "last"): 3.271}
    assert errors == pytest.approx(known, abs=5e-4)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda data: data.removesuffix(b"\n"), id="no-final-newline"),
        pytest.param(lambda data: b"\xef\xbb\xbf" + data, id="byte-order-mark"),
        pytest.param(lambda data: data.replace(b"\n", b"\n\n") + b"\n\n", id="empty-lines"),
        pytest.param(lambda data: re.sub(rb"[^,\n]+", rb'"\g<0>"', data), id="quotes"),
        pytest.param(lambda data: data.replace(b",", b", "), id="blanks"),
    ],
)
@pytest.mark.parametrize("block", [48, 1 << 21])
def test_forms_of_the_same_file(change, block: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sales.read_sales(folder)
    monkeypatch.setattr(csv_columns, "_BLOCK_BYTES", block)
    for name in ("sales_train.csv", "test.csv"):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))
    assert_same(sales.read_sales(folder), expected)


def test_columns_go_by_name_and_others_are_noted(folder: Path) -> None:
    expected = sales.read_sales(folder)
    path = folder / "sales_train.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    write(path, *(",".join([row[5], "note" if n == 0 else "é", *row[4::-1]]) for n, row in enumerate(rows)))
    history = sales.read_sales(folder)
    assert_same(history, expected)
    assert history.notes[0] == "sales_train.csv: columns not used: note"


def test_only_sales_train_is_required(folder: Path) -> None:
    expected = sales.read_sales(folder)
    for name in ("test.csv", "items.csv", "shops.csv", "item_categories.csv"):
        (folder / name).unlink()
    history = sales.read_sales(folder)
    assert history.test is None
    assert history.item_names == {}
    np.testing.assert_array_equal(history.counts, expected.counts)


def test_block_borders_change_nothing(world_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = sales.read_sales(world_folder)
    for name in ("sales_train.csv", "test.csv", "items.csv"):
        (tmp_path / name).write_bytes((world_folder / name).read_bytes())
    lines = (tmp_path / "sales_train.csv").read_text().splitlines()
    lines[1_500] = ",".join(f'"{field}"' for field in lines[1_500].split(","))  # from here on, csv does the cutting
    write(tmp_path / "sales_train.csv", *lines)
    monkeypatch.setattr(csv_columns, "_BLOCK_BYTES", 997)
    monkeypatch.setattr(csv_columns, "_BLOCK_ROWS", 13)
    assert_same(sales.read_sales(tmp_path), expected)


def test_numbers_are_the_doubles_that_python_reads(tmp_path: Path) -> None:
    draw = random.Random(0)
    texts = [
        "0",
        "-0.0",
        ".5",
        "7.",
        "+3",
        "1e-3",
        " 12",
        "999999999999999",
        "0.1234567890123456789",
        "-698.833333333",
    ]
    texts += [f"{draw.uniform(-1e5, 1e5):.{draw.randrange(16)}f}" for _ in range(2_000)]
    path = tmp_path / "numbers.csv"
    write(path, "x,y", *(f"{text},{text}" for text in texts))
    table = csv_columns.read_columns(path, {"y": csv_kinds.DecimalColumn(-1e16, 1e16)})
    assert table.columns["y"].tolist() == [float(text) for text in texts]
    assert table.ignored == ("x",)


def test_dates_are_those_of_the_calendar(tmp_path: Path) -> None:
    path = tmp_path / "dates.csv"
    kind = csv_kinds.DateColumn()
    texts = [
        f"{day:02}.{month:02}.{year}" for year in (1900, 2000, 2013, 2016) for month in range(14) for day in range(33)
    ]
    path.write_text("date\n" + "\n".join(texts) + "\n")
    fields = csv_kinds.Fields(path.read_bytes(), 5 + 11 * np.arange(len(texts)), 15 + 11 * np.arange(len(texts)))
    dates, wrong = kind.parse(fields)
    for text, date, is_wrong in zip(texts, dates.tolist(), wrong.tolist(), strict=True):
        try:
            expected = datetime.strptime(text, "%d.%m.%Y").date()
        except ValueError:
            expected = None
        assert (None if is_wrong else date) == expected, text


def redated(row: str, years: int, blocks: int) -> str:
    """Return a row of sales_train.csv that is moved by years, with another number for its month."""
    day, block, *rest = row.split(",")
    moved = f"{day[:6]}{int(day[6:]) + years}"
    return ",".join([moved, str(int(block) + blocks), *rest])


@pytest.mark.parametrize("blocks", [0, 108], ids=["numbered from 0", "numbered from January 2013"])
def test_the_months_begin_with_the_first_that_has_data(blocks: int, folder: Path) -> None:
    expected = sales.read_sales(folder)
    write(folder / "sales_train.csv", TRAIN, *(redated(row, 9, blocks) for row in ROWS))
    history = sales.read_sales(folder)
    assert_same(history, expected)
    assert history.notes[1] == "sales_train.csv: months 2022-01 to 2022-03"


def test_iso_dates_say_the_same(folder: Path) -> None:
    expected = sales.read_sales(folder)
    write(folder / "sales_train.csv", TRAIN, *(f"{row[6:10]}-{row[3:5]}-{row[:2]}{row[10:]}" for row in ROWS))
    assert_same(sales.read_sales(folder), expected)


def test_the_number_of_the_month_and_the_price_may_be_missing(folder: Path) -> None:
    expected = sales.read_sales(folder)
    rows = [line.split(",") for line in (TRAIN, *ROWS)]
    write(folder / "sales_train.csv", *(",".join([row[0], *row[2:4], row[5]]) for row in rows))
    history = sales.read_sales(folder)
    np.testing.assert_array_equal(history.counts, expected.counts)
    assert (expected.has_prices, history.has_prices) == (True, False)
    assert not history.prices.any()
    assert history.notes[2] == "sales_train.csv: item_cnt_day from -1 to 21, no column item_price"


def test_ids_may_be_text(folder: Path, tmp_path: Path) -> None:
    """Text ids stand for the same pairs as numbers, in the same files."""
    expected = sales.read_sales(folder)
    named = tmp_path / "named"
    named.mkdir()
    for name, columns in (("sales_train.csv", (2, 3)), ("test.csv", (1, 2)), ("items.csv", (None, -2))):
        header, *rows = csv.reader((folder / name).read_text("utf-8").splitlines())
        for row in rows:
            for prefix, column in zip(("shop ", "SKU-"), columns, strict=True):
                if column is not None:
                    row[column] = f"{prefix}{int(row[column]):02}"
        with (named / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    history = sales.read_sales(named, tmp_path / "cache")
    np.testing.assert_array_equal(history.counts, expected.counts)
    assert history.text_item_ids == ("SKU-07", "SKU-30")
    assert history.item_names == {0: "Bag", 1: 'Red Lantern, "film"'}
    assert history.test is not None
    joined = sales.join_pairs(history, history.test.shop_ids, history.test.item_ids)
    assert joined.has_history.tolist() == [True, False, True]
    cached = sales.read_sales(named, tmp_path / "cache")
    assert (cached.text_item_ids, cached.item_names) == (history.text_item_ids, history.item_names)


def test_months_without_a_row_are_told(folder: Path) -> None:
    write(folder / "sales_train.csv", TRAIN, ROWS[0], "03.06.2013,5,5,30,80.0,1.0")
    note = "sales_train.csv: months 2013-01 to 2013-06, 4 of them without a row, which count as months without sales"
    assert sales.read_sales(folder).notes[1] == note


def test_cache_gives_what_reading_gives(world_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = sales.read_sales(world_folder)
    filled = sales.read_sales(world_folder, tmp_path / "cache")
    monkeypatch.setattr(sales, "_read_folder", lambda *_: pytest.fail("the files were read in spite of the cache"))
    cached = sales.read_sales(world_folder, tmp_path / "cache")
    for history in (filled, cached):
        assert_same(history, fresh)
        assert (history.checksums, history.notes) == (fresh.checksums, fresh.notes)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]


def test_cache_belongs_to_the_files_content(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = sales.read_sales(folder, cache)
    write(folder / "sales_train.csv", TRAIN, *ROWS, ROWS[1])
    assert sales.read_sales(folder, cache).rows == before.rows + 1
    (folder / "test.csv").unlink()
    assert sales.read_sales(folder, cache).test is None
    assert sales.read_sales(folder, cache).test is None
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "byte", "pickle"])
def test_broken_cache_is_made_again(damage: str, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fresh = sales.read_sales(folder, cache)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    place = whole.index(fresh.counts.tobytes())
    path.write_bytes(
        {
            "empty": b"",
            "cut": whole[: len(whole) // 2],
            "text": b"not an archive at all",
            "byte": whole[:place] + b"\x7f" + whole[place + 1 :],
            "pickle": whole.replace(b"'<f4'", b"'|O' ", 1),
        }[damage]
    )
    assert_same(sales.read_sales(folder, cache), fresh)
    assert path.read_bytes() == whole


def test_cache_that_cannot_be_written_is_noted(folder: Path) -> None:
    cache = folder / "items.csv"
    history = sales.read_sales(folder, cache)
    assert history.notes[-1] == f"cache {cache} not written: File exists"
    assert_same(history, sales.read_sales(folder))


def test_join_keeps_the_order_asked_for(folder: Path) -> None:
    history = sales.read_sales(folder)
    joined = sales.join_pairs(history, np.array([5, 9, 2, 2, 5]), np.array([30, 99, 7, 30, 30]))
    assert joined.has_history.tolist() == [True, False, True, False, True]
    assert joined.counts.tolist() == [[3, 0, -1], [0, 0, 0], [0, 21, 0], [0, 0, 0], [3, 0, -1]]
    assert joined.prices.tolist() == [[100, 100, 80], [0, 0, 0], [0, 100, 100], [0, 0, 0], [100, 100, 80]]
    assert history.counts.tolist() == [[0, 21, 0], [3, 0, -1]]


def test_submission(tmp_path: Path) -> None:
    path = tmp_path / "forecast.csv"
    sales.write_submission(path, np.array([4, 2, 3, 9]), np.array([-0.5, 1 / 3, 300.0, np.inf], np.float32))
    assert path.read_text() == "ID,item_cnt_month\n4,0.000000\n2,0.333333\n3,20.000000\n9,20.000000\n"
    assert list(tmp_path.iterdir()) == [path]


def test_submission_refuses_what_is_no_prediction(tmp_path: Path) -> None:
    path = tmp_path / "forecast.csv"
    with pytest.raises(ValueError, match=r"^prediction for ID 7: nan found, a number accepted$"):
        sales.write_submission(path, np.array([4, 7]), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"^predictions of shape \(1,\) found, one for each of \(2,\) IDs accepted$"):
        sales.write_submission(path, np.array([4, 7]), np.array([1.0]))
    assert not path.exists()


@pytest.mark.slow
def test_full_size_within_20_seconds_and_1_gib(tmp_path: Path) -> None:
    write_shop_world(ShopWorld(shops=60, items=22_170, rows=2_935_849, test_pairs=214_200), tmp_path)
    program = (
        f"from pathlib import Path; from nlstm_jax.data.sales import read_sales; read_sales(Path({str(tmp_path)!r})); "
        "print(Path('/proc/self/status').read_text())"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert time.perf_counter() - start < 20
    # Of the program alone; rusage would count the process that it was forked from, too.
    (peak,) = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("VmHWM"))
    assert peak < 1 << 20
