"""Fixtures with run folders as training writes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlstm_jax.runs import Run, read_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that writes a run with evaluations at steps 10, 20, … and reads it back.

    For example `make_run("lstm", 0, valid=[3.0, 2.0])`.
    """

    def make(
        name: str,
        seed: int,
        *,
        valid: list[float | None] = (),
        train: list[float] = (),
        test: list[float] = (),
        metric: str = "log_loss",
        config: dict[str, Any] | None = None,
        environment: dict[str, Any] | None = None,
        summary: dict[str, Any] | None = None,
        status: str | None = "finished",
        cell_parameters: int = 1000,
    ) -> Run:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        document = {
            "name": name,
            "task": "poems",
            "cell": {"features": 8},
            "data": {"path": "", "seed": 0},
            "train": {"batch_size": 4},
            "seeds": {"init": seed, "data": seed, "dropout": seed},
        }
        _write(folder / "config.json", document | (config or {}))
        if environment is not None:
            _write(folder / "environment.json", environment)
        lines = []
        for split, values in (("train", train), ("valid", valid), ("test", test)):
            for n, value in enumerate(values, start=1):
                clock = {"wall_seconds": 0.5 * n, "examples_per_second": 100.0}
                measured = {"diverged": True} if value is None else {metric: value, **clock}
                lines.append({"step": 10 * n, "epoch": float(n), "split": split, **measured})
        lines.sort(key=lambda line: line["step"])
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        if status is not None:
            ended = {"status": status, "steps": 10 * len(valid), "cell_parameters": cell_parameters}
            ended |= {"parameters": 5000, "wall_seconds": 12.0}
            _write(folder / "summary.json", ended | (summary or {}))
        return read_run(folder)

    return make


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps({"schema": 1, **document}), "utf-8")
