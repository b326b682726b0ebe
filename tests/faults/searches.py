"""Row 11: a search whose database is locked or moved away for a while, and two searches of one study."""

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from processes import Process

from faults.cases import Bench, Case, assert_equal_metrics, finish, metrics, one_line
from faults.kills import SEARCH, why_no_search

SECONDS = 8.0
"""The seconds without the database; SQLite waits for 5 seconds."""


def cases() -> list[Case]:
    """Return the cases of the row that start processes."""
    reason = why_no_search()
    return [
        Case(11, "database locked for a while", partial(_lose_database, _lock), reason),
        Case(11, "database moved away for a while", partial(_lose_database, _move_away), reason),
        Case(11, "two workers", _run_two_workers, reason),
    ]


def _lock(database: Path) -> None:
    with sqlite3.connect(database, timeout=60, isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(SECONDS)
        connection.execute("ROLLBACK")
    connection.close()


def _move_away(database: Path) -> None:
    database.rename(database.with_suffix(".away"))
    time.sleep(SECONDS)
    database.with_suffix(".away").replace(database)


def _wait_for_trial(process: Process, workdir: Path) -> None:
    while process.poll() is None and not list(workdir.glob("trials/*/metrics.jsonl")):
        time.sleep(0.01)


def _lose_database(lose: Callable[[Path], None], bench: Bench, folder: Path) -> str:
    file = bench.work / "search.py"
    file.write_text(SEARCH, "utf-8")
    command = ("sweep", f"--sweep={file}")
    expected = bench.undisturbed("search", *command)
    workdir = folder / "run"
    process = bench.start(*command, f"--workdir={workdir}")
    _wait_for_trial(process, workdir)
    lose(workdir / "study.db")
    ended = finish(process)
    seen = "goes on; equal"
    if ended.code:
        one_line(ended, 2)
        seen = "one line; the same command goes on; equal"
        ended = bench.run(*command, f"--workdir={workdir}")
    assert ended.code in (0, 7), f"exit code {ended.code}: {(ended.out + ended.err)[-500:]}"
    assert_equal_metrics(workdir, expected)
    return seen


def _run_two_workers(bench: Bench, folder: Path) -> str:
    file = folder / "search.py"
    # Without a sampler of the file, each worker has a seed of its own.
    lines = [line for line in SEARCH.splitlines() if not line.startswith("SAMPLER")]
    file.write_text("\n".join(lines).replace("TRIALS = 3", "TRIALS = 6"), "utf-8")
    command = ("sweep", f"--sweep={file}", f"--storage=sqlite:///{folder}/study.db", "--slots=1")
    started = [bench.start(*command, f"--workdir={folder / name}") for name in ("one", "two")]
    for process in started:
        ended = finish(process)
        assert ended.code == 0, f"exit code {ended.code}: {(ended.out + ended.err)[-500:]}"
    trials = [rows for name in ("one", "two") for rows in metrics(folder / name).values()]
    assert len(trials) == 6, f"6 trials expected, found {len(trials)}"
    losses = {rows[-1]["log_loss"] for rows in trials}
    assert len(losses) == 6, "no trial twice expected"
    return "each trial once"
