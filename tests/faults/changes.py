"""Rows 8, 9 and 13: changes between two starts, NaN in the data, and readers of a run that is being trained."""

import random
import re
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from faults.cases import Bench, Case, assert_equal_metrics, finish, metrics, one_line

SHORT = ("train", "--config=configs/poems.py:cell=nlstm,smoke")
READERS = {
    "evaluate": ("evaluate",),
    "sample": ("sample", "--count=1"),
    "compare": ("compare",),
}
BAD_DATA = {
    "prices": (
        "configs/stocks.py:cell=lstm,variant=sequence,smoke",
        "prices.csv",
        ["Date,Open,High,Low,Close,Volume", *(f"{year}-01-02,9,12,8,10,5" for year in range(1700, 2000))],
        "2000-01-02,9,12,8,NaN,5",
    ),
    "sales": (
        "configs/sales.py:cell=lstm,smoke",
        "sales_train.csv",
        ["date,shop_id,item_id,item_price,item_cnt_day", *(f"01.12.2020,{shop},7,9.5,1" for shop in range(300))],
        "02.12.2020,5,7,NaN,1",
    ),
}
"""For each kind of data: the configuration, the name of the file, its valid lines, and a last one with NaN."""


def cases() -> list[Case]:
    """Return the cases of the two rows."""
    made = [
        Case(8, "config", partial(_change, ("--config.optimizer.learning_rate=0.5",), 2, "optimizer.learning_rate")),
        Case(8, "data", _change_data),
        Case(8, "devices", _change_devices),
        Case(8, "devices with train.shards", partial(_change_devices, shards=2)),
        Case(8, "loop of unroll", partial(_change, ("--config.unroll.mode=scan",), 2, "unroll.mode")),
        Case(8, "version", partial(_change_environment, r'"jax": "[^"]*"', '"jax": "0.0.1"', "begun with 0.0.1")),
        Case(8, "code", partial(_change_environment, r'"commit": "\w{7}', '"commit": "0000000', "begun with 0000000")),
    ]
    for name in BAD_DATA:
        made += [Case(9, f"NaN in {name}, {rule}", partial(_train_on_nan, name, rule)) for rule in ("stop", "skip")]
    names = list(READERS)
    made += [Case(13, f"{names[n % 3]} {n // 3}", partial(_read_while_training, names[n % 3])) for n in range(100)]
    return made


def _stop_early(bench: Bench, workdir: Path, *options: str) -> None:
    """Start a run and interrupt it after its first evaluation."""
    process = bench.start(*SHORT, "--config.train.epochs=30.0", *options, f"--workdir={workdir}")
    path = workdir / "metrics.jsonl"
    while process.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    code = finish(process).code
    assert code == 75, f"an interruption expected, exit code {code}"


def _go_on(bench: Bench, workdir: Path, *options: str):
    return bench.run(*SHORT, "--config.train.epochs=30.0", *options, f"--workdir={workdir}")


def _change(options: tuple[str, ...], code: int, expected: str, bench: Bench, folder: Path) -> str:
    _stop_early(bench, folder / "run")
    before = (folder / "run" / "metrics.jsonl").read_bytes()
    line = one_line(_go_on(bench, folder / "run", *options), code)
    assert expected in line, line
    assert (folder / "run" / "metrics.jsonl").read_bytes() == before, "the metrics have changed"
    return f"exit {code}, and the difference"


def _change_data(bench: Bench, folder: Path) -> str:
    data = folder / "poems.txt"
    draw = random.Random(0)
    poems = ["\n".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(4)) for _ in range(400)]
    data.write_text("\n\n".join(poems), "utf-8")
    options = (f"--config.data.path={data}",)
    _stop_early(bench, folder / "run", *options)
    data.write_text("\n\n".join(reversed(poems)), "utf-8")
    for ended in (_go_on(bench, folder / "run", *options), bench.run("evaluate", f"--workdir={folder}/run")):
        line = one_line(ended, 3)
        assert len(re.findall(r"[0-9a-f]{64}", line)) == 2, line
    return "training and evaluate: exit 3, both checksums"


def _change_devices(bench: Bench, folder: Path, shards: int = 1) -> str:
    options = (f"--config.train.shards={shards}",)
    _stop_early(bench, folder / "run", "--cpu_devices=1", *options)
    ended = _go_on(bench, folder / "run", "--cpu_devices=2", *options)
    assert ended.code == 0, ended.err[-300:]
    if shards == 1:
        assert "devices" in ended.out, f"a line about the devices expected: {ended.out[:300]}"
        return "goes on; one line"
    expected = bench.undisturbed("shards", *SHORT, "--config.train.epochs=30.0", *options, "--cpu_devices=1")
    assert_equal_metrics(folder / "run", expected)
    return "goes on; equal"


def _change_environment(pattern: str, recorded: str, expected: str, bench: Bench, folder: Path) -> str:
    _stop_early(bench, folder / "run")
    path = folder / "run" / "environment.json"
    path.write_text(re.sub(pattern, recorded, path.read_text("utf-8")), "utf-8")
    ended = _go_on(bench, folder / "run")
    assert ended.code == 0, ended.err[-300:]
    lines = [line for line in ended.out.splitlines() if expected in line]
    assert len(lines) == 1, f"a line with {expected!r} expected: {ended.out[:300]}"
    return "goes on; one line"


def _train_on_nan(name: str, rule: str, bench: Bench, folder: Path) -> str:
    config, file, lines, bad_line = BAD_DATA[name]
    path = folder / "data" / file
    path.parent.mkdir()
    path.write_text("\n".join([*lines, bad_line]) + "\n", "utf-8")
    data = path if name == "prices" else path.parent
    options = (f"--config.data.path={data}", f"--config.train.nonfinite={rule}", f"--workdir={folder}/run")
    line = one_line(bench.run("train", f"--config={config}", *options), 3)
    assert f"{path} line {len(lines) + 1}" in line, line
    assert "NaN" in line, line
    assert not (folder / "run" / "metrics.jsonl").exists(), "no training expected"
    return "exit 3, the file and the line"


def _read_while_training(reader: str, bench: Bench, folder: Path) -> str:
    workdir = folder / "run"
    command = ("train", "--config=configs/poems.py:cell=lstm,smoke", "--config.train.steps=100000")
    trained = bench.start(*command, "--config.eval.every_steps=4", f"--workdir={workdir}")
    path = workdir / "metrics.jsonl"
    until = time.monotonic() + 60
    while not (workdir / "checkpoints" / "4").exists() and time.monotonic() < until:
        time.sleep(0.002)
    script, *options = READERS[reader]
    try:
        if reader == "compare":
            ended = bench.run(script, str(workdir), f"--out={folder}/out")
        else:
            ended = bench.run(script, f"--workdir={workdir}", *options)
    finally:
        trained.send_signal(signal.SIGKILL)
        trained.wait()
    assert ended.code == 0, f"exit code {ended.code}: {ended.err[-300:]}"
    # A kill can cut off the last line of metrics.
    path.write_bytes(path.read_bytes().rpartition(b"\n")[0] + b"\n")
    rows = metrics(workdir)["."]
    if reader == "evaluate":
        step, loss = re.search(r"valid at step ([\d,]+): log_loss ([\d.]+)", ended.out).groups()
        (row,) = [r for r in rows if (r["step"], r["split"]) == (int(step.replace(",", "")), "valid")]
        assert f"{row['log_loss']:.6f}" == loss, f"{loss}, in training {row['log_loss']:.6f}"
    shutil.rmtree(folder / "out", ignore_errors=True)
    return "exit 0, as training said" if reader == "evaluate" else "exit 0"
