import fcntl
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nlstm_jax.errors import ConfigError, RunFinishedError, RunFolderInUseError, StorageError
from nlstm_jax.runs import RunFolder, describe_environment, environment

CONFIG = {"task": "poems", "cell": {"name": "lstm", "features": 16}, "optimizer": {"learning_rate": 0.002}}
OTHER = {"task": "poems", "cell": {"name": "gru", "features": 16}, "optimizer": {"learning_rate": 0.001}}
OURS = {"config.json", "environment.json", "metrics.jsonl", "summary.json", "log.txt", "checkpoints", "lock"}


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of every file below a folder by its path, without the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def fill(path: Path, summary: dict | None = None) -> None:
    """Write a run folder as a process leaves it behind."""
    with RunFolder(path, CONFIG) as folder:
        folder.write_environment({"command": "python"})
        folder.append_metrics([{"step": 8, "split": "train", "log_loss": 2.5}])
        folder.checkpoints.mkdir()
        (folder.checkpoints / "8").mkdir()
        (folder.checkpoints / "8" / "array").write_bytes(b"0123")
        folder.log.write_text("going\n")
        if summary:
            folder.write_summary(summary)


@pytest.fixture
def holder(tmp_path):
    """Return a run folder and another process that holds it."""
    code = (
        "import sys; from pathlib import Path; from nlstm_jax.runs import RunFolder\n"
        f"with RunFolder(Path(sys.argv[1]), {CONFIG!r}):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.communicate()


def test_a_new_folder_and_its_parents_are_made_with_the_configuration_in_it(tmp_path):
    with RunFolder(tmp_path / "some" / "where", CONFIG):
        assert {path.name for path in (tmp_path / "some" / "where").iterdir()} == {"config.json", "lock"}
    assert json.loads((tmp_path / "some" / "where" / "config.json").read_text()) == {"schema": 1, **CONFIG}


def test_a_run_leaves_exactly_these_files(tmp_path):
    fill(tmp_path, {"status": "finished", "steps": 8})
    assert {path.name for path in tmp_path.iterdir()} == OURS
    for name in ("config.json", "environment.json", "summary.json"):
        assert json.loads((tmp_path / name).read_text("utf-8"))["schema"] == 1
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 8, "split": "train", "log_loss": 2.5}\n'


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_another_process_holds_is_refused_and_untouched(holder, overwrite):
    path, process = holder
    (path / "metrics.jsonl").write_text('{"step": 8}\n')
    before = contents(path)
    with pytest.raises(RunFolderInUseError) as caught:
        RunFolder(path, CONFIG, overwrite=overwrite)
    assert str(caught.value) == f"{path}: process {process.pid} on {platform.node()} is writing to this run folder"
    assert contents(path) == before


def test_a_killed_process_leaves_no_lock_behind(holder):
    path, process = holder
    process.kill()
    process.wait()
    with RunFolder(path, CONFIG) as folder:
        assert folder.read_metrics() == []


def test_a_reader_that_asks_who_holds_a_folder_does_not_keep_a_run_from_it(tmp_path):
    with RunFolder(tmp_path, CONFIG):
        pass
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.02, fcntl.flock, (file, fcntl.LOCK_UN))
        timer.start()
        with RunFolder(tmp_path, CONFIG):
            pass
        timer.join()


