"""One file an experiment; options come as a typed argument: `configs/poems.py:cell=nlstm,depth=2`."""
