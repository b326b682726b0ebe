import importlib.util
import json
from pathlib import Path

import jax
import pytest

from configs import poems
from nlstm_jax import models, settings, tasks
from nlstm_jax.cells.build import FACTORIES
from nlstm_jax.errors import ConfigError
from nlstm_jax.settings import arguments
from nlstm_jax.training import fit

FILES = sorted(
    path for path in (Path(__file__).resolve().parents[2] / "configs").glob("*.py") if path.stem != "__init__"
)


def module_of(path: Path):
    """Import a config file, and return its module."""
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: Path, argument: str):
    """Return the configuration of a file, as the --config flag loads it."""
    return module_of(path).get_config(argument)


VARIANTS = [
    (path, f"variant={variant}," if variant else "", f"{path.stem} {variant}".strip())
    for path in FILES
    for variant in getattr(module_of(path), "VARIANTS", ("",))
]
CELLS = ("elman", "gru", "lstm", "peephole", "nlstm,depth=3", "lstm,layers=2")
SIZED = [
    pytest.param(
        path,
        cell,
        marks=() if path.stem == "poems" or cell == "lstm" else pytest.mark.slow,
        id=f"{path.stem}-{cell}",
    )
    for path in FILES
    for cell in CELLS
]
"""The pairs of a config file and a cell. Pairs other than poems with any cell, or any file with lstm, are slow."""
SIZES = {"channels": 1, "outputs": 1, "vocabulary": 50, "classes": 4}
"""The dimensions that the tasks pass to their models."""


def plain(config) -> dict:
    return json.loads(config.to_json())


def shapes(config, sizes) -> dict:
    """Return the shapes of the parameters of a configuration's model."""
    return jax.eval_shape(lambda: models.split(models.build(config, sizes))[1])


@pytest.fixture(scope="module")
def smoke_tasks():
    """Return the task of each file's smoke configuration, which does not depend on the cell."""
    return {path: tasks.build(plain(load(path, "smoke"))) for path in FILES}


