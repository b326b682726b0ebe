"""Daily prices from files of many forms: the accepted forms, and the errors that name a line."""

import re
from pathlib import Path

import numpy as np
import pytest
from requirements import real_data

from nlstm_jax.data.generators.prices import generate_prices
from nlstm_jax.data.prices import read_prices, write_prices
from nlstm_jax.errors import ConfigError, DataError

ROWS = ("2020-01-02,10,12,9,11,100", "2020-01-03,11,11.5,10,10.5,0", "2020-01-06,10.5,13,10.5,13,300.5")
VALUES = [[10, 12, 9, 11, 100], [11, 11.5, 10, 10.5, 0], [10.5, 13, 10.5, 13, 300.5]]
DATES = np.array(["2020-01-02", "2020-01-03", "2020-01-06"], "datetime64[D]")
HEADER = "date,open,high,low,close,volume"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "prices.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def days(*dates: str) -> list[str]:
    return [f"{date},10,12,9,11,100" for date in dates]


@pytest.mark.parametrize(
    ("lines", "columns", "date_format"),
    [
        ([HEADER, *ROWS], "", ""),
        (["Date,Open,HIGH,low,Close,Volume", *ROWS], "", ""),
        (list(ROWS), "", ""),
        ([row.replace("-", "").replace(",", ",0,", 1) for row in ROWS], "", ""),
        (["day,open,high,low,adj,vol", *ROWS], "date=day,close=adj,volume=vol", ""),
        ([f"{row},x" for row in ROWS], "date,open,high,low,close,volume,ticker", ""),
        ([HEADER, *ROWS[::-1]], "", ""),
        (
            [HEADER, *(f"{row[8:10]}.{row[5:7]}.{row[:4]}{row[10:]}" for row in ROWS)],
            "",
            "%d.%m.%Y",
        ),
        ([line.replace(",", ";") for line in (HEADER, *ROWS)], "", ""),
        ([line.replace(",", "\t") for line in ROWS], "", ""),
        ([HEADER, *ROWS[:1], "2020-01-03,null,null,null,null,null", "2020-01-03,,,,,", *ROWS[1:]], "", ""),
        (
            ["Price,Open,High,Low,Close,Volume", "Ticker,X,X,X,X,X", "Date,,,,,", *ROWS],
            "",
            "",
        ),
        ([HEADER, *(row.replace(",", " 00:00:00-05:00,", 1) for row in ROWS)], "", ""),
        (
            ["Date,Open,High,Low,Close/Last,Volume", *(re.sub(r",(?=[\d.]+,)", ",$", row) for row in ROWS)],
            "close=Close/Last",
            "",
        ),
        ([HEADER, *ROWS[:2], "2020-01-06,10.5,13,10.5,13,0.3005K"], "", ""),
    ],
    ids=[
        "usual",
        "case",
        "no header",
        "time of day",
        "renamed",
        "all named",
        "descending",
        "date format",
        "semicolon",
        "tab",
        "empty rows",
        "three header lines",
        "time stamp",
        "dollars",
        "thousands",
    ],
)
def test_files_of_many_makes_say_the_same(tmp_path: Path, lines: list[str], columns: str, date_format: str) -> None:
    prices = read_prices(write(tmp_path, *lines), columns, date_format)
    np.testing.assert_array_equal(prices.dates, DATES)
    np.testing.assert_array_equal(prices.values, VALUES)


def test_what_was_made_of_a_file_is_told(tmp_path: Path) -> None:
    lines = ["date,x,open,high,low,close,volume", *(row.replace(",", ",7,", 1) for row in ROWS[::-1])]
    prices = read_prices(write(tmp_path, *lines))
    assert prices.notes == ("columns passed over: x", "rows go back in time: they are read in reverse")


def test_of_two_columns_that_differ_in_case_the_exact_one_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},Close", *(f"{row},{row.split(',')[1]}" for row in ROWS))
    prices = read_prices(path)
    np.testing.assert_array_equal(prices.values, VALUES)
    assert prices.notes == ("columns passed over: Close",)
    path = write(tmp_path, HEADER.replace("close", "Close,CLOSE"), *(f"{row},1" for row in ROWS))
    with pytest.raises(DataError, match=r"line 1, column close: Close and CLOSE found, one of them accepted$"):
        read_prices(path)


