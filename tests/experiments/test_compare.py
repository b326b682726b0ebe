"""Tests of the script's arguments, files and exit codes."""

import json
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import annotate, compare
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.lock import acquire_lock


@pytest.fixture(autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture
def runs(tmp_path):
    """Return a folder with two groups of two seeds, and a folder that is not a run."""
    for name, best in (("lstm", 3.2), ("nlstm", 3.0)):
        for seed in range(2):
            folder = tmp_path / "runs" / f"{name}-{seed}"
            folder.mkdir(parents=True)
            config = {"schema": 1, "name": name, "task": "poems", "seeds": {"init": seed}}
            (folder / "config.json").write_text(json.dumps(config), "utf-8")
            values = enumerate([4.0, best + 0.01 * seed], start=1)
            lines = [{"step": step, "split": "valid", "log_loss": value, "perplexity": 9.0} for step, value in values]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
            ended = {"schema": 1, "status": "finished", "steps": 2, "cell_parameters": 100, "parameters": 200}
            (folder / "summary.json").write_text(json.dumps(ended), "utf-8")
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def run(*arguments, **settings):
    with flagsaver.flagsaver(**settings):
        compare.main(["compare", *map(str, arguments)])


def test_a_setting_that_has_come_since_does_not_part_a_group(runs, tmp_path, capsys) -> None:
    file = runs / "lstm-1" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "train": {"shards": 1}}), "utf-8")
    run(runs / "*", out=str(tmp_path / "out"))
    assert "\n| lstm | 2 | 100 |" in (tmp_path / "out" / "compare.md").read_text("utf-8")
    assert "shards" not in capsys.readouterr().out


def test_the_contrast_is_the_flag_s_or_the_sweep_s(runs, tmp_path, capsys) -> None:
    run(runs / "*", out=str(tmp_path / "out"), contrast="nlstm vs lstm")
    assert "Named in advance: nlstm reaches" in " ".join(capsys.readouterr().out.split())
    sweep = {"schema": 1, "contrast": ["lstm", "nlstm"], "trials": {}}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep), "utf-8")
    run(runs / "*", out=str(tmp_path / "out"))
    assert "Named in advance: nlstm reaches" in (tmp_path / "out" / "compare.md").read_text("utf-8")
    (tmp_path / "sweep.json").unlink()
    run(runs / "*", out=str(tmp_path / "out"))
    assert "Named in advance" not in (tmp_path / "out" / "compare.md").read_text("utf-8")
    with pytest.raises(ConfigError, match="--contrast=lstm: two groups expected"):
        run(runs / "*", out=str(tmp_path / "out"), contrast="lstm")


def test_the_files_and_what_is_said(runs, tmp_path, capsys) -> None:
    out = tmp_path / "deep" / "out"
    run(runs / "*", out=str(out))
    said = capsys.readouterr().out
    files = ["compare.html", "compare.md", "compare.png", "table.csv", "table.tex"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "compare.md").read_text("utf-8")
    assert "\n| nlstm | 2 | 100 |" in page
    assert "\n| nlstm | 0, 1 | – | – | – |" in page
    sentence = "nlstm reaches a valid log_loss lower than lstm by 0.200 ± 0.030 nats"
    assert sentence in said
    assert sentence in (out / "compare.html").read_text("utf-8")
    assert f"skipped {runs / 'notes'}: no run folder" in said
    assert "best valid log_loss" in said


def test_tags_choose_runs_and_notes_are_shown(runs, tmp_path, capsys) -> None:
    with flagsaver.flagsaver(add=["paper"], note="as in the paper"):
        annotate.main(["annotate", str(runs / "lstm*")])
    assert capsys.readouterr().out.splitlines()[0] == f"{runs / 'lstm-0'}: paper; as in the paper"
    run(runs / "*", out=str(tmp_path / "out"), tag=["paper"])
    page = (tmp_path / "out" / "compare.md").read_text("utf-8")
    assert "nlstm" not in page
    assert "- lstm-1: paper; as in the paper" in page
    assert "paper; as in the paper" in (tmp_path / "out" / "compare.html").read_text("utf-8")
    with pytest.raises(ConfigError, match="--tag=papr: a tag of these runs expected, which have paper"):
        run(runs / "*", out=str(tmp_path / "out"), tag=["papr"])


def test_facets_groups_and_tuning_by_flag(runs, tmp_path, capsys) -> None:
    run(runs / "*", out=str(tmp_path / "out"), facet="name", group_by=["task"], reach=3.1)
    page = (tmp_path / "out" / "compare.md").read_text("utf-8")
    assert "| name=nlstm | task=poems | 2 |" in page
    assert "name=lstm: No verdict: task=poems is the only group" in page
    run(runs / "*", out=str(tmp_path / "out"), tuned=["name"])
    assert "name=nlstm, best of 2 trials of 4 steps" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--along=tokens: runs that say how far they came so expected, found none"):
        run(runs / "*", out=str(tmp_path / "out"), along="tokens")


