"""The notebooks: they run at smoke size, and their stored outputs are small and of no particular machine."""

import base64
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ipykernel", "pandas", "matplotlib"):
        pytest.importorskip(package, reason=f'{package} is missing: pip install -e ".[notebooks]"')
    nbclient = pytest.importorskip("nbclient", reason='nbclient is missing: pip install -e ".[notebooks]"')
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("NLSTM_JAX_SMOKE", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells]
    # A cell that fails raises CellExecutionError.
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [cell.source for cell in notebook.cells] == sources
    logs = [log.read_text("utf-8") for log in tmp_path.rglob("log.txt")]
    assert logs
    assert all("; best step " in log for log in logs)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    assert any("image/png" in output.get("data", {}) for cell in codes for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_outputs_that_are_small_and_name_no_machine(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in codes] == list(range(1, len(codes) + 1))
    assert all(cell["metadata"] == {} for cell in codes)
    outputs = [output for cell in codes for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    pictures = [output["data"].pop("image/png") for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert all(len(base64.b64decode(picture)) < 150_000 for picture in pictures)
    text = json.dumps(outputs)
    assert not re.search(r"/(?:home|root|tmp|work|Users)/|\b20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", text)


def test_compare_s_figure_is_drawn_in_at_most_15_lines() -> None:
    notebook = json.loads((ROOT / "docs/notebooks/figure_of_your_own.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (drawing,) = [cell for cell in cells if "fill_between" in cell]
    assert len(drawing.splitlines()) <= 15


def test_links_lead_somewhere() -> None:
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
        assert targets or path.stem != "train_and_sample"
        for target in targets:
            assert (path.parent / target).exists(), target
