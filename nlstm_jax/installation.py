"""The places of the scripts and the built-in configs, in a checkout and in an installed wheel.

In a checkout, `experiments/` and `configs/` are beside this package. A wheel has them as the package
`nlstm_experiments` and the folder `nlstm_jax/configs`, so that it installs no package of a general name.
"""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from nlstm_jax.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE.parent
"""The checkout, or the folder in which the wheel is installed."""
IS_WHEEL = (_PACKAGE / "configs").is_dir()
"""True if this package was installed from a wheel, False in a checkout."""
SCRIPTS = "nlstm_experiments" if IS_WHEEL else "experiments"
"""The name of the package of the scripts."""
CONFIGS = _PACKAGE / "configs" if IS_WHEEL else ROOT / "configs"
"""The folder of the built-in config files."""
_CONFIGS_PACKAGE = "nlstm_jax.configs" if IS_WHEEL else "configs"
"""The name of the package of the built-in config files."""
SWEEPS = CONFIGS / "sweeps"
"""The folder of the built-in sweep files."""


def find_config(path: str, folder: Path = CONFIGS) -> Path:
    """Return the path of a config file that is given by its path, or by its name if it is built in.

    A file of that name in the current folder comes first.

    Args:
        path: A path, such as `~/mine.py`, or the name of a built-in file, such as `poems` or `suite_v1/sales_draws`.
        folder: The folder of the built-in files, `CONFIGS` or `SWEEPS`.

    Raises:
        ConfigError: A name without a suffix is neither a file nor built in.

    >>> find_config("poems") == CONFIGS / "poems.py"
    True
    """
    found = Path(path).expanduser()
    if found.is_file() or not re.fullmatch(r"\w+(/\w+)*", path):
        return found
    built_in = folder / f"{path}.py"
    if built_in.is_file():
        return built_in
    if "/" in path:
        return found
    names = sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))
    raise ConfigError(f"a path of a Python file, or one of {', '.join(names)}, expected, found {path!r}")


def import_file(path: Path) -> ModuleType:
    """Import a Python file as a new module.

    A built-in file is in its package, so that it can import the files beside it. Any other file is in no package.

    Raises:
        ConfigError: The file has not the suffix of a Python file.
    """
    name = path.stem
    resolved = path.resolve()
    if resolved.is_relative_to(CONFIGS):
        name = ".".join([_CONFIGS_PACKAGE, *resolved.relative_to(CONFIGS).with_suffix("").parts])
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"a Python file expected, found {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_installed(text: str) -> str:
    """Return a message with the commands of a checkout as they are written where a wheel is installed.

    In a checkout the text stays as it is.
    """
    if not IS_WHEEL:
        return text
    text = text.replace("python -m experiments.", "nlstm ")
    # pip takes the extra of a package that is installed from its own metadata.
    return re.sub(r"pip install -e ([\"'])\.\[", rf"pip install \1{_PACKAGE.name}[", text)


def help_as_installed(text: str) -> str:
    """Return the help of a script with the commands and the config names of a wheel, where one is installed."""
    if not IS_WHEEL:
        return text
    return re.sub(r"\bconfigs/(?:sweeps/)?((?:\w+/)*\w+)\.py\b", r"\1", as_installed(text))
