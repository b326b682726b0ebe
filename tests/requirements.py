"""Requirements of some tests: optional packages and files of real data. A test that misses one skips, and names it."""

import os
from pathlib import Path
from types import ModuleType

import pytest

EXTRAS = {
    "flatbuffers": "export",
    "h5py": "export",
    "keras": "peers",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "optuna": "sweep",
    "plotly": "report",
    "psycopg": "postgres",
    "ray": "sweep",
    "safetensors": "export",
    "sklearn": "report",
    "submitit": "sweep",
    "tensorboard": "tensorboard",
    "tensorboardX": "tensorboard",
    "torch": "peers",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""The extra of this project that installs each optional package."""


def requires(package: str) -> ModuleType:
    """Import an optional package, or skip the test or module that needs it."""
    return pytest.importorskip(package, reason=f'{package} is missing: pip install -e ".[{EXTRAS[package]}]"')


def real_data(name: str) -> Path:
    """Return the path of a file of real data in the folder `$NLSTM_JAX_DATA`, or skip the test that needs it."""
    folder = os.environ.get("NLSTM_JAX_DATA")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"{name} is missing in the folder that NLSTM_JAX_DATA names")
    return Path(folder) / name
