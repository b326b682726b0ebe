"""A command that writes the page of all settings: `python -m nlstm_jax.settings > docs/settings.md`."""

import sys

from nlstm_jax.settings.page import describe

sys.stdout.write(describe())
