"""Tests of the forest plot of several tasks from the command line."""

import json

import pytest
from judgements import judgement

from nlstm_jax.analysis.statistics import holm

pytestmark = pytest.mark.slow


def test_several_tasks_are_one_picture_and_their_p_values_are_corrected(run_scripts, refused, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    files = {"poems": tmp_path / "poems.json", "sales": tmp_path / "sales.json"}
    for name, p in (("poems", 0.001), ("sales", 0.03)):
        files[name].write_text(json.dumps([judgement(name, 0.04, 0.02, p, "better")]), "utf-8")
    (tmp_path / "torn.json").write_text('[{"title": "poems"}]', "utf-8")
    ended = run_scripts(
        {
            "both": ["forest", *files.values(), f"--out={tmp_path / 'out'}"],
            "torn": ["forest", tmp_path / "torn.json", f"--out={tmp_path / 'none'}"],
            "nothing": ["forest", f"--out={tmp_path / 'none'}"],
            "test": ["forest", files["poems"], "--split=test", f"--out={tmp_path / 'none'}"],
        }
    )
    assert (ended["both"].code, ended["both"].err) == (0, "")
    assert ended["both"].out.startswith("poems: ")
    written = json.loads((tmp_path / "out" / "margin.json").read_text("utf-8"))
    assert [row["p"] for row in written] == holm([0.001, 0.03])
    assert (tmp_path / "out" / "forest.png").read_bytes().startswith(b"\x89PNG")

    assert ended["torn"].code == 3
    assert ended["torn"].err.startswith(
        f"{tmp_path / 'torn.json'}: what `experiments.compare --margin` writes expected: "
    )
    assert ended["torn"].err.count("\n") == 1
    refused(ended["nothing"], 2, "forest: files margin.json expected, found none")
    refused(ended["test"], 2, "forest: differences that were named in advance, on test, expected, found none")
    assert not (tmp_path / "none").exists()
