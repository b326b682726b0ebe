"""What the documentation promises: its cell trains, its files exist, its results are those of the commands."""

import configparser
import doctest
import importlib
import os
import re
import runpy
import subprocess
import sys
import types
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import compare
from nlstm_jax import training
from nlstm_jax.cells import Stack, StackParams
from nlstm_jax.unroll import unroll

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


EXTENDING = (ROOT / "docs" / "extending.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(?!>>>)(.*?)```", EXTENDING, re.DOTALL)


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Write the package `my_package` as documented, outside of this one, and import the cells with all examples."""
    minimal, sweep, *examples = BLOCKS
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cells.py").write_text(minimal, "utf-8")
    (package / "sweep.py").write_text(sweep, "utf-8")
    (package / "examples.py").write_text("\n\n".join([minimal, *examples]), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_package", "my_package.cells", "my_package.examples"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return importlib.import_module("my_package.examples")


def test_the_documented_cell_has_three_methods_in_15_lines() -> None:
    lines = [line for line in BLOCKS[0].splitlines() if line and not line.startswith(("#", "import", "from"))]
    assert len(lines) <= 15
    assert [line.split("(")[0].strip() for line in lines if "def " in line] == [
        "def init",
        "def initial_carry",
        "def step",
    ]


def compared(runs: list[Path], folder: Path) -> str:
    """Compare runs, and return the table."""
    with flagsaver.flagsaver(out=str(folder / "compared")):
        flags.FLAGS.mark_as_parsed()
        compare.main(["compare", *map(str, runs)])
    return (folder / "compared" / "compare.md").read_text("utf-8")


@pytest.mark.slow
def test_the_documented_cell_trains_in_a_sweep_and_is_compared(documented: types.ModuleType, tmp_path: Path) -> None:
    """The documented sweep, for one seed, at a few parameters and for seconds."""
    file = tmp_path / "my_package" / "sweep.py"
    text = file.read_text("utf-8").replace("params=60000", "params=1920, smoke=True")
    file.write_text(text.replace("range(3)", "range(1)"), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--workdir={tmp_path}/sweep"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout

    runs = sorted((tmp_path / "sweep" / "trials").iterdir())
    assert len(runs) == 2
    table = compared(runs, tmp_path)
    # On 16 inputs, 2 · 16 · 60 parameters for the minGRU, and 4 · 15 (16 + 15 + 1) for the LSTM.
    assert "\n| MinGRU | 1 | 1,920 |" in table
    assert "\n| lstm | 1 | 1,920 |" in table


def test_the_documented_cells_train_and_are_compared(documented: types.ModuleType, tmp_path: Path) -> None:
    from configs import poems
    from nlstm_jax.training import fit

    minimal = poems.get_config("cell=my_package.cells:MinGRU,smoke")
    minimal.cell.zoneout = (0.1,)
    leaky = poems.get_config("cell=my_package.examples:Leaky,smoke")
    leaky.cell.leak = 0.5
    leaky.cell.recurrent_dropout = (0.5,)
    for name, config in (("minimal", minimal), ("leaky", leaky)):
        summary = fit(config, tmp_path / name)
        assert summary["status"] == "finished"
        assert summary["cell_parameters"] == 2 * 16 * 16

    table = compared([tmp_path / "minimal", tmp_path / "leaky"], tmp_path)
    assert "\n| MinGRU | 1 | 512 |" in table
    assert "\n| Leaky | 1 | 512 |" in table


def test_every_optional_method_does_what_is_documented(documented: types.ModuleType) -> None:
    key = jax.random.key(0)
    xs = jax.random.normal(key, (5, 2, 3))
    cell = documented.MinGRU(4)
    params = cell.init(key, 3)
    _, ys = unroll(cell, params, xs)
    assert np.allclose(ys[0], jax.nn.sigmoid(xs[0] @ params.w_x[:, :4]) * (xs[0] @ params.w_x[:, 4:]), atol=1e-6)

    _, hoisted = unroll(documented.Hoisted(4), params, xs)
    assert np.allclose(hoisted, ys, atol=1e-6)
    _, wide = unroll(Stack((documented.WithInput(4),)), StackParams((params,)), xs)
    assert np.allclose(wide, jnp.concatenate([ys, xs.mean(-1, keepdims=True)], -1), atol=1e-6)

    for noisy in (documented.DropConnect(4), documented.NoisyOutput(4)):
        _, without_key = unroll(noisy, params, xs)
        _, with_key = unroll(noisy, params, xs, key=key)
        assert np.allclose(without_key, ys, atol=1e-6)
        assert not np.allclose(with_key, ys, atol=1e-2)
    dropped, _ = documented.DropConnect(4).sample_noise(params, key, xs.shape)
    _, found = unroll(documented.DropConnect(4), params, xs, key=key)
    assert np.allclose(found, unroll(cell, dropped, xs)[1], atol=1e-6)

    leaky = documented.Leaky(4, leak=1.0)
    leaky_params = leaky.init(key, 3)
    _, y = leaky.step(leaky_params, leaky.initial_carry((2,)), xs[0], recurrent_input=jnp.ones((2, 4)))
    assert np.allclose(y, jnp.tanh(xs[0] @ leaky_params.w_x + leaky_params.w_h.sum(0)), atol=1e-6)


PUBLIC = [
    *("nlstm_jax", "nlstm_jax.cells", "nlstm_jax.unroll", "nlstm_jax.adapters.weights", "nlstm_jax.models"),
    *("nlstm_jax.tasks", "nlstm_jax.settings", "nlstm_jax.training", "nlstm_jax.runs", "nlstm_jax.sweeps"),
]
"""The packages that a program of a user imports from."""


def test_every_public_name_is_in_an_example() -> None:
    """The examples are those that tests run: in docstrings, in the pages, and the code of docs/extending.md."""
    examples: list[str] = []
    for path in [*(ROOT / "nlstm_jax").rglob("*.py"), *PAGES]:
        examples += re.findall(r"^ *(?:>>>|\.\.\.) (.*)$", path.read_text("utf-8"), re.MULTILINE)
    words = set(re.findall(r"\w+", "\n".join([*examples, *BLOCKS])))
    for package in map(importlib.import_module, PUBLIC):
        names = set(package.__all__)
        assert names <= words, f"{package.__name__}: without an example: {sorted(names - words)}"


@pytest.mark.slow
def test_the_example_of_training_runs() -> None:
    """It trains three runs, so that the default tests skip it."""
    text = str(training.__doc__).replace("# doctest: +SKIP", "")
    example = doctest.DocTestParser().get_doctest(text, dict(vars(training)), "nlstm_jax.training", None, 0)
    results = doctest.DocTestRunner(verbose=False).run(example)
    assert results.attempted > 10
    assert results.failed == 0


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as repository viewers make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


def test_the_site_has_every_page_once() -> None:
    """The lists of docs/index.md, and what stands below a page, are the table of contents of `make docs`."""
    configuration = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    source = [(ROOT / "docs" / "index.md").read_text("utf-8")]
    configuration["add_toctrees"](None, "index", source)
    found = re.findall(r"^/(.+)$", source[0], re.MULTILINE)
    for page, patterns in configuration["BELOW"].items():
        if page != "index":
            for pattern in patterns:
                found += configuration["pages"](pattern, without={page})
    folder = ROOT / "docs"
    paths = [path for path in folder.rglob("*") if path.suffix in (".md", ".ipynb") and "_build" not in path.parts]
    names = {path.relative_to(folder).with_suffix("").as_posix() for path in paths}
    not_listed = sorted(names - {"index"} - set(found))
    assert not_listed == [], "add them to a list of docs/index.md"
    assert len(found) == len(set(found)), "a page is listed twice"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    for module in ("myst_nb", "furo"):
        pytest.importorskip(module)
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-d", tmp_path / "trees"]
    built = subprocess.run(
        [*command, ROOT / "docs", tmp_path / "site"], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert built.returncode == 0, built.stderr
    inventory = (tmp_path / "site" / "objects.inv").read_bytes().split(b"\n", 4)[4]
    entries = {line.split()[0].rpartition(".")[2] for line in zlib.decompress(inventory).decode().splitlines()}
    for package in map(importlib.import_module, PUBLIC):
        assert set(package.__all__) <= entries, f"{package.__name__}: not in the API reference"
    result = (tmp_path / "site" / "results" / "suite_v1" / "sales" / "compare.html").read_text("utf-8")
    assert "<title>suite v1: sales" in result


def test_extras_are_installed_from_a_clone_and_exist() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = parser["options.extras_require"]
    texts = [page.read_text("utf-8") for page in PAGES]
    for folder in ("nlstm_jax", "experiments", "benchmarks"):
        texts += [path.read_text("utf-8") for path in (ROOT / folder).rglob("*.py")]
    text = "".join(texts)
    # The package is in no registry, so its name installs nothing.
    assert not re.search(r"pip install[^\n]*nlstm[_-]jax\[", text)
    named = re.findall(r"pip install -e [\"']\.\[([\w,]+)\]", text)
    assert len(named) > 5
    assert {extra for names in named for extra in names.split(",")} <= set(extras)


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
