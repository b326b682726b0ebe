"""Every annotation at a boundary is checked while the tests run; `--unroll=scan` makes "auto" the plain scan."""

import os
import sys

import jax
import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")

with install_import_hook(
    ["nlstm_jax.cells", "nlstm_jax.unroll", "nlstm_jax.models", "nlstm_jax.tasks", "nlstm_jax.data"],
    "beartype.beartype",
):
    import nlstm_jax.models
    import nlstm_jax.tasks
    import nlstm_jax.unroll  # noqa: F401


def pytest_addoption(parser):
    parser.addoption("--unroll", choices=("fused", "scan"), default="fused", help="what mode='auto' of unroll is")


def pytest_configure(config):
    sys.modules["nlstm_jax.unroll.unroll"].AUTO = config.getoption("--unroll")


@pytest.fixture(scope="module", autouse=True)
def _programs_are_let_go():
    """Thousands of compiled programs are more mappings than Linux lets a process have, and XLA then crashes."""
    yield
    jax.clear_caches()
