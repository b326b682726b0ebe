"""An installed wheel trains: its scripts, its configs and its extras, outside of a checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from experiments import __main__ as nlstm
from nlstm_jax import installation
from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps import load

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if not path.stem.startswith("_"))
SOURCES = ("nlstm_jax", "experiments", "configs", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"


def test_the_command_names_every_script_and_the_most_similar_one(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["nlstm"])
    nlstm.main()
    listed = re.findall(r"^  (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert sorted([*listed, "trials"]) == SCRIPTS

    monkeypatch.setattr(sys, "argv", ["nlstm", "trian"])
    with pytest.raises(SystemExit) as ended:
        nlstm.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"nlstm: one of {', '.join(listed)} expected, found 'trian'; " + (
        "did you mean 'train'?\n"
    )


def test_a_config_is_found_by_its_name_after_a_file_of_that_name(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poems").mkdir()
    assert installation.find_config("poems") == ROOT / "configs" / "poems.py"
    assert installation.find_config("poems_depth", installation.SWEEPS) == ROOT / "configs/sweeps/poems_depth.py"
    suite = ROOT / "configs/sweeps/suite_v1/sales_draws.py"
    assert installation.find_config("suite_v1/sales_draws", installation.SWEEPS) == suite
    assert installation.find_config("mine/poems.py") == Path("mine/poems.py")
    assert installation.find_config("mine/poems") == Path("mine/poems")
    (tmp_path / "sales").touch()
    assert installation.find_config("sales") == Path("sales")
    with pytest.raises(
        ConfigError, match=r"^a path of a Python file, or one of classify, .*, expected, found 'poem'$"
    ):
        installation.find_config("poem")


@pytest.mark.slow
def test_the_built_in_sweeps_load_in_any_folder(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (*installation.SWEEPS.glob("*.py"), installation.SWEEPS / "suite_v1/sales_draws.py"):
        assert load(path).trials, path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an environment with the wheel of this checkout and the packages of this environment."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, source)
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, check=True, capture_output=True, timeout=200)
    (wheel,) = (source / "dist").glob("*.whl")
    wheel = wheel.rename(folder / wheel.name)
    shutil.rmtree(source)

    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    # The dependencies. A folder that a .pth file names has none of its own .pth files read, so no checkout is found.
    (site_packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return folder


def end_of(installed: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a program of the environment in a folder outside of the checkout."""
    folder = installed / "work"
    folder.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = [str(installed / "venv" / "bin" / command[0]), *command[1:]]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)


def run(installed: Path, *command: str) -> str:
    """Run a program of the environment, which must succeed, and return what it prints."""
    done = end_of(installed, *command)
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


@pytest.mark.slow
def test_a_wheel_has_only_names_of_its_own_and_every_extra(installed: Path) -> None:
    (wheel,) = installed.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = Parser().parsestr(archive.read(next(name for name in names if "METADATA" in name)).decode())
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"nlstm_jax", "nlstm_experiments"}
    assert "nlstm_jax/unroll/native/loop.cc" in names
    extras = re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text("utf-8").partition("extras_require]")[2], re.M)
    assert sorted(metadata.get_all("Provides-Extra")) == sorted(extras)
    for extra in extras:
        assert any(f'extra == "{extra}"' in line for line in metadata.get_all("Requires-Dist")), extra


@pytest.mark.slow
def test_a_wheel_runs_the_first_screen_of_the_readme(installed: Path) -> None:
    pytest.importorskip("matplotlib")
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^    nlstm ([^#\n]*)", readme, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["train", "train", "compare"]
    for command in commands:
        arguments = [argument.strip("'") for argument in command.split()]
        run(installed, "nlstm", *[f"{item},smoke" if item.startswith("--config=") else item for item in arguments])
    assert (installed / "work" / "comparison" / "compare.html").is_file()

    example = re.findall(r"```python\n(>>>.*?)```", readme, re.DOTALL)[0]
    (installed / "work" / "example.txt").write_text(example, "utf-8")
    run(installed, "python", "-m", "doctest", "example.txt")
    assert str(installed) in run(installed, "python", "-c", "import nlstm_jax; print(nlstm_jax.__file__)")


@pytest.mark.slow
def test_a_wheel_sweeps_with_a_copy_of_its_own_packages_alone(installed: Path) -> None:
    arguments = ["--config=poems:smoke,features=4", "--grid=cell=lstm,gru", "--workdir=sweep", "--slots=1"]
    printed = run(installed, "nlstm", "sweep", *arguments)
    assert "2 finished: nlstm compare" in printed
    copied = sorted(path.name for path in (installed / "work" / "sweep" / "code").iterdir())
    assert copied == ["nlstm_experiments", "nlstm_jax", "snapshot.json"]


@pytest.mark.slow
def test_a_wheel_has_the_sweeps_of_the_suite_with_the_trials_of_a_checkout(installed: Path, monkeypatch) -> None:
    monkeypatch.setenv("NLSTM_JAX_DATA", str(installed))
    (wheel,) = installed.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= {f"nlstm_jax/{path.relative_to(ROOT)}" for path in installation.SWEEPS.rglob("*.py")}
    printed = run(installed, "nlstm", "sweep", "--sweep=suite_v1/sales_draws", "--workdir=dry", "--dry_run")
    trials = load(installation.find_config("suite_v1/sales_draws", installation.SWEEPS)).trials
    assert len(trials) == 32
    assert [trial.name for trial in trials if trial.name not in printed] == []
    # A design of the suite's own cell trains from the wheel.
    file = installed / "deep.py"
    text = "from nlstm_jax.configs.sweeps.suite_v1.designs import DESIGNS\n\n\ndef sweep(add):\n"
    file.write_text(text + '    add("echo", smoke=True, features=4, **DESIGNS["D"])\n', "utf-8")
    assert "1 finished" in run(installed, "nlstm", "sweep", f"--sweep={file}", "--workdir=deep", "--slots=1")


@pytest.mark.slow
def test_every_help_of_a_wheel_has_commands_that_exist_there(installed: Path) -> None:
    for script in set(SCRIPTS) - {"trials"}:
        done = end_of(installed, "nlstm", script, "--help")
        assert done.returncode == 0, script
        assert f"nlstm {script}" in done.stdout.partition("\nflags:")[0], script
        assert not re.search(r"python -m experiments|configs/", done.stdout), script


@pytest.mark.slow
def test_a_wheel_says_how_its_own_extras_are_installed(installed: Path) -> None:
    """pip takes the extra from the metadata of the installed package, without a registry."""
    code = "import sys; sys.modules['optuna'] = None; sys.argv = ['nlstm', 'sweep', *sys.argv[1:]]"
    code += "; from nlstm_experiments.__main__ import main; main()"
    search = installed / "search.py"
    search.write_text("TRIALS = 2\n\n\ndef suggest(trial, add):\n    pass\n", "utf-8")
    done = end_of(installed, "python", "-c", code, f"--sweep={search}", "--workdir=search")
    assert (done.returncode, done.stderr) == (2, 'a search expects Optuna: pip install "nlstm_jax[sweep]"\n')
