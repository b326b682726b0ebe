"""Where the processes of a sweep run."""

from nlstm_jax.sweeps.engines.base import Engine, Job, Process
from nlstm_jax.sweeps.engines.local import LocalEngine

__all__ = ["Engine", "Job", "LocalEngine", "Process"]
