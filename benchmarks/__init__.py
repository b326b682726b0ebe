"""Benchmarks of speed and memory in fresh processes. Each module that can be run prints a Markdown table."""
