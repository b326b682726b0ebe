"""Generated data, written in the file formats of the real ones.

    python -m experiments.generate --task=sales --out=world --shops=60 --items=22170 --rows=2935849 --pairs=214200
    python -m experiments.generate --task=poems --out=verse --poems=10000
    python -m experiments.generate --task=stocks --out=share --days=3000

A sales world is a folder with Kaggle's files; poems are a folder of quatrain files, words in place of characters;
stocks are a file share.csv in a folder. --config.data.path reads each.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command
from nlstm_jax.data.generators.prices import generate_prices
from nlstm_jax.data.generators.shop_world import ShopWorld, write_shop_world
from nlstm_jax.data.generators.verse import ENGLISH_VERSE
from nlstm_jax.data.poems import write_quatrains
from nlstm_jax.data.prices import write_prices
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import make_folder

_TASK = flags.DEFINE_enum("task", None, ["sales", "poems", "stocks"], "which data", required=True)
_OUT = command.define_path("out", None, "a new or empty folder", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "of the data", lower_bound=0)
_ROWS = flags.DEFINE_integer("rows", 40_000, "sales: rows of sales_train.csv", 1000, 10_000_000)
_SHOPS = flags.DEFINE_integer("shops", 10, "sales: shops", 1, 10_000)
_ITEMS = flags.DEFINE_integer("items", 300, "sales: items", 1, 1_000_000)
_PAIRS = flags.DEFINE_integer("pairs", 600, "sales: pairs of test.csv", 1, 1_000_000)
_POEMS = flags.DEFINE_integer("poems", 10_000, "poems to train on; a tenth as many validate, and test", 10, 10_000_000)
_DAYS = flags.DEFINE_integer("days", 3000, "stocks: days", 50, 1_000_000)


def main(arguments: list[str]) -> None:
    """Generate the data of a task, and write them to a folder."""
    command.reject_positional(arguments)
    out = Path(_OUT.value)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out: a new or empty folder expected, {out} is none")
    if _TASK.value == "sales":
        _write_sales(out)
    elif _TASK.value == "stocks":
        _write_stocks(out)
    else:
        _write_poems(out)
    names = sorted(path.name for path in out.iterdir())
    Console().print(f"{_TASK.value}: {', '.join(names)} in {out}", highlight=False)


def _write_sales(out: Path) -> None:
    """Write a shop world.

    Raises:
        ConfigError: The flags contradict each other. The folder is not made then.
    """
    try:
        world = ShopWorld(_SHOPS.value, _ITEMS.value, rows=_ROWS.value, test_pairs=_PAIRS.value, seed=_SEED.value)
    except ValueError as error:
        raise ConfigError(f"--{error}") from None
    make_folder(out, "--out")
    write_shop_world(world, out)


def _write_stocks(out: Path) -> None:
    """Write the prices of a share."""
    make_folder(out, "--out")
    write_prices(out / "share.csv", generate_prices(_DAYS.value, _SEED.value))


def _write_poems(out: Path) -> None:
    """Write three splits of poems."""
    make_folder(out, "--out")
    train_count = _POEMS.value
    other_count = train_count // 10
    poems = ENGLISH_VERSE.sample(train_count + 2 * other_count, seed=_SEED.value)
    test_start = train_count + other_count
    splits = {"train": poems[:train_count], "valid": poems[train_count:test_start], "test": poems[test_start:]}
    write_quatrains(out, splits)


if __name__ == "__main__":
    command.run(main)
