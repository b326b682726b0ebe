"""Setup of a test run: quick compilation, a cache of compiled programs, array annotations checked at run time.

The option `--unroll=scan` makes the mode "auto" of `unroll` the plain scan. With `--unroll=native` the runs of tests
choose their loop by `nlstm_jax.unroll.rules`, which depends on the machine; without it they use the fused loop.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook
from processes import Ended, ForkServer, Process

# Scripts and processes that tests start inherit these environment variables.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")
# Tests spend far more time on compilation than on running the compiled programs.
XLA_FLAGS = "--xla_backend_optimization_level=0"
if jax.__version_info__[:2] == (0, 9):
    # XLA ends the process at an unknown flag, and other versions may not know these two.
    XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", XLA_FLAGS)
# By default XLA writes several lines to stderr for every program that it reads from the cache. The import of JAX has
# set 1 where nothing was set.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# The first process of a test run creates the cache folder, and its workers inherit it.
CREATED_CACHE = ""
if "NLSTM_JAX_CACHE" not in os.environ:
    CREATED_CACHE = tempfile.mkdtemp(prefix="nlstm_jax-tests-")
    os.environ["NLSTM_JAX_CACHE"] = CREATED_CACHE
COMPILATION_CACHE = {
    "jax_compilation_cache_dir": os.path.join(os.environ["NLSTM_JAX_CACHE"], "programs"),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for name, value in COMPILATION_CACHE.items():
    os.environ[name.upper()] = str(value)
    jax.config.update(name, value)
# A third of Linux's default limit (vm.max_map_count), as a single test module may add thousands of mappings.
MAX_MAPPINGS = 20_000

with install_import_hook(
    ["nlstm_jax.cells", "nlstm_jax.unroll", "nlstm_jax.models", "nlstm_jax.tasks", "nlstm_jax.data"],
    "beartype.beartype",
):
    import nlstm_jax.models
    import nlstm_jax.tasks
    import nlstm_jax.unroll  # noqa: F401


def pytest_addoption(parser):
    parser.addoption(
        "--unroll", choices=("fused", "scan", "native"), default="fused", help="what mode='auto' of unroll is"
    )


def pytest_configure(config):
    auto = config.getoption("--unroll")
    if auto == "native":
        sys.modules["nlstm_jax.unroll.native"].load_library()
    else:
        os.environ["NLSTM_JAX_NATIVE"] = "0"
        sys.modules["nlstm_jax.unroll.dispatch"].AUTO = auto
    # A program that another worker is writing at the moment is compiled again.
    unreadable = "ignore:Error (reading|writing) persistent compilation cache:UserWarning"
    config.addinivalue_line("filterwarnings", unreadable)


def pytest_unconfigure():
    if CREATED_CACHE:
        shutil.rmtree(CREATED_CACHE, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _limit_memory_mappings():
    """Drop compiled programs before the process has too many memory mappings, at which XLA crashes."""
    yield
    mappings = Path("/proc/self/maps")
    if not mappings.exists() or mappings.read_bytes().count(b"\n") > MAX_MAPPINGS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def _fork_server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def start_script(_fork_server, tmp_path_factory):
    """Return a function: `start_script(script, *arguments)` starts a script of `experiments/`."""

    def start(script: str, *arguments) -> Process:
        return _fork_server.start(tmp_path_factory.mktemp("script"), *map(str, arguments), script=script)

    return start


@pytest.fixture(scope="session")
def run_scripts(start_script):
    """Return a function: `run_scripts({name: [script, *arguments]})` runs scripts in turn and returns the results."""

    def run(cases: dict[str, list]) -> dict[str, Ended]:
        return {name: start_script(*arguments).wait() for name, arguments in cases.items()}

    return run


@pytest.fixture(scope="session")
def run_code(_fork_server, tmp_path_factory):
    """Return a function: `run_code(code, *arguments)` runs Python code in a process, whose exit code must be 0."""

    def run(code: str, *arguments) -> None:
        ended = _fork_server.start(tmp_path_factory.mktemp("code"), *map(str, arguments), code=code).wait()
        assert ended.code == 0, ended.err

    return run
