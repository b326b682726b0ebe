"""Paths on the command line and in settings: `~` is the home folder, and what is missing is named."""

import ast
import re
from pathlib import Path

import pytest
from absl import flags

from nlstm_jax import command
from nlstm_jax.data.generators.shop_world import ShopWorld, write_shop_world
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import find_runs
from nlstm_jax.sweeps.space import load_module, resolve

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))
POEMS = "\n\n".join(f"the {number}th bird goes up\nand number {number} comes down" for number in range(100))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_flag_of_a_path_knows_the_home_folder(home: Path) -> None:
    command.define_path("some_file_of_a_test", "default", "")
    try:
        flags.FLAGS(["script", "--some_file_of_a_test=~/runs/a"])
        assert flags.FLAGS.some_file_of_a_test == f"{home}/runs/a"
        flags.FLAGS(["script", "--some_file_of_a_test=a/~"])
        assert flags.FLAGS.some_file_of_a_test == "a/~"
    finally:
        delattr(flags.FLAGS, "some_file_of_a_test")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_flag_that_is_made_a_path_is_a_flag_of_a_path(script: Path) -> None:
    code = script.read_text("utf-8")
    defined = dict(re.findall(r"^(_\w+) = (?:\w+\.)?(\w+)\(", code, re.MULTILINE))
    for name in re.findall(r"Path\((_\w+)\.value\)", code):
        assert defined[name] == "define_path", name


def test_every_setting_that_is_made_a_path_knows_the_home_folder() -> None:
    """A setting is an item of a configuration, e.g. `data["path"]`."""
    checked = []
    for file in [*(ROOT / "nlstm_jax" / "tasks").glob("*.py"), *(ROOT / "nlstm_jax" / "training").glob("*.py")]:
        tree = ast.parse(file.read_text("utf-8"))
        expanded = {ast.unparse(node.value) for node in ast.walk(tree) if _is_expanduser(node)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "Path"
                and isinstance(node.args[0], ast.Subscript)
            ):
                assert ast.unparse(node) in expanded, f"{file.name}: {ast.unparse(node)}"
                checked.append(file.name)
    assert len(checked) >= 7


def _is_expanduser(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "expanduser"


def test_runs_and_config_files_are_found_in_the_home_folder(home: Path) -> None:
    (home / "runs" / "a").mkdir(parents=True)
    (home / "runs" / "a" / "config.json").write_text('{"schema": 1}', "utf-8")
    for name in ("~/runs/a", "~/runs/*"):
        assert [run.path for run in find_runs([name])[0]] == [home / "runs" / "a"]

    (home / "mine.py").write_text((ROOT / "configs" / "poems.py").read_text("utf-8"), "utf-8")
    assert load_module(home / "mine.py", "a config file")
    assert resolve("~/mine.py", "cell=lstm,smoke", {})["task"] == "poems"


def test_the_data_of_a_task_are_found_in_the_home_folder(home: Path) -> None:
    from configs import poems, sales
    from nlstm_jax import tasks

    (home / "poems.txt").write_text(POEMS, "utf-8")
    write_shop_world(ShopWorld(shops=6, items=80, rows=3000, test_pairs=300), home / "world")
    for module, name in ((poems, "poems.txt"), (sales, "world")):
        config = module.get_config("cell=lstm,smoke")
        config.data.path = f"~/{name}"
        config.train.batch_size = 4
        assert tasks.build(config.to_dict()).splits["train"].size > 1


def test_one_config_file_is_accepted() -> None:
    one = ["script", "--config=a.py", "--config.data.path=x", "--workdir", "--config"]
    command._check_one_config(one[:3])
    for two in (["--config=a.py", "--config=b.py"], ["--config", "a.py", "-config", "b.py"]):
        with pytest.raises(ConfigError, match=r"^--config: one config file expected, found a\.py and b\.py$"):
            command._check_one_config(["script", *two])


@pytest.fixture(scope="module")
def ended(run_scripts, tmp_path_factory: pytest.TempPathFactory):
    """Return what every script says of a run folder that is missing, and of two config files."""
    none = tmp_path_factory.mktemp("none") / "run"
    calls = {
        "annotate": [str(none), "--add=a"],
        "baselines": [str(none)],
        "classify": [f"--workdir={none}", "--sequence=a"],
        "compare": [str(none)],
        "convert": [f"--input={none}", f"--output={none}.safetensors"],
        "evaluate": [f"--workdir={none}"],
        "forecast": [f"--workdir={none}"],
        "sample": [f"--workdir={none}"],
        "train": ["--config=configs/poems.py", "--config=configs/sales.py", f"--workdir={none}"],
    }
    return none, run_scripts({script: [script, *arguments] for script, arguments in calls.items()})


def test_a_missing_run_folder_is_named_by_every_script(ended, refused) -> None:
    none, ended = ended
    refused(ended.pop("train"), 2, "--config: one config file expected, found configs/poems.py and configs/sales.py")
    refused(ended.pop("convert"), 3, f"{none}: a run folder or a file of weights expected, none found")
    assert len(ended) == 7
    for script in ended.values():
        refused(script, 3, f"{none}: a run folder (one with a config.json) expected, none found")
