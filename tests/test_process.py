"""Process-wide settings, each tested in a new process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

STEPS = """
import resource, sys
from nlstm_jax import process
kept = process.tune_malloc() if sys.argv[1] == "kept" else False
import jax
from nlstm_jax import LSTM, unroll
cell = LSTM(128)
params, xs = cell.init(jax.random.key(0), 64), jax.numpy.ones((100, 64, 64))
step = jax.jit(jax.grad(lambda params: (unroll(cell, params, xs)[1] ** 2).sum()))
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(step(params))
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(int(kept), sorted(faults)[2])
"""


def outcome(*arguments, **environment):
    """Run Python code in a new process. Return the words on stdout, and stderr."""
    command = [sys.executable, "-c", *arguments]
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **environment}
    done = subprocess.run(command, env=inherited, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split(), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted on Linux with glibc")
def test_memory_that_is_kept_is_not_asked_for_again():
    """Otherwise every page of the 40 MB of buffers is a page fault, at every step."""
    (kept, with_it), _ = outcome(STEPS, "kept")
    (given_back, without), _ = outcome(STEPS, "given back")
    assert (kept, given_back) == ("1", "0")
    assert int(with_it) < int(without) / 20


def test_memory_is_left_alone_where_that_is_asked_for():
    code = "from nlstm_jax import process; print(process.tune_malloc())"
    assert outcome(code, NLSTM_JAX_KEEP_MEMORY="0")[0] == ["False"]


PROGRAM = """
import jax
from nlstm_jax import process
process.enable_compilation_cache()
from nlstm_jax import nested_lstm, unroll
cell = nested_lstm(8, 3)
params, xs = cell.init(jax.random.key(0), 4), jax.numpy.ones((7, 2, 4))
gradient = jax.jit(jax.grad(lambda params, xs: (unroll(cell, params, xs)[1] ** 2).sum()))
# Of this program alone: a small one may be compiled twice, and be found the second time.
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
w_x = gradient(params, xs).w_x
hits = sum(event.endswith("/cache_hits") for event in found)
print(float(w_x.sum()), hits)
"""


@pytest.mark.slow
def test_a_program_is_compiled_once_for_all_processes(tmp_path):
    settings = {"NLSTM_JAX_CACHE": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    (first, hits), _ = outcome(PROGRAM, **settings)
    assert int(hits) == 0
    (second, hits), errors = outcome(PROGRAM, **settings)
    assert int(hits) == 1
    assert (second, errors) == (first, "")
