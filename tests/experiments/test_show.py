import csv
import hashlib
import itertools
import json
import os
import re
import shutil
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

METRICS = "metrics.jsonl"


@pytest.fixture
def run(trained_runs, tmp_path):
    (folder,) = trained_runs("poems")
    shutil.copytree(folder, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_whole_run_is_described_and_nothing_is_written(run, run_scripts):
    before = contents(run)
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"{run}: poems with the cell nlstm, finished at step 24",
        "metrics.jsonl: 6 lines, the last of step 24",
        "checkpoint 16: whole",
        "checkpoint 24: whole",
    ]
    assert contents(run) == before


def test_a_damaged_checkpoint_is_named_and_two_of_two_are_an_error(run, run_scripts, refused):
    show = ["show", "run", f"--workdir={run}"]
    checkpoints = run / "checkpoints"
    flip_a_bit(largest_file(checkpoints / "24"))
    ended = run_scripts({"one": show})["one"]
    assert (ended.code, ended.err) == (0, "")
    assert f"checkpoint 24: damaged: {checkpoints / '24'}: the checkpoint is damaged: " in ended.out
    os.unlink(checkpoints / "16" / "manifest.json")
    before = contents(run)
    ended = run_scripts({"both": show})["both"]
    assert (ended.code, ended.err) == (5, f"{checkpoints}: a whole checkpoint expected, found none\n")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([0, 1, 2, 3, 3, 4, 5], "one line for each step and split expected, found 2 of step 16 and split valid"),
        ([0, 1, 4, 5, 2, 3], "ascending steps expected, found 16 after 24 in line 5"),
    ],
)
def test_lines_that_are_doubled_or_not_in_order_are_an_error(run, run_scripts, keep, message):
    rows = (run / METRICS).read_text("utf-8").splitlines(keepends=True)
    (run / METRICS).write_text("".join(rows[index] for index in keep), "utf-8")
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert (ended.code, ended.err) == (3, f"{run / METRICS}: {message}\n")


def test_lines_that_a_checkpoint_counts_on_are_missed(run, run_scripts):
    rows = (run / METRICS).read_text("utf-8").splitlines(keepends=True)
    (run / METRICS).write_text("".join(rows[:5]), "utf-8")
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert (ended.code, ended.err) == (0, "")
    assert "checkpoint 24: whole, but 1 of its lines of metrics are missing" in ended.out


def test_another_meaning_of_the_question_is_told(run, run_scripts, refused):
    path = run / "environment.json"
    environment = json.loads(path.read_text("utf-8"))
    environment["question"]["version"] = 99
    path.write_text(json.dumps(environment), "utf-8")
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert ended.code == 2
    assert "whose question has version" in ended.err


def test_mistakes_are_one_line(run_scripts, refused, tmp_path):
    ended = run_scripts(
        {
            "nothing": ["show"],
            "unknown": ["show", "rum"],
            "no folder": ["show", "run"],
            "no run": ["show", "run", f"--workdir={tmp_path}"],
            "no data": ["show", "data"],
            "two data": ["show", "data", "--config=poems", f"--workdir={tmp_path}"],
            "missing": ["show", "data", "--config=poems:smoke", f"--config.data.path={tmp_path}/none.txt"],
        }
    )
    refused(ended["nothing"], 2, "one of run, data, memory expected, found none; --help describes them")
    refused(ended["unknown"], 2, "one of run, data, memory expected, found rum; --help describes them")
    refused(ended["no folder"], 2, "--workdir: a run folder expected, found none")
    refused(ended["no run"], 3, f"{tmp_path}: a run folder (one with a config.json) expected, none found")
    message = "--config or --workdir: one of them expected, found"
    refused(ended["no data"], 2, f"{message} none")
    refused(ended["two data"], 2, f"{message} both")
    assert ended["missing"].code == 3
    assert f"{tmp_path}/none.txt" in ended["missing"].err


def shown_examples(out: str) -> dict[str, list[str]]:
    """Return the examples that the script has printed, by split."""
    examples = {}
    for block in out.split("\n\n")[1:]:
        title, _, text = block.strip().partition("\n")
        examples.setdefault(title.split(",")[0], []).append(text)
    return examples


def test_poems_are_shown_as_they_stand_in_the_file(run_scripts, tmp_path):
    """Each poem has a symbol of its own, which the training poems lack if it validates: counted, and shown as <R>."""
    signs = [chr(ord("一") + number) for number in range(100)]
    poems = [f"a rose is rose {sign}\nit stands by stone {sign}" for sign in signs]
    (tmp_path / "mine.txt").write_text("\n\n".join(poems), "utf-8")
    command = [
        "show",
        "data",
        "--config=poems:features=8",
        f"--config.data.path={tmp_path}/mine.txt",
        "--examples=100",
    ]
    ended = run_scripts({"data": command})["data"]
    assert (ended.code, ended.err) == (0, "")
    examples = shown_examples(ended.out)
    assert set(examples) == {"train", "valid"}
    assert set(examples["train"]) <= set(poems)
    assert len(examples["train"]) == len(set(examples["train"]))

    sizes = dict(re.findall(r"^(train|valid|test): (\d+) poems", ended.out, re.MULTILINE))
    assert {split: int(sizes[split]) for split in examples} == {split: len(examples[split]) for split in examples}
    assert sum(map(int, sizes.values())) == len(poems)
    (unknown,) = re.findall(r"^valid: .* (\d+) symbols that training lacks", ended.out, re.MULTILINE)
    assert sum(example.count("<R>") for example in examples["valid"]) == int(unknown) > 0
    digest = hashlib.sha256((tmp_path / "mine.txt").read_bytes()).hexdigest()
    assert f"sha256 of mine.txt: {digest}\n" in ended.out