def test_an_adjusted_close_adjusts_all_prices_of_its_day(tmp_path: Path) -> None:
    lines = ["Date,Open,High,Low,Close,Adj Close,Volume", *(row.replace(",11,100", ",11,5.5,100") for row in ROWS[:1])]
    lines += [f"{row.rpartition(',')[0]},{row.split(',')[4]},{row.rpartition(',')[2]}" for row in ROWS[1:]]
    prices = read_prices(write(tmp_path, *lines), "adjusted=Adj Close")
    np.testing.assert_array_equal(prices.values, [[5, 6, 4.5, 5.5, 100], *VALUES[1:]])
    plain = read_prices(write(tmp_path, *lines))
    np.testing.assert_array_equal(plain.values, VALUES)
    assert plain.notes == (
        "columns passed over: Adj Close",
        "prices are not adjusted; --config.data.columns='adjusted=Adj Close' adjusts them",
    )
    bare = read_prices(write(tmp_path, *lines[1:]), "date,open,high,low,close,adjusted,volume")
    np.testing.assert_array_equal(bare.values, prices.values)


def test_generated_prices_are_read_back_as_written(tmp_path: Path) -> None:
    prices = generate_prices(300, seed=1)
    write_prices(tmp_path / "walk.csv", prices)
    read = read_prices(tmp_path / "walk.csv")
    np.testing.assert_array_equal(read.dates, prices.dates)
    np.testing.assert_allclose(read.values, prices.values, atol=5.1e-7)


def test_a_rounding_error_between_prices_of_a_day_is_accepted(tmp_path: Path) -> None:
    """Adjusted prices are computed, and may differ from their high in the last digit."""
    prices = read_prices(write(tmp_path, HEADER, "2020-01-02,0.1,0.3,0.05,0.30000000000000004,100", *ROWS[1:2]))
    assert prices.values[0].tolist() == [0.1, 0.3, 0.05, 0.30000000000000004, 100.0]


