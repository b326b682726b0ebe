"""Rows 7, 9 and 11, and the protections: tests of the code as it is, and of code without a protection."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from processes import ROOT

from faults.cases import Bench, Case

TAKEN_OUT = 14
"""The row of the protections, which the issue's table does not have."""


@dataclass(frozen=True)
class Protection:
    """A protection that is taken out of a copy of the code.

    Attributes:
        name: Its name.
        file: The file of the package that has it.
        old: The text that is replaced, once in the file.
        new: The text without the protection.
        tests: The tests that fail then, as arguments of pytest.
        row: The row of the table.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    row: int = TAKEN_OUT


_CHECKPOINTS = "tests/training/test_checkpoint.py"
_DAMAGE = "tests/training/test_damage.py"
_FOLDER = "tests/runs/test_folder.py"
_SYNC = (_CHECKPOINTS, _DAMAGE, _FOLDER, "-k", "disk or crash")
PROTECTIONS = (
    Protection("sync of a checkpoint's files", "training/checkpoint.py", "files.sync_tree(partial)", "pass", _SYNC, 7),
    Protection(
        "sync of the folder after the rename",
        "training/checkpoint.py",
        "partial.replace(target)\n            files.sync(self._folder)",
        "partial.replace(target)",
        _SYNC,
        7,
    ),
    Protection("sync of the metrics", "training/record.py", "self.folder.sync_metrics()", "pass", _SYNC, 7),
    Protection("sync of a JSON file", "runs/files.py", "os.fsync(file.fileno())", "pass", _SYNC, 7),
    Protection("sync of its folder", "runs/files.py", "        sync(path.parent)\n", "", _SYNC, 7),
    Protection(
        "sync of the folder after a damaged one is set aside",
        "training/checkpoint.py",
        "replace(target)\n            files.sync(self._folder)\n        return target",
        "replace(target)\n        return target",
        _SYNC,
        7,
    ),
    Protection(
        "manifest",
        "training/checkpoint.py",
        "manifest.check_files(folder)\n            _check",
        "_check",
        (_CHECKPOINTS,),
    ),
    Protection(
        "digest of each array",
        "training/checkpoint.py",
        "        if manifest is not None:\n            manifest.check_arrays(folder, saved)\n",
        "",
        (_CHECKPOINTS,),
    ),
    Protection("lock", "runs/lock.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB", (_FOLDER,)),
    Protection(
        "finite check of a step",
        "training/group.py",
        "if bad[0] != NONE and run.summary is None:",
        "if False:",
        ("tests/training/test_nonfinite.py", "-k", "stops"),
    ),
    Protection(
        "finite check of a state",
        "training/nonfinite.py",
        "            return name\n",
        "            continue\n",
        ("tests/training/test_nonfinite.py", "-k", "online"),
    ),
    Protection(
        "repair of a torn line",
        "runs/files.py",
        "        return rows\n    # A number",
        "        if rest:\n            raise\n        return rows\n    # A number",
        (_FOLDER, "tests/runs/test_reader.py"),
    ),
    Protection(
        "check of the data",
        "training/question.py",
        "if checksums.get(name) != expected:",
        "if False:",
        ("tests/training/test_question.py",),
    ),
    Protection(
        "check of a search",
        "sweeps/search.py",
        "self._check_earlier_trials()\n        self._let",
        "self._let",
        ("tests/sweeps/test_search.py", "-k", "old_results or other_choices"),
    ),
)


def cases() -> list[Case]:
    """Return the cases of the rows."""
    made = [Case(7, "order of sync and rename", partial(_pass_tests, _SYNC))]
    made.append(Case(9, "steps that are not finite", partial(_pass_tests, ("tests/training/test_nonfinite.py",))))
    made.append(Case(11, "searches", partial(_pass_tests, ("tests/sweeps/test_search.py",))))
    earlier = ("tests/sweeps/test_earlier_search.py",)
    made.append(Case(11, "searches of an earlier version", partial(_pass_tests, earlier)))
    for protection in PROTECTIONS:
        name = protection.name if protection.row == TAKEN_OUT else f"taken out: {protection.name}"
        made.append(Case(protection.row, name, partial(_take_out, protection)))
    return made


def _run_tests(tree: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    """Run tests of a source tree, and return the exit code and the output."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True
    )
    return done.returncode, done.stdout


def _pass_tests(arguments: tuple[str, ...], bench: Bench, folder: Path) -> str:
    code, output = _run_tests(ROOT, (*arguments, "-m", "slow or not slow"))
    counts = output.strip().splitlines()[-1].strip("= ")
    assert code == 0, counts
    return re.sub(r" in [\d.]+s.*", "", counts)


def _take_out(protection: Protection, bench: Bench, folder: Path) -> str:
    for name in ("nlstm_jax", "experiments", "configs", "tests", "pyproject.toml", "setup.cfg"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    path = folder / "nlstm_jax" / protection.file
    text = path.read_text("utf-8")
    assert text.count(protection.old) == 1, f"{protection.file}: the protection once expected"
    path.write_text(text.replace(protection.old, protection.new), "utf-8")
    code, output = _run_tests(folder, protection.tests)
    failed = re.findall(r"^FAILED (\S+)", output, re.MULTILINE)
    assert code == 1 and failed, f"no test failed: {output[-300:]}"  # noqa: PT018
    path.write_text(text, "utf-8")
    code, output = _run_tests(folder, (failed[0],))
    assert code == 0, f"{failed[0]} fails with the protection too: {output[-300:]}"
    return f"`{failed[0].partition('::')[2]}` fails"