def test_against_a_setting_by_flag(runs, tmp_path) -> None:
    out = tmp_path / "out"
    run(runs / "*", out=str(out), against="data.seed")
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert "| data.seed=" in (out / "compare.md").read_text("utf-8")
    for asked, validation_error in (
        ({"against": "data.sed"}, r"--against=data.sed: a setting of these runs, such as cell.name, expected; did"),
        ({"against": "name"}, r"--against=name: a setting that is a number expected, found 'lstm'"),
        ({"against": "name", "facet": "name"}, r"--facet or --against: one of them expected, found both"),
    ):
        with pytest.raises(ConfigError, match=validation_error):
            run(runs / "*", out=str(out), **asked)


def test_a_watch_ends_with_the_last_run(runs, tmp_path, monkeypatch, capsys) -> None:
    ended = (runs / "lstm-0" / "summary.json").read_text("utf-8")
    (runs / "lstm-0" / "summary.json").unlink()
    out, seen = tmp_path / "out", []
    lock = acquire_lock(runs / "lstm-0")

    def sleep(seconds):
        seen.append((seconds, '"refresh": 9' in (out / "compare.html").read_text("utf-8")))
        (runs / "lstm-0" / "summary.json").write_text(ended, "utf-8")

    monkeypatch.setattr(compare.time, "sleep", sleep)
    with lock:
        run(runs / "*", out=str(out), watch=9)
    assert seen == [(9, True)]
    assert '"refresh": 0' in (out / "compare.html").read_text("utf-8")
    assert "1 of 4 runs go on" in capsys.readouterr().out


def test_a_watch_ends_where_no_process_trains_a_run_that_has_not_ended(runs, tmp_path, capsys) -> None:
    path = runs / "lstm-0" / "summary.json"
    ended = path.read_text("utf-8")
    path.write_text(json.dumps({**json.loads(ended), "status": "running"}), "utf-8")
    run(runs / "*", out=str(tmp_path / "out"), watch=9)
    path.write_text(ended, "utf-8")
    assert f"{runs / 'lstm-0'}: stopped before its end, and no process trains it" in capsys.readouterr().out


def test_out_that_is_a_file_is_refused_before_anything_is_read(runs, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="a folder expected, a file found"):
        run(runs / "nowhere", out=str(tmp_path / "file"))


@pytest.mark.parametrize("module", ["matplotlib", "plotly"])
def test_without_the_extra_one_line_says_how_to_install_it(runs, tmp_path, monkeypatch, module) -> None:
    for name in ("run_comparison", "figure", "page"):
        monkeypatch.delitem(sys.modules, f"nlstm_jax.analysis.{name}", raising=False)
        monkeypatch.delattr(f"nlstm_jax.analysis.{name}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf'compare draws with {module}: pip install -e "\.\[report\]"'):
        run(runs / "*", out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_mistake_is_one_line_on_stderr_and_an_exit_code(run_scripts, refused, runs, tmp_path) -> None:
    command = ["compare", runs / "lstm*", "--metric=log_lss", f"--out={tmp_path / 'out'}"]
    ended = run_scripts({"typo": command})["typo"]
    refused(ended, 2, "--metric=log_lss: these runs have log_loss, perplexity; did you mean log_loss?")
    assert not (tmp_path / "out").exists()


def test_a_margin_gives_verdicts_a_forest_plot_and_json(runs, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    run(runs / "*", out=str(out), margin=0.5, contrast="nlstm vs lstm")
    words = "Margin 0.5, valid: nlstm − lstm = -0.200 ± "
    assert words in " ".join(capsys.readouterr().out.split())
    assert words in (out / "compare.md").read_text("utf-8")
    assert words in (out / "compare.html").read_text("utf-8")
    (judgement,) = json.loads((out / "margin.json").read_text("utf-8"))
    assert judgement["better"] == "nlstm"
    assert judgement["verdict"] == "better, but within the margin"
    assert (out / "forest.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": -1.0}, "--margin: a positive number expected, found -1.0"),
        ({"paired": True}, "--paired: --margin beside it expected, found none"),
        ({"margin": 1.0, "paired": True, "reach": 3.0}, "--paired or --reach: one of them expected beside --margin"),
    ],
)
def test_a_margin_that_does_not_serve_is_named(runs, tmp_path, settings, message) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        run(runs / "*", out=str(tmp_path / "out"), **settings)