def test_a_file_that_cannot_be_written_keeps_its_content_and_leaves_nothing_beside_it(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.write_summary({"status": "interrupted", "steps": 8})
        before = contents(tmp_path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        try:
            with pytest.raises(StorageError) as caught:
                folder.write_summary({"status": "finished", "steps": 24})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == f"{tmp_path / 'summary.json'}: cannot be written: File too large"
    assert contents(tmp_path) == before


def test_a_json_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(tmp_path, monkeypatch):
    events = []

    def rename(path, target):
        events.append("rename")
        os.replace(path, target)

    with RunFolder(tmp_path, CONFIG) as folder:
        sync = lambda descriptor: events.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: E731
        monkeypatch.setattr(os, "fsync", sync)
        monkeypatch.setattr(Path, "replace", rename)
        folder.write_summary({"status": "finished", "steps": 24})
    written, renamed, named = events
    assert Path(written).name.startswith(".summary.json.")
    assert (renamed, named) == ("rename", str(tmp_path))


def test_leaving_the_block_gives_the_lock_back_also_after_an_error(tmp_path):
    with pytest.raises(KeyError), RunFolder(tmp_path, CONFIG):
        raise KeyError
    with RunFolder(tmp_path, CONFIG), pytest.raises(RunFolderInUseError):
        RunFolder(tmp_path, CONFIG)


def test_another_configuration_is_refused_by_its_differing_keys_and_both_values(tmp_path):
    fill(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path, OTHER)
    assert str(caught.value) == (
        f"workdir {tmp_path} holds a run of another configuration (cell.name: 'lstm' there, 'gru' here, "
        "optimizer.learning_rate: 0.002 there, 0.001 here); choose another --workdir, or --overwrite to start anew"
    )
    assert contents(tmp_path) == before


def test_an_older_run_goes_on_where_a_setting_has_come_since(tmp_path):
    fill(tmp_path)
    newer = {**CONFIG, "train": {"shards": 1}}

    def with_defaults(config):
        return {"train": {"shards": 1}, **config}

    with RunFolder(tmp_path, newer, with_defaults=with_defaults) as folder:
        assert len(folder.read_metrics()) == 1
    with pytest.raises(ConfigError, match=r"train\.shards: 1 there, 2 here"):
        RunFolder(tmp_path, {**CONFIG, "train": {"shards": 2}}, with_defaults=with_defaults)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_refused_and_untouched(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "blood.csv").write_text("A+")
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path, CONFIG, overwrite=overwrite)
    assert str(caught.value) == (
        f"workdir {tmp_path}: a new, empty or run folder expected, found thesis.tex and no config.json"
    )
    assert contents(tmp_path) == {"thesis.tex": b"years of work", "samples/blood.csv": b"A+"}
    assert not (tmp_path / "lock").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match=r"run: a folder expected, a file found$"):
        RunFolder(tmp_path / "run", CONFIG)
    assert (tmp_path / "run").read_text() == "a file"


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_run_that_has_ended_is_not_gone_on_with(tmp_path, status):
    fill(tmp_path, {"status": status, "steps": 8})
    before = contents(tmp_path)
    with pytest.raises(RunFinishedError) as caught:
        RunFolder(tmp_path, CONFIG)
    assert str(caught.value) == (f"the run in {tmp_path} has already {status} at step 8; --overwrite starts it anew")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("summary", [None, {"status": "interrupted", "steps": 8}])
def test_a_run_that_has_not_ended_goes_on_with_all_it_has(tmp_path, summary):
    fill(tmp_path, summary)
    before = contents(tmp_path)
    with RunFolder(tmp_path, CONFIG) as folder:
        assert folder.read_metrics() == [{"step": 8, "split": "train", "log_loss": 2.5}]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("leftover", [".config.json.4242", "lock"])
def test_a_crash_before_there_was_a_configuration_leaves_a_folder_that_serves(tmp_path, leftover):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / leftover).touch()
    with RunFolder(tmp_path / "run", CONFIG):
        assert (tmp_path / "run" / "config.json").exists()


def test_overwriting_deletes_what_a_run_left_and_nothing_else(tmp_path):
    fill(tmp_path, {"status": "finished", "steps": 8})
    (tmp_path / "samples").mkdir()
    for name in ("samples/step8.txt", "forecast.csv", "ranking.csv", "notes.md", "checkpoints.bak"):
        (tmp_path / name).write_text("text")
    with RunFolder(tmp_path, OTHER, overwrite=True):
        pass
    assert json.loads((tmp_path / "config.json").read_text()) == {"schema": 1, **OTHER}
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "lock", "notes.md", "checkpoints.bak"}


