#!/usr/bin/env bash
# An entry of JAX's persistent compilation cache that was cut off, e.g. by a full disk, is never written again.
#
# Versions: jax 0.9.2, jaxlib 0.9.2, Python 3.11, Linux x86-64.
# Expected: a process that cannot read an entry compiles the program and writes the entry anew, as it does with a missing
#   one.
# Found: every later process warns and compiles again, as an entry whose file exists is not written (`put` in
#   jax/_src/lru_cache.py: "If a cache item with the same key already exists, no action will be taken").
# It matters where many short runs share a cache: each of them pays for the compilation until someone deletes the file.
#
# Exit code 0: as found. 1: the behavior has changed.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.9.2 jaxlib==0.9.2

cat > "$folder/entry.py" <<'PYTHON'
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

PROGRAM = """
import sys, warnings
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    jax.jit(lambda x: jax.numpy.tanh(x) * 2, keep_unused=True)(jax.numpy.ones(64)).block_until_ready()
print(sum("Error reading persistent compilation cache entry" in str(warning.message) for warning in caught))
"""


def run(folder):
    """Return the number of warnings about unreadable entries in a new process that compiles the program."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, check=True)
    return int(done.stdout)


with tempfile.TemporaryDirectory() as folder:
    first = run(folder)
    (entry,) = Path(folder).glob("jit__lambda*-cache")
    whole = entry.read_bytes()
    whole_again = run(folder)
    # As a disk leaves it that was full while the entry was written.
    entry.write_bytes(whole[: len(whole) // 2])
    warned = [run(folder) for _ in range(3)]
    is_still_half = entry.stat().st_size == len(whole) // 2

print(f"jax {jax.__version__}")
print(f"warnings of the first process: {first}, of a second: {whole_again}")
print(f"warnings of three processes after the entry was cut in half: {warned}; still half: {is_still_half}")
sys.exit((first, whole_again, warned, is_still_half) != (0, 0, [1, 1, 1], True))
PYTHON

# Seen:
#   jax 0.9.2
#   warnings of the first process: 0, of a second: 0
#   warnings of three processes after the entry was cut in half: [1, 1, 1]; still half: True
JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/entry.py"
