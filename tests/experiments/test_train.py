import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlstm_jax.runs.lock import acquire_lock

ROOT = Path(__file__).resolve().parents[2]
POEMS = "--config=configs/poems.py:cell=nlstm,smoke"
HEADER = "date,date_block_num,shop_id,item_id,item_price,item_cnt_day"

# The arguments added to a valid command, the exit code, and the line on stderr.
MISTAKES = {
    "unknown key": (
        ["--config.optimizer.learnin_rate=1"],
        2,
        "--config.optimizer.learnin_rate: no such setting; did you mean config.optimizer.learning_rate?",
    ),
    "key of another library": (
        ["--config.optimizer.lr=1"],
        2,
        "--config.optimizer.lr: no such setting; did you mean config.optimizer.learning_rate?",
    ),
    "setting of another task": (
        ["--config.data.windw=3"],
        2,
        "--config.data.windw: no such setting",
    ),
    "value of another task": (
        ["--config=configs/classify.py:cell=lstm,smoke", "--config.data.length=many"],
        2,
        "config.data.length: a whole number ≥ 2 and ≤ 100,000 expected, found 'many'",
    ),
    "key without its section": (
        ["--config.batch_size=1"],
        2,
        "--config.batch_size: no such setting; did you mean config.train.batch_size?",
    ),
    "a seed without its section": (
        ["--config.seed=1"],
        2,
        "--config.seed: no such setting; did you mean config.seeds.init?",
    ),
    "wrong type": (
        ["--config.train.batch_size=many"],
        2,
        "config.train.batch_size: a whole number ≥ 1 expected, found 'many'",
    ),
    "part of a whole": (
        ["--config.train.batch_size=1.5"],
        2,
        "config.train.batch_size: a whole number ≥ 1 expected, found '1.5'",
    ),
    "negative": (
        ["--config.train.batch_size=-1"],
        2,
        "config.train.batch_size: a whole number ≥ 1 expected, found -1",
    ),
    "zero": (["--config.train.epochs=0"], 2, "config.train.epochs: a finite number > 0 expected, found 0.0"),
    "nan": (
        ["--config.optimizer.learning_rate=nan"],
        2,
        "config.optimizer.learning_rate: a finite number > 0 expected, found nan",
    ),
    "unknown choice": (
        ["--config.optimizer.name=adamx"],
        2,
        "config.optimizer.name: one of adam, adamw, keras_adam, sgd, rmsprop expected, found 'adamx'",
    ),
    "unknown cell": (
        ["--config=configs/poems.py:cell=lstn"],
        2,
        "cell: one of elman, gru, lstm, peephole, nlstm or package.module:factory expected, found 'lstn'; "
        "did you mean 'lstm'?",
    ),
    "unknown option of a cell": (
        ["--config.cell.gating=addd"],
        2,
        "config.cell or config.model: LSTM: gating: one of multiply, add expected, found 'addd'",
    ),
    "unknown argument": (
        ["--config=configs/poems.py:cel=lstm"],
        2,
        "config argument 'cel': no such argument; did you mean 'cell'?",
    ),
    "no cuDNN": (
        ["--config=configs/poems.py:cell=lstm,smoke", "--config.unroll.mode=cudnn"],
        2,
        "config.unroll: unroll: mode='cudnn': an NVIDIA GPU expected, found cpu",
    ),
    "no width": (
        ["--config=configs/poems.py:cell=lstm,smoke,params=10"],
        2,
        "config.cell or config.model: no width of this cell comes within 1% of 10 parameters: the nearest, 1, has 72",
    ),
    "no width of a whole model": (
        ["--config=configs/poems.py:cell=lstm,smoke,model_params=10"],
        2,
        "config.model.parameters: 10,697 parameters or more, those of a cell of width 1, expected, found 10",
    ),
    "missing config file": (
        ["--config=configs/nothing.py:smoke"],
        2,
        "--config: a config file expected, configs/nothing.py is none",
    ),
    "unknown metric": (
        ["--config.eval.metric=mse"],
        2,
        "config.eval.metric: one of log_loss, log_loss_per_character, perplexity expected, found 'mse'",
    ),
    "unknown flag": (["--wrkdir=x"], 2, "Unknown command line flag 'wrkdir'. Did you mean: workdir ?"),
    "leftover": (["leftover"], 2, "flags only expected, found 'leftover'"),
    "uneven batch": (
        ["--cpu_devices=3"],
        2,
        "config.train.batch_size: a multiple of the number of devices, 3, expected, found 32",
    ),
    "batch too large": (
        ["--config.train.batch_size=257"],
        3,
        "poems: generated verse: at least one batch of 257 training poems expected, found 256; "
        "--config.train.batch_size=256 or less serves",
    ),
    "no poems there": (
        ["--config.data.path={folder}/nowhere.txt"],
        3,
        "poems: {folder}/nowhere.txt: a file of poems, or a folder of quatrain files, expected; there is none",
    ),
    "bad poems": (
        ["--config.data.path={folder}/bad.txt"],
        3,
        "poems: {folder}/bad.txt line 3: byte 0xff found, text in UTF-8 accepted",
    ),
    "bad sales": (
        ["--config=configs/sales.py:cell=nlstm,smoke", "--config.data.path={folder}/sales"],
        3,
        "{folder}/sales/sales_train.csv line 3, column item_id: 'x' found, a whole number from 0 to 9999999 accepted",
    ),
}
SCRIPTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if not path.stem.startswith("_"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of damaged data."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "bad.txt").write_bytes(b"ab\n\ncd\xff\n")
    (folder / "sales").mkdir()
    rows = [HEADER, "02.01.2013,0,5,30,99.5,2.0", "02.01.2013,0,5,x,99.5,2.0"]
    (folder / "sales" / "sales_train.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_a_code_and_leaves_no_folder(run_scripts, folder, refused, tmp_path, name):
    added, code, message = MISTAKES[name]
    config = [] if added[0].startswith("--config=") else [POEMS]
    added = [part.format(folder=folder) for part in added]
    command = ["train", *config, f"--workdir={tmp_path / 'run'}", *added]
    refused(run_scripts({name: command})[name], code, message.format(folder=folder))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "expected"), [("config", "a config, such as demo:cell=lstm,"), ("workdir", "a run folder")]
)
def test_both_flags_are_needed(run_scripts, refused, tmp_path, flag, expected):
    given = POEMS if flag == "workdir" else f"--workdir={tmp_path / 'run'}"
    ended = run_scripts({flag: ["train", given]})[flag]
    refused(ended, 2, f"flag --{flag}=None: {expected} expected, found none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_opens_with_what_the_script_is_and_lists_its_flags(run_scripts, script):
    code, help_text, _ = run_scripts({script: [script, "--help"]})[script]
    assert code == 0
    docstring = (ROOT / "experiments" / f"{script}.py").read_text("utf-8").split('"""')[1]
    assert docstring.splitlines()[0] in help_text
    assert f"python -m experiments.{script}" in help_text
    for flag in re.findall(
        r"flags\.DEFINE_\w+\(\s*\"(\w+)\"", (ROOT / "experiments" / f"{script}.py").read_text("utf-8")
    ):
        assert re.search(rf"--(\[no\])?{flag}:", help_text), flag


def test_a_file_that_cannot_be_written_is_one_line(run_scripts, refused, tmp_path):
    for name in ("folder", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "log.txt").mkdir()
    (tmp_path / "full" / "log.txt").symlink_to("/dev/full")
    ended = run_scripts({name: ["train", POEMS, f"--workdir={tmp_path / name}"] for name in ("folder", "full")})
    message = f"{tmp_path / 'folder' / 'log.txt'}: cannot be read or written: Is a directory"
    refused(ended["folder"], 2, message)
    refused(ended["full"], 2, f"{tmp_path / 'full'}: cannot be read or written: No space left on device")


@pytest.mark.slow
def test_a_run_folder_is_refused_to_another_run(trained, run_scripts, refused, tmp_path):
    done = tmp_path / "done"
    shutil.copytree(trained / "poems", done)
    (tmp_path / "held").mkdir()
    shutil.copy(done / "config.json", tmp_path / "held")
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    with acquire_lock(tmp_path / "held"):
        ended = run_scripts(
            {
                "finished": ["train", POEMS, f"--workdir={done}"],
                "another": ["train", POEMS, f"--workdir={done}", "--config.seeds.init=1"],
                "held": ["train", POEMS, f"--workdir={tmp_path / 'held'}"],
            }
        )
    refused(ended["finished"], 7, f"the run in {done} has already finished at step 24; --overwrite starts it anew")
    refused(
        ended["another"],
        2,
        f"workdir {done} holds a run of another configuration (seeds.init: 0 there, 1 here); "
        "choose another --workdir, or --overwrite to start anew",
    )
    holder = f"process {os.getpid()} on {platform.node()}"
    refused(ended["held"], 6, f"{tmp_path / 'held'}: {holder} is writing to this run folder")
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before


def test_a_run_leaves_exactly_its_files(trained):
    names = {"config.json", "environment.json", "metrics.jsonl", "summary.json", "checkpoints", "log.txt", "lock"}
    assert {path.name for path in (trained / "sales").iterdir()} == names
    log = (trained / "poems" / "log.txt").read_text("utf-8")
    assert "vocabulary: " in log
    assert "finished after 24 steps; best step 24: valid log_loss " in log
    assert "\x1b" not in log


def test_a_loss_that_is_not_finite_ends_the_run(run_scripts, tmp_path):
    added = ["--config.optimizer.learning_rate=1e30", "--config.optimizer.name=sgd", "--config.optimizer.clip_norm=0"]
    command = ["train", POEMS, f"--workdir={tmp_path / 'run'}", *added]
    ended = run_scripts({"diverged": command})
    assert ended["diverged"].code == 4
    assert re.fullmatch(
        r"diverged: the loss is not finite at step \d+; a lower config\.optimizer\.learning_rate or a "
        r"config\.optimizer\.clip_norm may help\n",
        ended["diverged"].err,
    )
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["diverged"] is True
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "diverged"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_the_command_that_goes_on_and_it_does(run_scripts, tmp_path, number):
    workdir = tmp_path / "a run"
    command = [sys.executable, "-m", "experiments.train", POEMS, f"--workdir={workdir}"]
    command += ["--config.train.epochs=24", "--config.eval.every_epochs=2", "--config.train.steps_per_call=3"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not count_lines(workdir) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    found = re.fullmatch(r"interrupted at step (\d+); to go on: (.*)\n", errors)
    assert found, errors
    summary = json.loads((workdir / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("interrupted", int(found[1]))
    program, *arguments = shlex.split(found[2])
    assert [program, *arguments] == [Path(sys.executable).name, *command[1:]]
    done = run_scripts({"again": ["train", *arguments[2:]]})["again"]
    assert (done.code, done.err) == (0, "")
    assert f"going on from step {found[1]}" in done.out
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == [step for step in range(16, 193, 16) for _ in ("train", "valid")]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_during_the_imports_is_one_line(script):
    command = [sys.executable, "-X", "importtime", "-m", f"experiments.{script}"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            # The packages that JAX needs are imported long before the script's own code runs.
            if line.split()[-1] == b"numpy":
                break
        process.send_signal(signal.SIGINT)
        rest = [line for line in process.stderr if not line.startswith(b"import time:")]
    assert (process.returncode, rest) == (75, [b"interrupted\n"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(tmp_path, number):
    # One compiled call makes all of the steps, which take far longer than the test waits.
    command = [sys.executable, "-m", "experiments.train", POEMS, f"--workdir={tmp_path / 'run'}"]
    command += ["--config.train.steps=100000", "--config.train.steps_per_call=100000"]
    command += ["--config.eval.every_steps=100000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.txt"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.01)
    time.sleep(4)
    process.send_signal(number)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 75
    assert errors == "interrupted again: the same command goes on from the last checkpoint\n"


def count_lines(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_seeds_together_are_runs_in_folders_of_their_own(run_scripts, tmp_path):
    command = ["train", "--config=configs/sales.py:cell=nlstm,smoke,seed=3", "--config.train.epochs=0.2"]
    ended = run_scripts(
        {
            "together": [*command, "--vmap_seeds=2", f"--workdir={tmp_path / 'runs'}"],
            "again": [*command, "--vmap_seeds=2", f"--workdir={tmp_path / 'runs'}"],
            "more": [*command, "--vmap_seeds=3", f"--workdir={tmp_path / 'runs'}"],
        }
    )
    assert [(end.code, end.err) for end in (ended["together"], ended["more"])] == [(0, "")] * 2
    assert ended["again"].code == 7
    assert ended["again"].err == "all 2 runs have already ended; --overwrite starts them anew\n"
    assert "2 runs together, seed3, seed4" in ended["together"].out
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == ["seed3", "seed4", "seed5"]
    for name in folders:
        config = json.loads((tmp_path / "runs" / name / "config.json").read_text("utf-8"))
        assert set(config["seeds"].values()) == {int(name[-1])}
