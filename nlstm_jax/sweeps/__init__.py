"""Sweeps: many runs, planned in a file and executed by an engine until all have ended.

This package reads run folders. It does not import the training code.
"""

from nlstm_jax.sweeps.file import load
from nlstm_jax.sweeps.space import Trial, TrialCollector, log_uniform

__all__ = ["Trial", "TrialCollector", "load", "log_uniform"]