@pytest.mark.parametrize(
    ("lines", "validation_error"),
    [
        ([HEADER, *days("2020-01-02", "2020-01-02")], "line 3, column date: '2020-01-02' found, a date later than"),
        ([HEADER, *days("2020-01-02", "2020-01-06", "2020-01-03")], "line 4, column date: '2020-01-03' found, a date"),
        (
            [HEADER, *days("2020-01-08", "2020-01-07", "2020-01-03", "2020-01-06")],
            "line 5, column date: '2020-01-06' found, a date earlier than that of the row before, 2020-01-03,",
        ),
        ([HEADER, *days("2020-02-30")], "line 2, column date: '2020-02-30' found, a date written %Y-%m-%d or %Y%m%d"),
        ([HEADER, "2020-01-02,10,12,9,null,100"], "line 2, column close: 'null' found, a number from 1e-12 to 1e+15"),
        ([HEADER, "2020-01-02,10,12,9,NaN,100"], "line 2, column close: 'NaN' found, a number from 1e-12 to 1e+15"),
        ([HEADER, "2020-01-02,10,12,9,,100"], "line 2, column close: '' found, a number from 1e-12 to 1e+15 accepted"),
        (
            [HEADER, "2020-01-02,10,12,0,11,100"],
            "line 2, column low: '0' found, a number from 1e-12 to 1e+15 accepted",
        ),
        ([HEADER, "2020-01-02,10,12,9,11,-1"], "line 2, column volume: '-1' found, a number from 0 to 1e+15 accepted"),
        (
            [HEADER, "2020-01-02,10,11,9,12,100"],
            "line 2, column high: '11.0' found, a price not below the day's close, 12.0, accepted",
        ),
        (
            [HEADER, "2020-01-02,8,12,9,11,100"],
            "line 2, column low: '9.0' found, a price not above the day's open, 8.0, accepted",
        ),
        (["date,open,high,low,last,volume", ROWS[0]], "line 1, column close: no such column found in"),
        ([HEADER, "2020-01-02,10,12,9,11"], "line 2: 5 fields found, 6 accepted"),
    ],
)
def test_rows_that_do_not_serve_are_named(tmp_path: Path, lines: list[str], validation_error: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(DataError) as caught:
        read_prices(path)
    assert str(caught.value).startswith(f"{path} {validation_error}")


@pytest.mark.parametrize(
    ("lines", "columns", "validation_error"),
    [
        (
            ["2020-01-02,10,12,9,11"],
            "",
            "has 5 columns: their names in order, with date, open, high, low, close, volume",
        ),
        ([*ROWS], "close=adj", "has no header: the names of all its columns expected"),
        (
            [HEADER, *ROWS],
            "price=close",
            "date, open, high, low, close, volume = a column expected, found 'price=close'",
        ),
        ([HEADER, *ROWS], "close=low,open=low", "each column once expected, found 'close=low,open=low'"),
        ([HEADER, *ROWS], "close=a,close=b", "each column once expected, found 'close=a,close=b'"),
        ([HEADER, *ROWS], HEADER, "has a header, date, open, high, low, close, volume: close=NAME,… expected"),
        ([*ROWS], "date,open,high,low,close", "has 6 columns: their names in order"),
    ],
)
def test_columns_that_are_not_told_rightly_are_refused(
    tmp_path: Path, lines: list[str], columns: str, validation_error: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_prices(write(tmp_path, *lines), columns)
    assert str(caught.value).startswith("config.data.columns: ")
    assert validation_error in str(caught.value)


@pytest.mark.parametrize("content", ["", None], ids=["empty", "missing"])
def test_no_file_is_told(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "prices.csv"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=r"prices\.csv: "):
        read_prices(path)


def test_a_real_file_is_read_whole() -> None:
    prices = read_prices(real_data("stocks/table_a.csv"))
    assert prices.values.shape == (3452, 5)
    assert (str(prices.dates[0]), str(prices.dates[-1])) == ("1999-11-18", "2013-08-09")
    np.testing.assert_array_equal(prices.values[0], [42.2076, 46.382, 37.4581, 39.1928, 43981812.87])


def test_numbers_with_separators_are_the_same_numbers(tmp_path: Path) -> None:
    plain = read_prices(write(tmp_path, HEADER, "2020-01-02,1234.5,1300,1200,1250,1250000"))
    people = read_prices(write(tmp_path, HEADER, '2020-01-02,"1,234.5","1,300.00","1,200","1,250",1.25M'))
    np.testing.assert_array_equal(people.values, plain.values)


def test_what_is_missing_is_filled_and_told(tmp_path: Path) -> None:
    lines = [HEADER, "2020-01-02,0,12,9,11,-", "2020-01-03,null,null,null,null,null", ROWS[2]]
    prices = read_prices(write(tmp_path, *lines))
    np.testing.assert_array_equal(prices.values, [[11, 12, 9, 11, 0], VALUES[2]])
    assert prices.notes == (
        "left out: 1 row without prices, line 3 on",
        "1 opens of 0 are read as the day's close",
        "1 missing volumes are read as 0",
    )
    prices = read_prices(write(tmp_path, HEADER.removesuffix(",volume"), *(row.rpartition(",")[0] for row in ROWS)))
    np.testing.assert_array_equal(prices.values[:, :4], np.array(VALUES)[:, :4])
    assert prices.notes == ("no column volume: the volume of each day is read as 0",)


def test_several_shares_in_a_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, f"Ticker,{HEADER}", f"AA,{ROWS[0]}", f"AA,{ROWS[1]}", f"BB,{ROWS[2]}")
    with pytest.raises(DataError, match=r"2 shares found, AA, BB; one in a file accepted$"):
        read_prices(path)
    path = write(tmp_path, "Price,Close,Close,Open,Open", "Ticker,AA,BB,AA,BB", "Date,,,,", "2020-01-02,1,1,1,1")
    with pytest.raises(DataError, match=r"2 shares found, AA, BB; one in a file accepted$"):
        read_prices(path)


def test_the_line_of_a_fault_is_the_files_under_three_header_lines(tmp_path: Path) -> None:
    lines = ["Price,Open,High,Low,Close,Volume", "Ticker,X,X,X,X,X", "Date,,,,,", ROWS[0], "2020-01-03,11,x,10,10.5,0"]
    with pytest.raises(DataError, match=r"line 5, column High: 'x' found, a number from 1e-12 to 1e\+15 accepted$"):
        read_prices(write(tmp_path, *lines))


def test_the_refusal_of_a_name_says_which_setting_serves(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER.replace("close", "Last"), *ROWS)
    with pytest.raises(DataError, match=r"--config\.data\.columns=close=… names the one that has the close$"):
        read_prices(path)
