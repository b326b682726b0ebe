"""State, step, loop, optimizer, checkpoints, devices: from a configuration to a trained run folder."""

from nlstm_jax.training.loop import fit, fit_together
from nlstm_jax.training.restore import LoadedRun, restore

__all__ = ["LoadedRun", "fit", "fit_together", "restore"]