def test_there_are_configurations():
    assert {"poems", "sales", "ptb", "echo", "stocks", "classify"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("cell", FACTORIES)
def test_every_cell_builds_in_every_configuration(path, cell, smoke_tasks):
    for argument in (f"cell={cell},smoke", f"cell={cell},smoke,layers=2,features=5,seed=3", f"cell={cell}"):
        config = plain(load(path, argument))
        settings.check(config)
        assert config["cell"]["name"] == cell
        if "smoke" in argument:
            parameters = shapes(config, smoke_tasks[path].model_dims)
            first = "layers/0/w_h" if config["cell"]["layers"] > 1 else "w_h"
            (w_h, *_) = [value for name, value in parameters.items() if name.endswith(f"/params/{first}")]
            assert w_h.shape[0] == config["cell"]["features"]
    assert config["train"]["batch_size"] >= load(path, "smoke").train.batch_size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "variant"), [pytest.param(path, variant, id=name) for path, variant, name in VARIANTS]
)
def test_every_configuration_trains_when_shrunk(path, variant, tmp_path):
    fit(load(path, f"{variant}cell=nlstm,depth=2,smoke"), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    split = "valid" if any(line["split"] == "valid" for line in lines) else "train"
    scored = [line["log_loss"] for line in lines if line["split"] == split]
    assert len(scored) >= 3
    # In online training every line has other examples, so the loss need not fall.
    assert scored[-1] < scored[0] or "online" in variant


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_docstring_opens_with_what_it_is_and_its_command(path):
    module = module_of(path)
    assert f"python -m experiments.train --config=configs/{path.name}:cell=" in module.__doc__
    assert (
        f"Arguments: {' '.join(f'{name}=' for name in arguments.ARGUMENTS if name != 'smoke')} smoke" in module.__doc__
    )


@pytest.mark.slow
@pytest.mark.parametrize(("path", "cell"), SIZED)
def test_cells_of_as_many_parameters_as_asked_for_within_a_percent(path, cell):
    wanted = 200_000
    config = plain(load(path, f"cell={cell},params={wanted}"))
    parameters = shapes(config, SIZES)
    found = sum(value.size for name, value in parameters.items() if models.is_recurrent(name))
    assert abs(found / wanted - 1) <= 0.01
    if config["task"] == "poems":
        assert parameters["projection/kernel"].shape[1] == config["model"]["embedding"]
        assert parameters["softmax/kernel"].shape == (config["model"]["embedding"], 50)


def test_arguments_are_typed_and_have_defaults():
    values = arguments.parse("")
    assert values == {name: setting.default for name, setting in arguments.ARGUMENTS.items()}
    values = arguments.parse("cell=nlstm,depth=3,layers=2,features=10,seed=7,smoke")
    given = {"cell": "nlstm", "depth": 3, "layers": 2, "features": 10, "seed": 7, "smoke": True}
    assert values == {**arguments.parse(""), **given}
    assert arguments.parse("smoke=false")["smoke"] is False
    assert arguments.parse("smoke=True")["smoke"] is True
    assert arguments.parse("cell=my.package:make_cell")["cell"] == "my.package:make_cell"


@pytest.mark.parametrize(
    ("text", "validation_error"),
    [
        ("cel=lstm", "config argument 'cel': no such argument; did you mean 'cell'?"),
        ("steps=9", "config argument 'steps': no such argument; did you mean the setting train.steps?"),
        (
            "learning_rate=1",
            "config argument 'learning_rate': no such argument; did you mean the setting optimizer.learning_rate?",
        ),
        (
            "lstm",
            "config argument 'lstm': no such argument; there are cell, depth, layers, features, params, "
            "model_params, flops, state, seed, smoke",
        ),
        ("layers=2,layers=3", "config argument 'layers': given twice"),
        ("layers=two", "config argument 'layers': a whole number ≥ 1 and ≤ 64 expected, found 'two'"),
        ("layers=0", "config argument 'layers': a whole number ≥ 1 and ≤ 64 expected, found '0'"),
        ("layers=1.5", "config argument 'layers': a whole number ≥ 1 and ≤ 64 expected, found '1.5'"),
        ("layers", "config argument 'layers': a whole number ≥ 1 and ≤ 64 expected, found 'true'"),
        ("features=-1", "config argument 'features': a whole number ≥ 1 and ≤ 65,536 expected, found '-1'"),
        ("seed=nan", "config argument 'seed': a whole number ≥ 0 and ≤ 2,147,483,647 expected, found 'nan'"),
        ("smoke=maybe", "config argument 'smoke': True or False expected, found 'maybe'"),
        (
            "cell=lstm,depth=3",
            "config argument 'depth': only an nlstm has nesting levels, found cell=lstm; layers= stacks any cell",
        ),
        ("features=3,params=100", "config arguments 'features' and 'params': one of them expected, found both"),
        ("flops=300,state=100", "config arguments 'flops' and 'state': one of them expected, found both"),
    ],
)
def test_an_argument_that_does_not_serve_is_named(text, validation_error):
    with pytest.raises(ConfigError) as caught:
        arguments.parse(text)
    assert str(caught.value) == validation_error


def test_a_variant_is_an_argument_of_the_configs_that_have_some():
    for path, variant, _ in VARIANTS:
        if variant:
            name, default = variant[8:-1], module_of(path).VARIANTS[0]
            assert load(path, variant.removesuffix(",")).name == ("lstm" if name == default else f"lstm {name}")
    with pytest.raises(ConfigError) as caught:
        arguments.parse("variant=thre", ("one", "two"))
    assert str(caught.value) == "config argument 'variant': one of one, two expected, found 'thre'"
    with pytest.raises(ConfigError, match=r"^config argument 'variant': no such argument; there are "):
        arguments.parse("variant=one")


def test_an_unknown_cell_is_named_with_those_there_are():
    with pytest.raises(ConfigError) as caught:
        load(FILES[-1], "cell=lstn")
    assert str(caught.value) == (
        "cell: one of elman, gru, lstm, peephole, nlstm or package.module:factory expected, found 'lstn'; "
        "did you mean 'lstm'?"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_arguments_end_up_in_the_configuration(path):
    config = load(path, "cell=nlstm,depth=3,layers=2,features=12,seed=5")
    assert (config.cell.name, config.cell.depth, config.cell.layers, config.cell.features) == ("nlstm", 3, 2, 12)
    assert (config.seeds.init, config.seeds.data, config.seeds.dropout) == (5, 5, 5)
    assert config.name.startswith("nlstm depth=3 layers=2")


def test_the_settings_of_a_configuration_are_exactly_those_of_the_table():
    for path in FILES:
        config = plain(load(path, "cell=lstm"))
        settings.check(config)
        config["optimizer"]["learning_rat"] = config["optimizer"].pop("learning_rate")
        with pytest.raises(ConfigError) as caught:
            settings.check(config)
        assert str(caught.value) == (
            "config.optimizer.learning_rat: no such setting; did you mean config.optimizer.learning_rate?"
        )
        del config["optimizer"]["learning_rat"]
        with pytest.raises(ConfigError, match=r"^config\.optimizer\.learning_rate: missing$"):
            settings.check(config)


@pytest.mark.parametrize(
    ("key", "value", "validation_error"),
    [
        ("train.batch_size", 0, "a whole number ≥ 1 expected, found 0"),
        ("train.batch_size", 1.5, "a whole number ≥ 1 expected, found 1.5"),
        ("train.batch_size", True, "a whole number ≥ 1 expected, found True"),
        ("optimizer.learning_rate", 0.0, "a finite number > 0 expected, found 0.0"),
        ("optimizer.learning_rate", float("nan"), "a finite number > 0 expected, found nan"),
        ("optimizer.learning_rate", float("inf"), "a finite number > 0 expected, found inf"),
        ("optimizer.learning_rate", "fast", "a finite number > 0 expected, found 'fast'"),
        ("optimizer.beta1", 1.0, "a finite number ≥ 0 and < 1 expected, found 1.0"),
        ("optimizer.name", "adamx", "one of adam, adamw, keras_adam, sgd, rmsprop expected, found 'adamx'"),
        ("model.tied", 1, "True or False expected, found 1"),
        ("data.path", 3, "text expected, found 3"),
        ("seeds.init", -1, "a whole number ≥ 0 and ≤ 2,147,483,647 expected, found -1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(key, value, validation_error):
    config = plain(settings.defaults("poems", "lstm"))
    section, _, field = key.partition(".")
    config[section][field] = value
    with pytest.raises(ConfigError) as caught:
        settings.check(config)
    assert str(caught.value) == f"config.{key}: {validation_error}"


@pytest.mark.parametrize(
    ("setting", "mode"),
    [("unroll.mode", "scan"), ("unroll.remat", True), ("unroll.truncate", 2), ("model.dtype", "bfloat16")],
)
def test_how_time_is_run_reaches_the_model(setting, mode):
    section, _, name = setting.partition(".")
    config = poems.get_config("cell=nlstm,smoke")
    config[section][name] = mode
    model = models.build(plain(config), {"vocabulary": 11})
    recurrent = model.cell
    found = {
        "mode": recurrent.mode,
        "remat": recurrent.remat,
        "truncate": recurrent.truncate,
        "dtype": model.dtype,
    }
    expected = {"mode": "auto", "remat": None, "truncate": None, "dtype": None}
    assert found == expected | {name: mode}