def test_a_last_line_that_a_crash_cut_off_is_dropped_and_the_file_mended(tmp_path):
    lines = [{"step": 8, "split": "train"}, {"step": 8, "split": "valid"}, {"step": 16, "split": "train"}]
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.append_metrics(lines)
        text = (tmp_path / "metrics.jsonl").read_text()
        (tmp_path / "metrics.jsonl").write_text(text + '{"step": 16, "spl')
        assert folder.read_metrics() == lines
        assert folder.truncate_metrics(16) == lines
        folder.append_metrics([{"step": 16, "split": "valid"}])
        assert folder.read_metrics() == [*lines, {"step": 16, "split": "valid"}]


def test_lines_that_repeat_a_step_and_split_are_dropped(tmp_path):
    rows = [{"step": step, "split": split, "log_loss": 1.0} for step in (8, 16) for split in ("train", "valid")]
    text = "".join(json.dumps(row) + "\n" for row in [*rows, *rows[1:]])
    (tmp_path / "metrics.jsonl").write_text(text, "utf-8")
    with RunFolder(tmp_path, CONFIG) as folder:
        assert folder.read_metrics() == rows
        assert folder.truncate_metrics(16) == rows
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()] == rows


def test_lines_past_the_checkpoint_are_dropped(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.append_metrics([{"step": 8, "log_loss": 0.1}, {"step": 16, "log_loss": 1 / 3}])
        first = (tmp_path / "metrics.jsonl").read_text().split("\n")[0] + "\n"
        assert folder.truncate_metrics(8) == [{"step": 8, "log_loss": 0.1}]
        assert (tmp_path / "metrics.jsonl").read_text() == first
        assert folder.truncate_metrics(0) == []
        assert (tmp_path / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused_and_what_was_there_stays(tmp_path, value):
    fill(tmp_path, {"status": "interrupted", "steps": 8})
    before = contents(tmp_path)
    with RunFolder(tmp_path, CONFIG) as folder:
        with pytest.raises(ValueError, match="not JSON compliant"):
            folder.write_summary({"status": "finished", "valid": {"log_loss": value}})
        with pytest.raises(ValueError, match="not JSON compliant"):
            folder.append_metrics([{"step": 16, "log_loss": 1.0}, {"step": 16, "log_loss": value}])
    assert contents(tmp_path) == before


def git(folder: Path, *arguments: str) -> str:
    options = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *options, *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace").strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a git checkout that the code takes for its own."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("w = 0\nx = 0\na = 1\ny = 0\nz = 0\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=first")
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    return tmp_path


def test_the_environment_says_which_code_was_run(checkout):
    clean = describe_environment(["cpu", "cpu"], {"name": "poems"})
    assert clean["commit"] == git(checkout, "rev-parse", "HEAD")
    assert clean["uncommitted_diff"] == ""
    assert clean["devices"] == {"kind": "cpu", "count": 2, "processes": 1}
    assert clean["data"] == {"name": "poems"}
    assert clean["python"] == sys.version.split()[0]
    assert {"jax", "flax", "optax", "orbax-checkpoint", "numpy"} <= clean["versions"].keys()
    assert clean["command"].split()[0] == Path(sys.executable).name


def apply_recorded(checkout, recorded):
    """Make the code that was run out of the commit and the recorded changes, in a fresh clone."""
    clone = checkout / "clone"
    git(checkout, "clone", "--quiet", str(checkout), str(clone))
    git(clone, "checkout", "--quiet", recorded["commit"])
    diff = recorded["uncommitted_diff"].encode()
    # An empty global configuration, so that only the diff itself decides.
    variables = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "apply"], cwd=clone, input=diff, check=True, env=variables)
    return clone


