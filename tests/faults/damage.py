"""Rows 3, 4, 5 and 6: damaged checkpoints and metrics, full and read-only disks."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from processes import Ended

from faults.cases import Bench, Case, assert_equal_metrics, one_line

SHORT = ("train", "--config=configs/poems.py:cell=lstm,smoke", "--cpu_devices=1")
STOPPED = 16
"""The step of the newest checkpoint of the run that is damaged; the one before is of step 8."""
Damage = Callable[[Path], str]
"""Damages a file and says how; empty if that changes nothing."""


def cases() -> list[Case]:
    """Return the cases of the four rows."""
    made = [
        Case(3, f"truncated {place}/64", partial(_damage_newest, partial(_truncate, place))) for place in range(64)
    ]
    made += [Case(3, f"bit {number}", partial(_damage_newest, partial(_flip, number))) for number in range(256)]
    made += [
        Case(3, f"file {number} missing", partial(_damage_newest, partial(_remove, number))) for number in range(16)
    ]
    for name, damage in (
        ("bits", partial(_flip, 0)),
        ("cut", partial(_truncate, 32)),
        ("missing", partial(_remove, 0)),
    ):
        made.append(Case(4, f"all damaged: {name}", partial(_damage_all, damage)))
    for count in range(5):
        made.append(Case(5, f"cut by {count} lines", partial(_damage_metrics, f"cut {count}")))
    for kind in ("torn", "doubled line", "doubled file", "without newline", "NULs at the end", "NULs in the middle"):
        made.append(Case(5, kind, partial(_damage_metrics, kind)))
    made += [Case(5, f"torn after {n}/20", partial(_damage_metrics, f"torn {n}")) for n in range(20)]
    reason = _why_no_tmpfs()
    for kilobytes in (16, 64, 160, 320, 640):
        made.append(Case(6, f"disk of {kilobytes} kB", partial(_fill_disk, kilobytes), reason))
    made.append(Case(6, "read-only", _read_only, reason))
    made.append(Case(6, "while exporting", _export_to_full_disk, reason))
    return made


def _stopped(bench: Bench, folder: Path) -> Path:
    """Return a copy of a run of two epochs that can be trained for a third one."""
    source = bench.undisturbed("two epochs", *SHORT, "--config.train.epochs=2.0")
    bench.undisturbed("three epochs", *SHORT, "--config.train.epochs=3.0")
    return Path(shutil.copytree(source, folder / "run"))


def _train_third_epoch(bench: Bench, workdir: Path) -> Ended:
    return bench.run(*SHORT, "--config.train.epochs=3.0", f"--workdir={workdir}")


def _files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def _truncate(place: int, checkpoint: Path) -> str:
    """Cut a file; the places are spread over all bytes of the checkpoint."""
    files = _files(checkpoint)
    position = place * sum(path.stat().st_size for path in files) // 64
    for path in files:
        size = path.stat().st_size
        if position < size:
            os.truncate(path, position)
            return f"{path.name} cut at byte {position}"
        position -= size
    raise AssertionError("a place within the checkpoint expected")


def _flip(number: int, checkpoint: Path) -> str:
    """Flip a random bit; half of the bits are drawn over bytes, half over files."""
    draw = random.Random(number)
    files = [path for path in _files(checkpoint) if path.stat().st_size]
    weights = [path.stat().st_size if number % 2 else 1 for path in files]
    (path,) = draw.choices(files, weights)
    content = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bit {bit} of {path.name}"


def _remove(number: int, checkpoint: Path) -> str:
    files = _files(checkpoint)
    path = files[number % len(files)]
    path.unlink()
    return f"{path.name} missing"


def _damage_newest(damage: Damage, bench: Bench, folder: Path) -> str:
    workdir = _stopped(bench, folder)
    what = damage(workdir / "checkpoints" / str(STOPPED))
    ended = _train_third_epoch(bench, workdir)
    assert ended.code == 0, f"{what}: exit code {ended.code}: {ended.err[-300:]}"
    assert_equal_metrics(workdir, bench.undisturbed("three epochs", *SHORT, "--config.train.epochs=3.0"))
    log = (workdir / "log.txt").read_text("utf-8")
    if f"it is kept as set_aside-{STOPPED}" in log:
        assert "going on from step 8" in log, f"{what}: the one before expected"
        return "detected; the one before is used and named"
    # White space of the manifest, and nothing else, can change without a change of a value.
    assert "manifest.json" in what, f"{what}: not detected"
    return "changes no value; equal"


def _damage_all(damage: Damage, bench: Bench, folder: Path) -> str:
    workdir = _stopped(bench, folder)
    for step in (8, STOPPED):
        damage(workdir / "checkpoints" / str(step))
    before = (workdir / "metrics.jsonl").read_bytes()
    for _ in range(2):
        one_line(_train_third_epoch(bench, workdir), 5)
    assert (workdir / "metrics.jsonl").read_bytes() == before, "the metrics have changed"
    return "exit 5 with one line, twice; the metrics stay"


def _damage_metrics(kind: str, bench: Bench, folder: Path) -> str:
    workdir = _stopped(bench, folder)
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    whole = b"".join(lines)
    word, _, number = kind.partition(" ")
    damaged = {
        "cut": lambda: b"".join(lines[: len(lines) - int(number)]),
        "torn": lambda: whole[: len(whole) * int(number or 15) // 20],
        "doubled": lambda: whole + (whole if number == "file" else lines[-1]),
        "without": lambda: whole[:-1],
        "NULs": lambda: whole + bytes(64) if number == "at the end" else lines[0] + bytes(64) + b"".join(lines[1:]),
    }[word]()
    path.write_bytes(damaged)
    ended = _train_third_epoch(bench, workdir)
    if ended.code:
        line = one_line(ended, ended.code)
        assert path.read_bytes() == damaged, "the file has changed"
        return f"refused with one line, exit {ended.code}: {line.partition(':')[2][-70:]}"
    log = (workdir / "log.txt").read_text("utf-8")
    if "lines of all evaluations until step" in log:
        return "the log says how many lines are missing"
    assert_equal_metrics(workdir, bench.undisturbed("three epochs", *SHORT, "--config.train.epochs=3.0"))
    return "no hole, no step twice; equal"


def _why_no_tmpfs() -> str:
    if not sys.platform.startswith("linux"):
        return "needs Linux, for a small tmpfs"
    if os.geteuid():
        return "needs root, for a small tmpfs"
    return ""


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def _fill_disk(kilobytes: int, bench: Bench, folder: Path) -> str:
    three = (*SHORT, "--config.train.epochs=3.0")
    expected = bench.undisturbed("three epochs", *three)
    disk = folder / "disk"
    disk.mkdir()
    _mount(disk, f"size={kilobytes}k")
    try:
        ended = bench.run(*three, f"--workdir={disk}/run")
        line = one_line(ended, 2)
        assert str(disk) in line, f"the path expected in: {line}"
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = bench.run(*three, f"--workdir={disk}/run")
        assert again.code == 0, f"after room is made: exit code {again.code}: {again.err[-300:]}"
        assert_equal_metrics(disk / "run", expected)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return "one line with the path; goes on after room is made; equal"


def _read_only(bench: Bench, folder: Path) -> str:
    disk = folder / "disk"
    disk.mkdir()
    _mount(disk, "size=64m")
    try:
        workdir = _stopped(bench, disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert str(disk) in one_line(_train_third_epoch(bench, workdir), 2)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert _train_third_epoch(bench, workdir).code == 0
        assert_equal_metrics(workdir, bench.undisturbed("three epochs", *SHORT, "--config.train.epochs=3.0"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return "one line with the path; goes on after it can be written; equal"


def _export_to_full_disk(bench: Bench, folder: Path) -> str:
    workdir = _stopped(bench, folder)
    disk = folder / "disk"
    disk.mkdir()
    _mount(disk, "size=4k")
    try:
        ended = bench.run("convert", f"--input={workdir}", f"--output={disk}/weights.safetensors")
        line = one_line(ended, 2)
        assert str(disk) in line, f"the path expected in: {line}"
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return "one line with the path"
