"""Measurements inside trained models: memories over time, gradients by lag, losses with a memory held.

`loop` runs a cell and records or changes its carry. `model` puts that loop into a model. `run` measures one run
folder, trained and untrained, and `report` several. The statistics are in `analysis.memories` and
`analysis.memory_report`.
"""
