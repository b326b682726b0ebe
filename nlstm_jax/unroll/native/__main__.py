"""Compile the native loop for this machine: `python -m nlstm_jax.unroll.native`.

Prints the path of the library. Where it cannot be compiled, one line says why, and the exit code is 1.
"""

import sys

from nlstm_jax.unroll.native import CompilerError, load_library


def main() -> int:
    """Compile and load the library."""
    try:
        print(load_library())
    except CompilerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
