"""Thin scripts, run as `python -m experiments.NAME` from the repository's root."""
