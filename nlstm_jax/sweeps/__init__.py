"""Many runs: what to try, where, and going on until all have ended. Knows run folders, and no training."""

from nlstm_jax.sweeps.file import load
from nlstm_jax.sweeps.space import Trial, TrialCollector, log_uniform

__all__ = ["Trial", "TrialCollector", "load", "log_uniform"]
