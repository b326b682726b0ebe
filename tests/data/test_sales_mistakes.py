"""Sales files with mistakes: each is told with its file, line and column, and oddities are noted."""

from pathlib import Path

import numpy as np
import pytest
from sales_files import ROWS, TRAIN, write, write_folder

from nlstm_jax.data import csv_columns, sales
from nlstm_jax.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path)


ID_RANGE = "a whole number from 0 to 9999999 accepted"
PRICE_RANGE = "a number from -1e+09 to 1e+09 accepted"
DAY = "a day of the calendar written dd.mm.yyyy or yyyy-mm-dd accepted"
TRAIN_NAMES = "date, date_block_num, shop_id, item_id, item_price, item_cnt_day"
WRONG_ROWS = {
    "text-in-a-price": ("03.01.2013,0,5,30,cheap,1", f"column item_price: 'cheap' found, {PRICE_RANGE}"),
    "empty-price": ("03.01.2013,0,5,30,,1", f"column item_price: '' found, {PRICE_RANGE}"),
    "nan-price": ("03.01.2013,0,5,30,nan,1", f"column item_price: 'nan' found, {PRICE_RANGE}"),
    "inf-price": ("03.01.2013,0,5,30,-inf,1", f"column item_price: '-inf' found, {PRICE_RANGE}"),
    "overflowing-price": ("03.01.2013,0,5,30,1e999,1", f"column item_price: '1e999' found, {PRICE_RANGE}"),
    "underscored-price": ("03.01.2013,0,5,30,1_0,1", f"column item_price: '1_0' found, {PRICE_RANGE}"),
    "two-points": ("03.01.2013,0,5,30,1.0.0,1", f"column item_price: '1.0.0' found, {PRICE_RANGE}"),
    "minus-inside": ("03.01.2013,0,5,30,1-0,1", f"column item_price: '1-0' found, {PRICE_RANGE}"),
    "nan-count": (
        "03.01.2013,0,5,30,9.0,NaN",
        "column item_cnt_day: 'NaN' found, a whole number from -1000000000 to 1000000000 accepted",
    ),
    "half-a-count": (
        "03.01.2013,0,5,30,9.0,0.5",
        "column item_cnt_day: '0.5' found, a whole number from -1000000000 to 1000000000 accepted",
    ),
    "text-in-a-shop": ("03.01.2013,0,Five,30,9.0,1", f"column shop_id: 'Five' found, {ID_RANGE}"),
    "negative-item": ("03.01.2013,0,5,-30,9.0,1", f"column item_id: '-30' found, {ID_RANGE}"),
    "huge-item": ("03.01.2013,0,5,99999999999999999999,9.0,1", f"column item_id: '{'9' * 20}' found, {ID_RANGE}"),
    "long-text": ("03.01.2013,0,5,30," + "x" * 99 + ",1", f"column item_price: '{'x' * 56}... found, {PRICE_RANGE}"),
    "impossible-day": ("31.02.2013,1,5,30,9.0,1", f"column date: '31.02.2013' found, {DAY}"),
    "impossible-month": ("01.13.2013,12,5,30,9.0,1", f"column date: '01.13.2013' found, {DAY}"),
    "half-an-iso-date": ("2013-01.03,0,5,30,9.0,1", f"column date: '2013-01.03' found, {DAY}"),
    "impossible-iso-day": ("2013-02-30,1,5,30,9.0,1", f"column date: '2013-02-30' found, {DAY}"),
    "long-date": ("03.01.20131,0,5,30,9.0,1", f"column date: '03.01.20131' found, {DAY}"),
    "slashed-date": ("03/01/2013,0,5,30,9.0,1", f"column date: '03/01/2013' found, {DAY}"),
    "short-date": ("3.1.2013,0,5,30,9.0,1", f"column date: '3.1.2013' found, {DAY}"),
    "day-decades-before-the-others": (
        "31.12.1912,0,5,30,9.0,1",
        "column date: '1912-12-31' found, days within 240 months accepted",
    ),
    "date-of-another-month": (
        "03.02.2014,1,5,30,9.0,1",
        "column date_block_num: '1' found, 13, the month of its date 2014-02-03 (0 is 2013-01) accepted",
    ),
    "negative-month": (
        "03.01.2013,-1,5,30,9.0,1",
        "column date_block_num: '-1' found, a whole number from 0 to 239 accepted",
    ),
    "too-few-fields": ("03.01.2013,0,5,30,9.0", f"5 fields found, 6 accepted ({TRAIN_NAMES})"),
    "too-many-fields": ("03.01.2013,0,5,30,9.0,1,", f"7 fields found, 6 accepted ({TRAIN_NAMES})"),
    "unclosed-quote": ('03.01.2013,0,5,30,9.0,"1', "unexpected end of data; comma-separated values accepted"),
    "unknown-shop": ("03.01.2013,0,6,30,9.0,1", "column shop_id: '6' found, one of shops.csv accepted"),
    "unknown-item": ("03.01.2013,0,5,31,9.0,1", "column item_id: '31' found, one of items.csv accepted"),
    "nul-byte": ("03.01.2013,0,5,30,9\0.0,1", "a NUL byte found, text accepted"),
}


