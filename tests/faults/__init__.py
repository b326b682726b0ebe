"""Faults done to real processes, counted in one table: `make faults`, or `make faults ARGS=--sample`.

A case is one fault. Each result is a line of `results.jsonl` in the work folder, so that a call goes on where an
earlier one stopped. `docs/results/reliability.md` is written after every row.
"""