def test_sales_are_shown_with_their_months_and_pairs(trained_runs, run_scripts):
    (run,) = trained_runs("sales")
    ended = run_scripts({"data": ["show", "data", f"--workdir={run}", "--examples=40"]})["data"]
    assert (ended.code, ended.err) == (0, "")
    with (run.parent / "world" / "sales_train.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sold = Counter()
    for row in rows:
        key = tuple(int(row[name]) for name in ("shop_id", "item_id", "date_block_num"))
        sold[key] += round(float(row["item_cnt_day"]))

    pattern = r"shop (\d+), item (\d+), months (\d+) to (\d+): (.*) → month (\d+): (\d+)"
    examples = shown_examples(ended.out)
    assert [len(examples[split]) for split in ("train", "valid")] == [40, 40]
    for text in (*examples["train"], *examples["valid"]):
        shop, item, first, last, read, month, target = re.fullmatch(pattern, text).groups()
        months = [*range(int(first), int(last) + 1), int(month)]
        expected = [min(max(sold[int(shop), int(item), month], 0), 20) for month in months]
        assert [*map(int, read.split()), int(target)] == expected
        assert int(month) == int(last) + 1
    assert f"{len({key[:2] for key in sold}):,} pairs of " in ended.out


def running_parity(text: str) -> list[str]:
    """Return the parity of the ones up to each position."""
    return [str(total % 2) for total in itertools.accumulate(map(int, text.split()))]


@pytest.mark.parametrize(
    ("config", "check"),
    [
        ("echo:smoke", lambda given, target: given.split()[:2] == target.split()),
        ("classify:smoke,variant=cue", lambda given, target: given.split()[0] == target),
        (
            "state_tracking:smoke --config.data.kind=parity",
            lambda given, target: running_parity(given) == target.split(),
        ),
    ],
)
def test_generated_examples_obey_the_rule_of_their_task(run_scripts, config, check):
    flags = f"--config={config}".split()
    ended = run_scripts({"data": ["show", "data", *flags, "--examples=20"]})["data"]
    assert (ended.code, ended.err) == (0, "")
    for texts in shown_examples(ended.out).values():
        assert len(texts) == 20
        assert all(check(*text.split(" → ")) for text in texts)


def test_prices_are_shown_with_their_change_and_the_longest_gap(run_scripts, tmp_path):
    days = [date(2001, 1, 1) + timedelta(days=number) for number in range(400)]
    days = [day for day in days if not date(2001, 3, 1) <= day < date(2001, 4, 1)]
    close_of = {str(day): 100 + number * number % 97 for number, day in enumerate(days)}
    rows = [f"{day},{close},{close},{close},{close},100" for day, close in close_of.items()]
    (tmp_path / "share.csv").write_text("date,open,high,low,close,volume\n" + "\n".join(rows) + "\n", "utf-8")
    command = ["show", "data", "--config=stocks:variant=sequence", f"--config.data.path={tmp_path}/share.csv"]
    ended = run_scripts({"data": [*command, "--config.data.target=change"]})["data"]
    assert (ended.code, ended.err) == (0, "")
    assert "gaps of more than 14 days: 1; the longest time between two rows is 32 days from 2001-02-28\n" in ended.out

    pattern = r"(\S+) to (\S+), close (\d+) to (\d+) → ([+-]\d+) until (\S+), close (\d+)"
    dates = list(close_of)
    examples = shown_examples(ended.out)
    assert [len(examples[split]) for split in ("train", "valid")] == [2, 2]
    for text in (*examples["train"], *examples["valid"]):
        first, last, opening, close, change, end, later = re.fullmatch(pattern, text).groups()
        assert [close_of[day] for day in (first, last, end)] == [int(opening), int(close), int(later)]
        assert int(change) == int(later) - int(close)
        assert (dates.index(last) - dates.index(first), dates.index(end) - dates.index(last)) == (19, 5)


@pytest.mark.slow
def test_the_memories_of_a_run_are_measured_and_its_loss_is_that_of_evaluate(trained_runs, run_scripts, tmp_path):
    poems, echo = trained_runs("poems", "echo")
    options = ["--sequences=100000", "--lags=12", "--delay=2"]
    commands = {
        "poems": ["show", "memory", str(poems), f"--out={tmp_path / 'poems'}", *options],
        "echo": ["show", "memory", f"--workdir={echo}", f"--out={tmp_path / 'echo'}", *options],
        "text": ["show", "memory", str(poems), str(echo), f"--out={tmp_path / 'both'}"],
    }
    ended = run_scripts(commands)
    memories = {"poems": {"h", "inner.h", "inner.c"}, "echo": {"encoder/h", "encoder/c", "decoder/h", "decoder/c"}}
    for name, folder in (("poems", poems), ("echo", echo)):
        assert (ended[name].code, ended[name].err) == (0, "")
        document = json.loads((tmp_path / name / "memory.json").read_text())
        (run,) = document["runs"]
        assert set(run["trained"]) == set(run["untrained"]) == memories[name]
        summary = json.loads((folder / "summary.json").read_text())
        assert run["loss"] == pytest.approx(summary["valid"]["log_loss"], abs=1e-5)
        assert all(curve["autocorrelation"][0] == pytest.approx(1) for curve in run["trained"].values())
        # An untrained model uses no memory yet.
        changes = [row for row in document["rows"] if row["measure"] == "loss change, held back 2 steps"]
        assert all(abs(row["untrained"]) < 0.1 for row in changes)
        assert (tmp_path / name / "words1.png").exists() == (name == "poems")
    assert "inner.c − inner.h" in ended["poems"].out
    assert ended["text"].code == 2
    assert not (tmp_path / "both").exists()
