"""A small folder of sales files, and the equality of two histories that are read from such a folder."""

from pathlib import Path

import numpy as np

from nlstm_jax.data import sales

TRAIN = "date,date_block_num,shop_id,item_id,item_price,item_cnt_day"
ROWS = (
    "02.01.2013,0,5,30,99.5,2.0",
    "15.01.2013,0,5,30,100.5,1.0",
    "03.03.2013,2,5,30,80.0,-1.0",
    "28.02.2013,1,2,7,1e2,21.0",
)


def write(path: Path, *lines: str) -> None:
    path.write_bytes(("\n".join(lines) + "\n").encode())


def write_folder(folder: Path) -> Path:
    """Write a folder of all five files, small enough to check by hand."""
    write(folder / "sales_train.csv", TRAIN, *ROWS)
    write(folder / "test.csv", "ID,shop_id,item_id", "0,5,30", "1,5,7", "2,2,7")
    write(folder / "items.csv", "item_name,item_id,item_category_id", '"Red Lantern, ""film""",30,1', "Bag,7,0")
    write(folder / "shops.csv", "shop_name,shop_id", "Mill Lane,2", "Castle Arcade,5")
    write(folder / "item_categories.csv", "item_category_name,item_category_id", "Bags,0", "Films,1")
    return folder


def assert_same(one: sales.SalesHistory, other: sales.SalesHistory) -> None:
    for name in ("shop_ids", "item_ids", "counts", "prices"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second, err_msg=name)
    assert (one.rows, one.item_names) == (other.rows, other.item_names)
    assert (one.test is None) == (other.test is None)
    if one.test is not None and other.test is not None:
        for name in ("ids", "shop_ids", "item_ids"):
            assert getattr(one.test, name).dtype == np.int32
            np.testing.assert_array_equal(getattr(one.test, name), getattr(other.test, name), err_msg=name)
