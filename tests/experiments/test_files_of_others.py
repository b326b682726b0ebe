"""Files as people have them, each from the script that reads it to the end: read with the right values, or told.

Every file stands for a kind that was once refused, or misread without a word.
"""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from requirements import requires

from nlstm_jax.adapters import weights

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(5)
TEXT = "--config=configs/ptb.py:smoke"
POEMS = "--config=configs/poems.py:smoke"
STOCKS = "--config=configs/stocks.py:smoke,variant=sequence"
SALES = "--config=configs/sales.py:smoke"
CLASSIFY = "--config=configs/classify.py:smoke"


def write_texts(folder: Path, name: str, text: str, encoding: str = "utf-8") -> str:
    """Write the same text as the three splits, and return the setting that names their folder."""
    folder.mkdir(exist_ok=True)
    for split in ("train", "valid", "test"):
        (folder / name.format(split=split)).write_text(text, encoding)
    return f"--config.data.path={folder}"


def write_prices(path: Path, *, factor: float = 1.0, gap: int = 0, flat: bool = False, adjusted: bool = False) -> str:
    """Write 420 days of prices, and return the setting that names the file.

    Args:
        path: The file.
        factor: The factor between a close and its adjusted close before day 300.
        gap: The number of days that are missing after day 300.
        flat: True if the close does not move from day 280 on.
        adjusted: True to write the adjusted close as well.
    """
    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 420)))
    if flat:
        close[280:] = close[280]
    rows = ["Date,Open,High,Low,Close,Adj Close,Volume" if adjusted else "Date,Open,High,Low,Close,Volume"]
    for number, value in enumerate(close):
        late = number >= 300
        day = date(2018, 1, 1) + timedelta(days=number + gap * late)
        price = value if late else factor * value
        prices = [price] * 4
        if adjusted:
            prices.append(value)
        rows.append(",".join([str(day), *(f"{price:.6f}" for price in prices), "1000"]))
    path.write_text("\n".join(rows), "utf-8")
    return f"--config.data.path={path}"


def write_sales(folder: Path, months: int, year: int) -> str:
    """Write months of sales of 4 pairs from January of a year, and return the setting that names their folder."""
    folder.mkdir()
    rows = ["date,date_block_num,shop_id,item_id,item_price,item_cnt_day"]
    for month in range(months):
        day = f"05.{month % 12 + 1:02}.{year + month // 12}"
        rows += [f"{day},{month},{shop},7,10.0,{RNG.integers(1, 9)}.0" for shop in range(4)]
    (folder / "sales_train.csv").write_text("\n".join(rows), "utf-8")
    return f"--config.data.path={folder}"


def write_poems(path: Path, forms: int) -> str:
    """Write poems of characters without blanks, in one or two forms, and return the setting that names the file."""
    poems = []
    for number in range(120):
        length = 5 + 2 * (number % forms)
        poems.append("\n".join("".join(RNG.choice(list("寅卯乙壬午癸丑"), length)) for _ in range(4)))
    path.write_text("\n\n".join(poems), "utf-8")
    return f"--config.data.path={path}"


