#!/usr/bin/env bash
# jax.lax.optimization_barrier does not keep operations apart on a CPU: XLA drops the barrier before it fuses.
#
# Versions: jax 0.9.2, jaxlib 0.9.2, Python 3.11, Linux x86-64.
# Expected: the documentation of the function says that operations before the barrier may not be fused with operations
#   after it (https://docs.jax.dev/en/latest/_autosummary/jax.lax.optimization_barrier.html).
# Found: the compiled program of `barrier(logistic(a)) * b` has no barrier, and one fusion with both the exponential of
#   the logistic function and the multiplication, as the program without a barrier has.
# It matters where a recurrent cell splits its gates: the logistic function of a gate is computed inside the loop that
#   uses it, over a strided slice. An LSTM's forward pass was up to 2.8 times as slow as with one pass over all gates.
#
# Exit code 0: as found. 1: the behavior has changed.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.9.2 jaxlib==0.9.2

cat > "$folder/barrier.py" <<'PYTHON'
import re
import sys

import jax
import jax.numpy as jnp


def with_barrier(z):
    a, b = jnp.split(z, 2, axis=-1)
    return jax.lax.optimization_barrier(jax.lax.logistic(a)) * b


def without_barrier(z):
    a, b = jnp.split(z, 2, axis=-1)
    return jax.lax.logistic(a) * b


def describe(function):
    """Return whether the compiled program has a barrier, and the operations of each of its fusions."""
    text = jax.jit(function).lower(jnp.ones((128, 160))).compile().as_text()
    bodies = re.findall(r"^%fused_computation[^{]*\{[^}]*\{.*?^\}", text, re.MULTILINE | re.DOTALL)
    fusions = [sorted({name for name in ("exponential", "multiply") if f" {name}(" in body}) for body in bodies]
    return "opt-barrier" in text, fusions


found = {function.__name__: describe(function) for function in (with_barrier, without_barrier)}
print(f"jax {jax.__version__}, {jax.devices()[0].platform}")
for name, (has_barrier, fusions) in found.items():
    print(f"{name}: barrier in the compiled program: {has_barrier}; operations of its fusions: {fusions}")
expected = (False, [["exponential", "multiply"]])
sys.exit(any(value != expected for value in found.values()))
PYTHON

# Seen:
#   jax 0.9.2, cpu
#   with_barrier: barrier in the compiled program: False; operations of its fusions: [['exponential', 'multiply']]
#   without_barrier: barrier in the compiled program: False; operations of its fusions: [['exponential', 'multiply']]
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/barrier.py"
