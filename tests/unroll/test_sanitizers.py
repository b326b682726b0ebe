"""loop.cc under AddressSanitizer and UndefinedBehaviorSanitizer, with the programs of cells, forward and backward."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nlstm_jax.unroll.native import CompilerError, library

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("libasan.so", "libubsan.so")

PROGRAMS_OF_CELLS = """
import sys
import jax, jax.numpy as jnp, numpy as np, zoo
from jax.extend.core import ClosedJaxpr, Jaxpr
from nlstm_jax.unroll import unroll
from nlstm_jax.unroll.native import library

T, B, D = 3, 17, 3


def calls(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "ffi_call":
            yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda leaf: isinstance(leaf, Jaxpr | ClosedJaxpr)):
            if isinstance(value, Jaxpr | ClosedJaxpr):
                yield from calls(getattr(value, "jaxpr", value))


def run(layer, dtype):
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), D))
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), params)
    xs = jax.ShapeDtypeStruct((T, B, D), dtype)
    resets = jnp.zeros((T, B), bool)

    def loss(params, xs):
        lengths = jnp.arange(B) % (T + 1)
        carry, ys = unroll(layer, params, xs, lengths=lengths, resets=resets, key=jax.random.key(0), mode="native")
        return ys.sum() + sum(leaf.sum() for leaf in jax.tree.leaves(carry))

    equations = list(calls(jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(params, xs).jaxpr))
    assert len(equations) >= 2, layer
    random = np.random.default_rng(0)
    inputs = [[jnp.asarray(random.normal(size=v.aval.shape), v.aval.dtype) for v in e.invars] for e in equations]

    def run_calls(inputs):
        return [e.primitive.bind(*arrays, **e.params) for e, arrays in zip(equations, inputs)]

    jax.block_until_ready(jax.jit(run_calls)(inputs))


tags, *flags = sys.argv[1:]
library.FLAGS = (*library.FLAGS, *flags)
names = zoo.names(*tags.split())
for name in names:
    run(zoo.build(name), jnp.float32)
with jax.enable_x64(True):
    for name in ("nested_3_add", "gru", "lstm_options"):
        run(zoo.build(name, jnp.float64), jnp.float64)
print(len(names))
"""


@pytest.mark.slow
@pytest.mark.parametrize("tags", ["core", ""], ids=["core", "all"])
@pytest.mark.parametrize("target", ["-march=x86-64-v3", "-march=native"])
def test_no_byte_is_read_or_written_out_of_bounds(tmp_path, target, tags):
    try:
        compiler = library.find_compiler()
    except CompilerError as error:
        pytest.skip(str(error))
    found = [subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip() for name in LIBRARIES]
    if not all(Path(path).is_absolute() for path in found):
        pytest.skip(f"{compiler} has no sanitizers")
    variables = {
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1",
        "XDG_CACHE_HOME": str(tmp_path),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "NLSTM_JAX_NATIVE": "1",
    }
    flags = [target, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    command = [sys.executable, "-c", PROGRAMS_OF_CELLS, tags, *flags]
    ended = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert int(ended.stdout.split()[0]) > 2