@pytest.fixture(scope="module")
def ended(run_scripts, tmp_path_factory):
    """Return the folder of all files, and the result of each script: training first, then what reads its runs."""
    requires("sklearn")
    folder = tmp_path_factory.mktemp("files")
    characters = " ".join("the_cat_sat_on_the_mat") + "\n"
    simple = folder / "simple_examples"
    write_texts(simple, "ptb.char.{split}.txt", 60 * characters)
    words = " ".join(f"w{number}" for number in RNG.integers(0, 60, 600))
    split = write_prices(folder / "split.csv", factor=4, adjusted=True)
    adjusted = "--config.data.columns=adjusted=Adj Close"
    gap = write_prices(folder / "gap.csv", gap=40)
    sales = {year: write_sales(folder / f"sales{year}", 14, year) for year in (2013, 2022)}
    months = "--config.data.window=6"
    lines = [f"{' '.join(RNG.choice(list('abcd'), 6))},{'AB'[number % 2]}" for number in range(200)]
    (folder / "seq.csv").write_text("\n".join(["Sequence,Class", *lines]), "utf-8")
    (folder / "new.csv").write_text("Sequence\na b c\n", "utf-8")

    def train(name: str, *options: str) -> list[str]:
        return ["train", *options, f"--workdir={folder / 'runs' / name}"]

    trained = run_scripts(
        {
            "bom": train("bom", TEXT, write_texts(folder / "bom", "{split}.txt", 150 * "the cat\n", "utf-8-sig")),
            "ptb_char": train("ptb_char", TEXT, write_texts(folder / "char", "{split}.txt", 60 * characters)),
            "ptb_char as characters": train(
                "none", TEXT, f"--config.data.path={folder / 'char'}", "--config.data.unit=characters"
            ),
            "simple": train("none", TEXT, write_texts(simple, "ptb.{split}.txt", 99 * "a b c d e\n")),
            "simple words": train(
                "simple", TEXT, f"--config.data.path={simple}", "--config.data.files=ptb.{split}.txt"
            ),
            "text8": train(
                "text8", TEXT, write_texts(folder / "text8", "t.{split}.txt", words), "--config.data.vocabulary=20"
            ),
            "one": train("one", POEMS, write_poems(folder / "one.txt", 1), "--config.train.batch_size=16"),
            "two": train("two", POEMS, write_poems(folder / "two.txt", 2), "--config.train.batch_size=16"),
            "flat": train("flat", STOCKS, write_prices(folder / "flat.csv", flat=True)),
            "split": train("split", STOCKS, split, adjusted),
            "gap": train("gap", STOCKS, gap, "--config.data.window=40"),
            "sales 2013": train("sales2013", SALES, sales[2013], months),
            "sales 2022": train("sales2022", SALES, sales[2022], months),
            "seq": train("seq", CLASSIFY, f"--config.data.path={folder / 'seq.csv'}"),
        }
    )
    runs = folder / "runs"
    read = run_scripts(
        {
            "text8 sample": ["sample", f"--workdir={runs / 'text8'}", "--length=5"],
            "one prompt": ["sample", f"--workdir={runs / 'one'}", "--prompt=寅卯", "--count=1"],
            "one blanks": ["sample", f"--workdir={runs / 'one'}", "--prompt=寅 卯", "--count=1"],
            "two prompt": ["sample", f"--workdir={runs / 'two'}", "--prompt=寅卯", "--count=1"],
            "two blanks": ["sample", f"--workdir={runs / 'two'}", "--prompt=寅 卯", "--count=1"],
            "split baselines": ["baselines", STOCKS, split, adjusted, str(runs / "split")],
            "split raw": ["baselines", STOCKS, split, str(runs / "split")],
            "gap baselines": ["baselines", STOCKS, gap, "--config.data.window=40", str(runs / "gap")],
            "gap other": ["baselines", STOCKS, gap, str(runs / "gap")],
            "sales baselines": ["baselines", sales[2013], months, str(runs / "sales2013")],
            "seq new": [
                "classify",
                f"--workdir={runs / 'seq'}",
                f"--input={folder / 'new.csv'}",
                f"--out={folder / 'out.csv'}",
            ],
        }
    )
    return folder, trained | read


REFUSED = {
    "ptb_char as characters": (3, "--config.data.unit=words serves"),
    "simple": (3, "--config.data.files=ptb.{split}.txt chooses"),
    "split raw": (2, "config.data.columns='', as in --config, expected, found 'adjusted=Adj Close'"),
    "gap other": (2, "config.data.window=20, as in --config, expected, found 40"),
}
"""The exit code and the end of the one line of what is refused."""


def test_every_file_is_read_or_a_line_names_what_serves(ended) -> None:
    _, results = ended
    for name, result in results.items():
        code, end = REFUSED.get(name, (0, ""))
        assert (name, result.code) == (name, code), result.err
        assert len(result.err.splitlines()) == (code > 0)
        assert result.err.rstrip().endswith(end)


def test_texts_have_the_symbols_that_they_have(ended) -> None:
    folder, results = ended
    assert "vocabulary: 3 symbols" in results["bom"].out
    # Ten letters and `_`, and the end of a line.
    assert f"vocabulary: {len(set('the_cat_sat_on_the_mat')) + 1} symbols" in results["ptb_char"].out
    assert "vocabulary: 6 symbols" in results["simple words"].out
    counts = Counter((folder / "text8" / "t.train.txt").read_text("utf-8").split())
    kept = sorted(counts.values(), reverse=True)[:19]
    # The end of the line is one symbol more that the vocabulary lacks.
    assert f"train: 601 symbols, {601 - sum(kept)} (" in results["text8"].out
    assert len(results["text8 sample"].out.split()) == 5