@pytest.mark.parametrize("block", [48, 1 << 21])
@pytest.mark.parametrize(("row", "validation_error"), WRONG_ROWS.values(), ids=WRONG_ROWS.keys())
def test_wrong_rows(
    row: str, validation_error: str, block: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_columns, "_BLOCK_BYTES", block)
    path = folder / "sales_train.csv"
    write(path, TRAIN, *ROWS, row, ROWS[0])
    assert complaint_about(folder) == separated(path, 6, validation_error)


def separated(path: Path, line: int, validation_error: str) -> str:
    """Return an error message: a comma precedes an error about a column, a colon one about the entire line."""
    return f"{path} line {line}{',' if validation_error.startswith('column') else ':'} {validation_error}"


def complaint_about(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        sales.read_sales(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_not_utf8(folder: Path) -> None:
    path = folder / "items.csv"
    path.write_bytes("item_name,item_id,item_category_id\nBag,7,0\nФильм,30,1\n".encode("cp1251"))
    assert complaint_about(folder) == f"{path} line 3: byte 0xd4 found, text in UTF-8 accepted"


def test_the_line_is_the_files_even_after_empty_lines_and_quoted_newlines(folder: Path) -> None:
    path = folder / "items.csv"
    path.write_text('item_name,item_id,item_category_id\n"Bag\nof paper",7,0\n\nLantern,x,1\n')
    assert complaint_about(folder) == f"{path} line 5, column item_id: 'x' found, {ID_RANGE}"


@pytest.mark.parametrize(
    ("name", "content", "validation_error"),
    [
        ("sales_train.csv", "", ": an empty file found, lines of columns accepted"),
        ("sales_train.csv", TRAIN + "\n", " line 1: a header without rows found, at least one row accepted"),
        (
            "sales_train.csv",
            "date,date_block_num,shop_id,item_id,item_price\n03.01.2013,0,5,30,1\n",
            " line 1, column item_cnt_day: no such column found in 'date, date_block_num, shop_id, item_id, "
            f"item_price', each of {TRAIN_NAMES} once accepted",
        ),
        (
            "test.csv",
            "ID,shop_id,item_id,shop_id\n0,5,30,5\n",
            " line 1, column shop_id: twice found in 'ID, shop_id, item_id, shop_id', each of ID, shop_id, item_id "
            "once accepted",
        ),
        (
            "test.csv",
            "ID,shop_id,item_id\n0,5,30\n1,5,7\n0,2,7\n",
            " line 4, column ID: '0' found, each once (line 2 has it) accepted",
        ),
        (
            "test.csv",
            "ID,shop_id,item_id\n0,5,30\n1,5,7\n2,5,30\n",
            " line 4, column shop_id, item_id: '5, 30' found, each once (line 2 has it) accepted",
        ),
        (
            "test.csv",
            "ID,shop_id,item_id\n0,5,30\n1,9,7\n",
            " line 3, column shop_id: '9' found, one of shops.csv accepted",
        ),
        (
            "items.csv",
            "item_name,item_id,item_category_id\nLantern,30,1\nBag,7,0\nBox,7,0\n",
            " line 4, column item_id: '7' found, each once (line 3 has it) accepted",
        ),
        (
            "items.csv",
            "item_name,item_id,item_category_id\nLantern,30,9\nBag,7,0\n",
            " line 2, column item_category_id: '9' found, one of item_categories.csv accepted",
        ),
    ],
)
def test_wrong_files(name: str, content: str, validation_error: str, folder: Path) -> None:
    (folder / name).write_text(content)
    assert complaint_about(folder) == f"{folder / name}{validation_error}"


def test_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    assert complaint_about(tmp_path) == (
        f"{tmp_path / 'sales_train.csv'}: no such file found; a folder with sales_train.csv accepted, and test.csv in "
        "it to forecast (kaggle competitions download -c competitive-data-science-predict-future-sales, then unzip)"
    )


def test_oddities_are_noted(folder: Path) -> None:
    write(folder / "sales_train.csv", TRAIN, *ROWS, ROWS[1], ROWS[1], "16.01.2013,0,5,30,-1.0,2169")
    history = sales.read_sales(folder)
    assert history.notes[2:5] == (
        "sales_train.csv: 2 rows repeat another one exactly; each counts",
        "sales_train.csv: 1 rows with a price below zero, not in any mean price",
        "sales_train.csv: item_cnt_day from -1 to 2,169, item_price up to 100.50",
    )
    assert history.counts[1, 0] == 2 + 3 * 1 + 2169
    assert history.prices[1, 0] == np.float32((99.5 + 3 * 100.5) / 4)
