"""State, step, loop, optimizer, checkpoints, devices: from a configuration to a trained run folder."""

from nlstm_jax.training.loop import fit, fit_together
from nlstm_jax.training.restore import Restored, restore

__all__ = ["Restored", "fit", "fit_together", "restore"]
