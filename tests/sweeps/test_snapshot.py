"""The copy of the code that the trials of a sweep run."""

from pathlib import Path

from nlstm_jax.sweeps.snapshot import copy_code


def test_packages_are_copied_with_and_without_an_init_file(tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    for name in (
        "package/__init__.py",
        "package/deep/cells.py",
        "plain/cells.py",
        "tests/test_cells.py",
        "runs/a/x.json",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("", "utf-8")
    copy_code(root, tmp_path / "code")
    copied = {path.relative_to(tmp_path / "code").as_posix() for path in (tmp_path / "code").rglob("*.py")}
    assert copied == {"package/__init__.py", "package/deep/cells.py", "plain/cells.py"}