def test_a_prompt_has_blanks_or_not(ended) -> None:
    _, results = ended
    for name in ("one", "two"):
        assert results[f"{name} prompt"].out == results[f"{name} blanks"].out
        assert results[f"{name} prompt"].out.startswith("寅卯")


def test_baselines_are_those_of_the_runs_own_examples(ended) -> None:
    folder, results = ended
    close = np.array([float(row.split(",")[4]) for row in (folder / "gap.csv").read_text("utf-8").split()[1:]])
    moves = 100 * np.log(close[5:] / close[:-5])
    # A window of 40 days, the day before it and a horizon of 5 lie on one side of the gap before day 300.
    valid = [*range(294, 295), *range(340, 352)]
    expected = {"gap": np.sqrt(np.square(moves[valid]).mean()), "split": np.sqrt(np.square(moves[294:352]).mean())}
    for name, value in expected.items():
        (row,) = [line for line in results[f"{name} baselines"].out.splitlines() if "no change" in line]
        assert float(row.split("|")[2]) == pytest.approx(value, rel=1e-3)
    assert "finished after" in results["flat"].out


def test_sales_have_the_same_windows_in_every_year(ended) -> None:
    _, results = ended
    windows = [line for line in results["sales 2013"].out.splitlines() if "windows:" in line]
    assert windows == [line for line in results["sales 2022"].out.splitlines() if "windows:" in line]
    assert windows[0].endswith("windows: train 24, valid 4, test 4")
    assert "months 2022-01 to 2023-02" in results["sales 2022"].out
    assert "ridge on the last 6 months" in results["sales baselines"].out


def test_sequences_are_classified_under_the_header_of_training(ended) -> None:
    folder, _ = ended
    header, row = (folder / "out.csv").read_text("utf-8").splitlines()
    assert header == "sequence,class,p(A),p(B)"
    assert row.startswith("a b c,")


def test_weights_of_tensorflow_and_keras_are_converted_or_named(run_scripts, tmp_path) -> None:
    def draw(*shape: int) -> np.ndarray:
        return RNG.normal(size=shape).astype(np.float32)

    def lstm(prefix: str, width: int) -> dict[str, np.ndarray]:
        return {f"{prefix}/kernel": draw(width, 16), f"{prefix}/bias": draw(16)}

    slots = {name: draw(9, 16) for name in ("rnn/lstm_cell/kernel/Adam", "rnn/lstm_cell/kernel/Adam_1")}
    stack = {}
    for number, width in enumerate((5, 4, 4)):
        prefix = "sequential/lstm" + (f"_{number}" if number else "") + "/lstm_cell"
        stack |= {f"{prefix}/kernel": draw(width, 16), f"{prefix}/bias": draw(16)}
        stack[f"{prefix}/recurrent_kernel"] = draw(4, 16)
    files = {
        "rnn": ("tensorflow1", {"rnn/basic_rnn_cell/kernel": draw(9, 4), "rnn/basic_rnn_cell/bias": draw(4)}),
        "two": (
            "tensorflow1",
            lstm("bidirectional_rnn/fw/lstm_cell", 8) | lstm("bidirectional_rnn/bw/lstm_cell", 8),
        ),
        "adam": (
            "tensorflow1",
            {**lstm("rnn/lstm_cell", 9), **slots, "beta1_power": draw(), "beta2_power": draw()},
        ),
        "stack": ("keras", stack),
    }
    commands = {}
    for name, (framework, tensors) in files.items():
        weights.write_tensors(tmp_path / f"{name}.safetensors", tensors)
        paths = [f"--input={tmp_path / name}.safetensors", f"--output={tmp_path / name}.ours.safetensors"]
        commands[name] = ["convert", f"--from={framework}", *paths]
    results = run_scripts(commands)

    assert results["rnn"].code == 3
    assert results["rnn"].err.rstrip().endswith("a BasicLSTMCell or LSTMCell expected, found a BasicRNNCell")
    layers = {
        "two": "Bidirectional(forward=LSTM(features=4), backward=LSTM(features=4))",
        "adam": "LSTM(features=4)",
        "stack": "Stack(cells=(LSTM(features=4), LSTM(features=4), LSTM(features=4)))",
    }
    for name, layer in layers.items():
        assert (name, results[name].code) == (name, 0)
        assert results[name].out.startswith(layer + "\n")
    _, params = weights.load(tmp_path / "stack.ours.safetensors")
    np.testing.assert_allclose(params.layers[1].w_x[:, :4], stack["sequential/lstm_1/lstm_cell/kernel"][:, :4])
