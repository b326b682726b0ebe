"""Command-line scripts, run as `python -m experiments.NAME` from the repository's root."""

import os

# This must be set before JAX is imported, whose own default is 1; see `nlstm_jax.process.enable_compilation_cache`.
# Nothing is lost, as every error is also raised as an exception.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
