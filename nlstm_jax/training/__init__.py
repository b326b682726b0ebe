"""Training: from a configuration to a trained run folder, and back to a model."""

from nlstm_jax.training.fit import fit, fit_together
from nlstm_jax.training.restore import LoadedRun, load_run, load_runs

__all__ = ["LoadedRun", "fit", "fit_together", "load_run", "load_runs"]
