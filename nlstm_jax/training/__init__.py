"""State, step, loop, optimizer, checkpoints, devices: from a configuration to a trained run folder."""

from nlstm_jax.training.loop import fit
from nlstm_jax.training.restore import Restored, restore

__all__ = ["Restored", "fit", "restore"]
