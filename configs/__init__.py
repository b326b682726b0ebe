"""Configurations, one file per experiment, with options as a typed argument: `configs/poems.py:cell=nlstm,depth=2`."""
