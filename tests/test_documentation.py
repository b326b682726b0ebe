"""What the documentation promises: its cell trains, its files exist, its results are those of the commands."""

import importlib
import re
import sys
from pathlib import Path

import jax
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import compare

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_documented_cell_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from configs import poems
    from nlstm_jax.training import fit

    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    code = re.search(r"```python\n# my_package/cells.py\n(.*?)```", page, re.DOTALL)
    assert code is not None
    package = tmp_path / "documented_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cells.py").write_text(code[1], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    config = poems.get_config("cell=documented_package.cells:Leaky,smoke")
    config.cell.leak = 0.5
    config.cell.zoneout = (0.1,)
    summary = fit(config, tmp_path / "run")
    assert summary["status"] == "finished"
    assert summary["cell_parameters"] == 16 * 16 * 2

    fit(poems.get_config("cell=lstm,smoke"), tmp_path / "other")
    with flagsaver.flagsaver(out=str(tmp_path / "compared")):
        flags.FLAGS.mark_as_parsed()
        compare.main(["compare", str(tmp_path / "run"), str(tmp_path / "other")])
    assert "\n| Leaky | 1 | 512 ≠ cells |" in (tmp_path / "compared" / "compare.md").read_text("utf-8")

    cell = sys.modules["documented_package.cells"].Leaky(4, leak=1.0)
    params = cell.init(jax.random.key(0), 3)
    x = jax.numpy.ones((2, 3))
    _, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, x))
    assert jax.numpy.allclose(y, jax.numpy.tanh(x @ params.w_x))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_one_version_is_named_everywhere() -> None:
    versions = [
        re.search(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE)
        for name, pattern in (
            ("setup.cfg", r"^version = (.*)$"),
            ("CITATION.cff", r"^version: (.*)$"),
            ("CHANGELOG.md", r"^## (\S+) "),
        )
    ]
    assert len({found[1] for found in versions if found}) == 1
    assert all(versions)


def test_every_promise_of_reliability_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    code = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    rows = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    for row in rows:
        names = re.findall(r"`((?:tests/|test_)[\w/.]+)`", row.rsplit("|", 2)[1])
        assert names, row
        for name in names:
            assert (ROOT / name).is_file() if name.endswith(".py") else f"def {name}(" in code, name
