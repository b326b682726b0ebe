"""Metric writers: the values that they received, read back from their own files."""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from requirements import requires

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import RunFolder, check_metric_writers

CONFIG = {"task": "poems", "cell": {"name": "lstm"}}


def lines(*steps: int) -> list[dict]:
    return [
        {"step": step, "split": split, "log_loss": 5.0 / step + shift, "wall_seconds": float(step), "diverged": False}
        for step in steps
        for split, shift in (("train", 0.0), ("valid", 0.5))
    ]


def train(folder: Path, kind: str, until: int, *steps: int, overwrite: bool = False) -> None:
    with RunFolder(folder, CONFIG, metric_writers=[kind], overwrite=overwrite) as run:
        run.truncate_metrics(until)
        for step in steps:
            run.append_metrics(lines(step))


def expected(*steps: int) -> dict[tuple[str, str, int], float]:
    return {
        (line["split"], name, line["step"]): line[name]
        for line in lines(*steps)
        for name in ("log_loss", "wall_seconds")
    }


def seen_by_tensorboard(folder: Path) -> dict[tuple[str, str, int], float]:
    """Return all scalars of all event files. A point that appears twice fails the test."""
    requires("tensorboardX")
    from tensorboardX.proto import event_pb2

    points: dict[tuple[str, str, int], float] = {}
    for file in sorted((folder / "tensorboard").iterdir()):
        data = file.read_bytes()
        offset = 0
        while offset < len(data):
            (length,) = struct.unpack_from("<Q", data, offset)
            event = event_pb2.Event.FromString(data[offset + 12 : offset + 12 + length])
            offset += length + 16
            for value in event.summary.value:
                name, split = value.tag.split("/")
                assert (split, name, event.step) not in points
                points[split, name, event.step] = value.simple_value
    return points


def seen_by_wandb(folder: Path) -> tuple[dict[tuple[str, str, int], float], set[str]]:
    """Return all points of all offline runs, and the ids of the runs. A point that appears twice fails the test."""
    requires("wandb")
    import wandb
    from wandb.proto import wandb_internal_pb2 as record_pb2

    # A process of W&B closes the file of the run after `finish` has returned. This waits for the end of the process.
    wandb.teardown()
    points: dict[tuple[str, str, int], float] = {}
    ids = set()
    for file in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb")):
        ids.add(file.stem.removeprefix("run-"))
        for data in leveldb_records(file.read_bytes()):
            record = record_pb2.Record.FromString(data)
            for item in record.history.item:
                key = item.key or "/".join(item.nested_key)
                if "/" in key:
                    split, name = key.split("/")
                    assert (split, name, record.history.step.num) not in points
                    points[split, name, record.history.step.num] = json.loads(item.value_json)
    return points, ids


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log in LevelDB's format, after W&B's header of 7 bytes.

    The log has blocks of 32 KiB. A part of a record has a checksum (4 bytes), a length (2 bytes), a kind (1 byte) and
    content. The kinds are 1: full, 2: first, 3: middle, 4: last.
    """
    offset = 7
    parts = b""
    while offset + 7 <= len(data):
        if 32768 - offset % 32768 < 7:
            offset += 32768 - offset % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, offset + 4)
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_tensorboard_has_every_number_once_also_when_a_run_goes_on(tmp_path) -> None:
    requires("tensorboardX")
    train(tmp_path / "run", "tensorboard", 0, 1, 2, 3)
    assert seen_by_tensorboard(tmp_path / "run") == pytest.approx(expected(1, 2, 3))
    train(tmp_path / "run", "tensorboard", 2, 3, 4)
    assert seen_by_tensorboard(tmp_path / "run") == pytest.approx(expected(1, 2, 3, 4))


def test_wandb_offline_has_every_number_and_a_run_that_goes_on_is_the_same_run(tmp_path, monkeypatch) -> None:
    requires("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(tmp_path / "run", "wandb", 0, 1, 2)
    points, ids = seen_by_wandb(tmp_path / "run")
    assert points == pytest.approx(expected(1, 2))
    assert len(ids) == 1
    # The run was interrupted after step 2 and has a checkpoint of step 1.
    train(tmp_path / "run", "wandb", 1, 2, 3)
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 2
    again, same = seen_by_wandb(tmp_path / "run")
    assert again == pytest.approx(expected(1, 2, 3))
    assert same == ids
    train(tmp_path / "run", "wandb", 0, 1, overwrite=True)
    anew, other = seen_by_wandb(tmp_path / "run")
    assert anew == pytest.approx(expected(1))
    assert not other & ids


def test_wandb_has_the_steps_from_before_it_was_asked_for(tmp_path, monkeypatch) -> None:
    requires("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with RunFolder(tmp_path / "run", CONFIG) as run:
        run.append_metrics(lines(1, 2))
    train(tmp_path / "run", "wandb", 2, 3)
    assert seen_by_wandb(tmp_path / "run")[0] == pytest.approx(expected(1, 2, 3))


def test_a_mirror_that_is_not_installed_names_the_extra(monkeypatch) -> None:
    with pytest.raises(ConfigError, match="one of tensorboard, wandb expected, found 'mlflow'"):
        check_metric_writers(["mlflow"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r'wandb expected: pip install -e "\.\[wandb\]"'):
        check_metric_writers(["wandb"])