@pytest.mark.parametrize(
    "setting",
    [
        None,
        "color.ui=always",
        "diff.external=cat",
        "diff.noprefix=true",
        "diff.mnemonicPrefix=true",
        "diff.context=0",
        "diff.words.textconv=wc",
    ],
)
def test_the_recorded_changes_make_the_code_that_was_run_out_of_the_commit(checkout, setting):
    (checkout / ".gitattributes").write_text("*.py diff=words\n")
    git(checkout, "add", ".gitattributes")
    git(checkout, "commit", "--quiet", "--message=second")
    if setting:
        git(checkout, "config", *setting.split("=", 1))
    (checkout / "code.py").write_text("w = 0\nx = 0\na = 2\ny = 0\nz = 0\n")
    (checkout / "bytes.py").write_bytes(bytes(range(256)))
    git(checkout, "add", "bytes.py")
    recorded = describe_environment([], {})
    assert "-a = 1" in recorded["uncommitted_diff"]
    assert "+a = 2" in recorded["uncommitted_diff"]
    clone = apply_recorded(checkout, recorded)
    assert (clone / "code.py").read_text() == (checkout / "code.py").read_text()
    assert (clone / "bytes.py").read_bytes() == bytes(range(256))


def test_a_change_that_is_not_utf8_is_recorded_too(checkout):
    (checkout / "code.py").write_bytes(b"a = 'caf\xe9'\n")
    clone = apply_recorded(checkout, describe_environment([], {}))
    assert (clone / "code.py").read_bytes() == b"a = 'caf\xe9'\n"


def test_small_sources_that_git_does_not_track_are_part_of_the_changes(checkout):
    (checkout / "configs").mkdir()
    (checkout / "configs" / "mine é.py").write_text("b = 1\n")
    (checkout / "data.csv").write_text("1,2\n")
    (checkout / "large.py").write_text("#" * 200_000)
    (checkout / ".gitignore").write_text("ignored.py\n")
    (checkout / "ignored.py").write_text("c = 1\n")
    before = git(checkout, "status", "--short")
    clone = apply_recorded(checkout, describe_environment([], {}))
    assert (clone / "configs" / "mine é.py").read_text() == "b = 1\n"
    assert not any((clone / name).exists() for name in ("data.csv", "large.py", "ignored.py"))
    shutil.rmtree(clone)
    assert git(checkout, "status", "--short") == before


def test_a_variable_that_names_another_repository_changes_nothing(checkout, monkeypatch):
    git(checkout, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(checkout / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/dev/null")
    recorded = describe_environment([], {})
    monkeypatch.undo()
    assert recorded["commit"] == git(checkout, "rev-parse", "HEAD")
    assert (recorded["uncommitted_diff"], recorded["git_error"]) == ("", None)


def test_outside_of_a_checkout_there_is_no_commit_to_record(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    recorded = describe_environment([], {})
    assert (recorded["commit"], recorded["uncommitted_diff"]) == (None, None)
    assert recorded["git_error"] == f"{tmp_path} is not a git checkout"
    assert recorded["devices"] == {"kind": None, "count": 0, "processes": 1}


def test_where_git_fails_the_reason_is_recorded(checkout, monkeypatch):
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    recorded = describe_environment([], {})
    assert (recorded["commit"], recorded["uncommitted_diff"]) == (None, None)
    assert recorded["git_error"].startswith("git rev-parse: fatal: ")
    monkeypatch.setenv("PATH", "")
    assert describe_environment([], {})["git_error"] == "git: No such file or directory"


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="a folder that can be made expected: Not a directory"):
        RunFolder(tmp_path / "file" / "run", CONFIG)


def test_code_that_was_copied_has_the_commit_of_the_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    (tmp_path / "snapshot.json").write_text('{"schema": 1, "commit": "abc", "uncommitted_diff": "+1"}', "utf-8")
    recorded = describe_environment([], {})
    assert (recorded["commit"], recorded["uncommitted_diff"]) == ("abc", "+1")
